"""MPRD Eq. 2 and 3."""
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.losses import BinomialDeviance


def slow_loss(x, bank, positives, index, delta=5.0, alpha=4.0, lambda1=0.2, lambda2=0.2, fraction=0.01):
    """Eq. 2 with the hard negatives of Eq. 3, image by image and pair by pair."""
    total = 0.0
    for b, i in enumerate(index.tolist()):
        p = {i} | {j for j, node in positives.T.tolist() if node == i}
        n = [j for j in range(len(bank)) if j not in p]
        similarity = [torch.dot(x[b], bank[j]) for j in range(len(bank))]
        r = max(int(fraction * len(n)), 1)
        hard = sorted(n, key=lambda j: -similarity[j].item())[:r]
        total = total + delta / len(p) * sum(F.softplus(alpha * (lambda1 - similarity[j])) for j in p)
        if hard:
            total = total + 1 / len(hard) * sum(F.softplus(alpha * (similarity[j] - lambda2)) for j in hard)
    return total / len(index)


@given(st.integers(3, 250), st.integers(1, 6), st.integers(0, 40), st.sampled_from([0.01, 0.1, 1.0]),
       st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_equals_equations_2_and_3(n, batch, edges, fraction, seed):
    generator = torch.Generator().manual_seed(seed)
    bank = F.normalize(torch.randn(n, 4, generator=generator, dtype=torch.float64), dim=1)
    index = torch.randperm(n, generator=generator)[:batch]
    x = F.normalize(torch.randn(len(index), 4, generator=generator, dtype=torch.float64), dim=1)
    positives = torch.stack([torch.randint(n, (edges,), generator=generator),
                             index[torch.randint(len(index), (edges,), generator=generator)]])
    got = BinomialDeviance(hard_fraction=fraction)(x, bank, positives, index)
    torch.testing.assert_close(got, torch.as_tensor(slow_loss(x, bank, positives, index, fraction=fraction)))


def test_by_hand():
    # x = M_0 = e1; positives {0, 1} with similarities 1 and 0; hardest of the negatives {2, 3}: similarity 0.6
    bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
    loss = BinomialDeviance()(bank[:1], bank, torch.tensor([[1], [0]]), torch.tensor([0]))
    softplus = lambda v: math.log1p(math.exp(v))  # noqa: E731
    expected = 5 / 2 * (softplus(4 * (0.2 - 1)) + softplus(4 * 0.2)) + softplus(4 * (0.6 - 0.2))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_the_paper_uses_129_negatives_on_market():
    # r = int(0.01 * |N_i|): 12,936 images, P_i = {i}
    bank = torch.zeros(12_936, 2)
    bank[:, 0] = 1
    bank[129 + 1:, 0] = -1  # image 0 itself and 129 others are at similarity 1
    loss = BinomialDeviance(delta=0.0)(bank[:1], bank, torch.zeros(2, 0, dtype=torch.long), torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log1p(math.exp(4 * 0.8)), rel=1e-6)
    bank[129] = -bank[129]  # one fewer: the 129th hard negative is now at -1
    lower = BinomialDeviance(delta=0.0)(bank[:1], bank, torch.zeros(2, 0, dtype=torch.long), torch.tensor([0]))
    assert lower < loss


def test_gradient():
    generator = torch.Generator().manual_seed(0)
    bank = F.normalize(torch.randn(120, 3, generator=generator, dtype=torch.float64), dim=1)
    x = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([5, 99, 0, 31])
    positives = torch.tensor([[1, 2, 7], [5, 5, 31]])
    assert torch.autograd.gradcheck(lambda x: BinomialDeviance()(x, bank, positives, index), (x,))
