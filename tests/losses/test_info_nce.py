"""InfoNCE with several positives over a memory."""
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.losses import MultiPositiveInfoNCE


def random_batch(n, batch, edges, seed):
    generator = torch.Generator().manual_seed(seed)
    bank = F.normalize(torch.randn(n, 4, generator=generator, dtype=torch.float64), dim=1)
    index = torch.randperm(n, generator=generator)[:batch]
    x = F.normalize(torch.randn(len(index), 4, generator=generator, dtype=torch.float64), dim=1)
    positives = torch.stack([torch.randint(n, (edges,), generator=generator),
                             index[torch.randint(len(index), (edges,), generator=generator)]])
    return x, bank, positives, index


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 30), st.sampled_from([0.05, 0.1, 1.0]),
       st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_equals_the_equation(n, batch, edges, tau, seed):
    x, bank, positives, index = random_batch(n, batch, edges, seed)
    total = 0.0
    for b, i in enumerate(index.tolist()):
        p = {i} | {j for j, node in positives.T.tolist() if node == i}
        s = [torch.dot(x[b], row).item() / tau for row in bank]
        total += sum(math.log(1 + sum(math.exp(s[m] - s[j]) for m in range(n) if m not in p)) for j in p) / len(p)
    assert MultiPositiveInfoNCE(tau)(x, bank, positives, index).item() == pytest.approx(total / len(index), abs=1e-7)


def test_by_hand():
    # P_0 = {0, 1} at similarities 1 and 0; the negatives 2 and 3 are at 0.6 and -1
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
    got = MultiPositiveInfoNCE(0.5)(bank[:1], bank, torch.tensor([[1], [0]]), torch.tensor([0]))
    near = math.log(1 + math.exp(-0.4 / 0.5) + math.exp(-2 / 0.5))
    far = math.log(1 + math.exp(0.6 / 0.5) + math.exp(-1 / 0.5))
    assert got.item() == pytest.approx((near + far) / 2, rel=1e-6)


def test_without_positives_it_is_cross_entropy():
    x, bank, _, index = random_batch(20, 5, 0, 0)
    got = MultiPositiveInfoNCE(0.1)(x, bank, torch.zeros(2, 0, dtype=torch.long), index)
    torch.testing.assert_close(got, F.cross_entropy(x @ bank.T / 0.1, index), rtol=1e-8, atol=1e-8)


def test_stable_where_exponentials_overflow_or_nothing_is_negative():
    bank = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    x = torch.tensor([[-1.0, 0.0]], requires_grad=True)
    loss = MultiPositiveInfoNCE(1e-3)(x, bank, torch.zeros(2, 0, dtype=torch.long), torch.tensor([0]))
    assert loss.item() == pytest.approx(2000)
    loss = MultiPositiveInfoNCE()(x, bank, torch.tensor([[1], [0]]), torch.tensor([0]))
    loss.backward()
    assert loss.item() == 0 and x.grad.tolist() == [[0, 0]]


def test_gradient():
    x, bank, positives, index = random_batch(30, 4, 8, 1)
    assert torch.autograd.gradcheck(lambda x: MultiPositiveInfoNCE(0.3)(x, bank, positives, index),
                                    (x.requires_grad_(),))


def test_bad_temperature():
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        MultiPositiveInfoNCE(0)
