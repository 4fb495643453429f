"""Cross-entropy with targets over believed pairs and their predictions."""
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.losses import SoftTargets

NONE = torch.zeros(2, 0, dtype=torch.long)


@given(st.integers(2, 30), st.integers(1, 5), st.integers(0, 20), st.sampled_from([0.0, 0.4, 1.0]), st.booleans(),
       st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_equals_the_equation(n, batch, edges, beta, weighted, seed):
    generator = torch.Generator().manual_seed(seed)
    bank = F.normalize(torch.randn(n, 4, generator=generator, dtype=torch.float64), dim=1)
    index = torch.randperm(n, generator=generator)[:batch]
    x = F.normalize(torch.randn(len(index), 4, generator=generator, dtype=torch.float64), dim=1)
    positives = torch.stack([torch.randint(n, (edges,), generator=generator),
                             index[torch.randint(len(index), (edges,), generator=generator)]])
    positives = positives[:, positives[0] != positives[1]].unique(dim=1)
    likelihood = torch.rand(positives.shape[1], generator=generator, dtype=torch.float64)
    got = SoftTargets(0.2, beta)(x, bank, positives, index, likelihood if weighted else None)
    total = 0.0
    for b, i in enumerate(index.tolist()):
        weight = {i: 1.0} | {j: value if weighted else 1.0 for (j, node), value in
                             zip(positives.T.tolist(), likelihood.tolist(), strict=True) if node == i}
        target = torch.zeros(n, dtype=torch.float64)
        for j, value in weight.items():
            part = value / sum(weight.values())
            target[j] += (1 - beta) * part
            target += beta * part * torch.softmax(bank @ bank[j] / 0.2, 0)
        assert target.sum().item() == pytest.approx(1)
        total = total - (target * torch.log_softmax(bank @ x[b] / 0.2, 0)).sum()
    torch.testing.assert_close(got, total / len(index))


def test_by_hand():
    # one negative at similarity 0; the pair (1, 0) is half believed: targets 2/3 and 1/3
    bank = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    got = SoftTargets(1.0, 0.0)(bank[:1], bank, torch.tensor([[1], [0]]), torch.tensor([0]), torch.tensor([0.5]))
    norm = math.log(math.exp(1) + math.exp(0.6) + 1)
    assert got.item() == pytest.approx(norm - 2 / 3 * 1 - 1 / 3 * 0.6, rel=1e-6)
    alone = SoftTargets(1.0, 0.0)(bank[:1], bank, NONE, torch.tensor([0]))
    assert alone.item() == pytest.approx(norm - 1, rel=1e-6)


def test_its_own_prediction_is_the_best_answer():
    bank = F.normalize(torch.randn(12, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=1)
    x = bank[4:5].clone().requires_grad_()
    SoftTargets(0.1, 1.0)(x, bank, NONE, torch.tensor([4])).backward()
    torch.testing.assert_close(x.grad, torch.zeros_like(x), rtol=0, atol=1e-12)


def test_gradient():
    generator = torch.Generator().manual_seed(0)
    bank = F.normalize(torch.randn(30, 3, generator=generator, dtype=torch.float64), dim=1)
    x = torch.randn(3, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    positives, index = torch.tensor([[1, 2, 7], [5, 5, 21]]), torch.tensor([5, 0, 21])
    likelihood = torch.tensor([0.3, 0.9, 0.5])
    assert torch.autograd.gradcheck(lambda x: SoftTargets(0.3)(x, bank, positives, index, likelihood), (x,))


def test_bad_options():
    with pytest.raises(ValueError, match=r"predictions in \[0, 1\], got 0.1 and 2"):
        SoftTargets(predictions=2)
