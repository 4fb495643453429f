"""PAUL Eq. 2."""
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from paul import Pedal


def random_case(batch, branches, rows, dim, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = F.normalize(torch.randn(batch, branches, dim, generator=generator, dtype=dtype), dim=2)
    bank = 0.9 * F.normalize(torch.randn(branches, rows, dim, generator=generator, dtype=dtype), dim=2)
    return x, bank, torch.randperm(rows, generator=generator)[:batch]


def slow_loss(x, bank, index, scale=30.0, k=10, positives=None):
    """Eq. 2 image by image, branch by branch and patch by patch."""
    terms = []
    for b, i in enumerate(index.tolist()):
        for m in range(len(bank)):
            others = [j for j in range(bank.shape[1]) if j != i]
            distance = {j: (x[b, m] - bank[m, j]).pow(2).sum() for j in others}
            if positives is None:
                similar = sorted(others, key=lambda j: distance[j].item())[:k]
            else:
                similar = {j for j, node in positives[m].T.tolist() if node == i and j != i}
            if similar:
                above = sum(torch.exp(-scale / 2 * distance[j]) for j in similar)
                terms.append(-torch.log(above / sum(torch.exp(-scale / 2 * distance[j]) for j in others)))
    return sum(terms) / len(terms) if terms else torch.zeros((), dtype=x.dtype)


@given(st.integers(1, 4), st.integers(1, 3), st.integers(4, 14), st.integers(1, 3), st.sampled_from([1.0, 10, 30]),
       st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_equals_equation_2(batch, branches, rows, k, scale, seed):
    x, bank, index = random_case(batch, branches, rows, 3, seed)
    x.requires_grad_()
    got, expected = Pedal(scale, k)(x, bank, index), slow_loss(x, bank, index, scale, k)
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(*(torch.autograd.grad(loss, x)[0] for loss in (got, expected)))


@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 25), st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_equals_equation_2_with_given_positives(batch, branches, edges, seed):
    """Any edges, repeated ones and loops among them; images without a positive are left out of the mean."""
    x, bank, index = random_case(batch, branches, 9, 3, seed)
    x.requires_grad_()
    generator = torch.Generator().manual_seed(seed + 1)
    counts = torch.randint(edges + 1, (branches,), generator=generator).tolist()
    positives = [torch.stack([torch.randint(9, (n,), generator=generator),
                              index[torch.randint(batch, (n,), generator=generator)]]) for n in counts]
    got, expected = Pedal(10.0)(x, bank, index, positives), slow_loss(x, bank, index, 10.0, positives=positives)
    torch.testing.assert_close(got, expected)
    gradient = torch.autograd.grad(got, x)[0]
    if expected.requires_grad:
        torch.testing.assert_close(gradient, torch.autograd.grad(expected, x)[0])
    else:
        assert (gradient == 0).all()


def test_by_hand():
    # x = row 0 = (1, 0); squared distances to rows 1, 2, 3: 0, 1, 4; branch 1 has row 1 and 2 swapped
    bank = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [1.0, 1.0], [-1.0, 0.0]]]).repeat(2, 1, 1)
    bank[1, [1, 2]] = bank[1, [2, 1]]
    x, index = bank[:, :1].transpose(0, 1), torch.tensor([0])
    whole = 1 + math.exp(-1) + math.exp(-4)  # s = 2, so that the exponents are the squared distances
    assert Pedal(2.0, k=1)(x, bank, index).item() == pytest.approx(math.log(whole), rel=1e-6)
    assert Pedal(2.0, k=2)(x, bank, index).item() == pytest.approx(math.log(whole / (1 + math.exp(-1))), rel=1e-5)
    first, second = (torch.tensor([[1], [0]]), torch.tensor([[1, 3], [0, 0]]))
    expected = (math.log(whole) + math.log(whole / (math.exp(-1) + math.exp(-4)))) / 2
    assert Pedal(2.0)(x, bank, index, [first, second]).item() == pytest.approx(expected, rel=1e-6)
    # the row of the image itself is in neither sum: what it holds does not matter
    moved = bank.clone()
    moved[:, 0] = torch.tensor([7.0, -3.0])
    assert Pedal(2.0, k=1)(x, moved, index).item() == pytest.approx(math.log(whole), rel=1e-6)


def test_the_released_code_s_scale_is_half():
    """Its exponent is -15 d^2 where the paper's is -30/2 d^2."""
    x, bank, index = random_case(3, 2, 8, 4, seed=1)
    distance = (x[:, :, None] - bank[None]).pow(2).sum(-1).scatter(2, index.view(-1, 1, 1).expand(-1, 2, 1), torch.inf)
    near = distance.sort(2).values[..., :2]
    released = (-15 * distance).exp().sum(2).log() - (-15 * near).exp().sum(2).log()
    torch.testing.assert_close(Pedal(30.0, k=2)(x, bank, index), released.mean())


def test_gradient():
    x, bank, index = random_case(3, 2, 12, 3, seed=0)
    positives = [torch.tensor([[0, 1, 2], index.tolist()]), torch.tensor([[4, 5], index.tolist()[:2]])]
    positives = [edges[:, edges[0] != edges[1]] for edges in positives]
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: Pedal(8.0, k=3)(x, bank, index), (x,))
    assert torch.autograd.gradcheck(lambda x: Pedal(8.0)(x, bank, index, positives), (x,))


@pytest.mark.parametrize("size", [1.0, 30.0, 300.0])
def test_stable_far_outside_the_range_of_exp(size):
    """Exponents down to -10^6: the sums of Eq. 2 as printed are 0 / 0 in single precision."""
    generator = torch.Generator().manual_seed(3)
    x = (size * torch.randn(4, 2, 3, generator=generator)).requires_grad_()
    bank, index = size * torch.randn(2, 20, 3, generator=generator), torch.tensor([3, 5, 7, 19])
    loss = Pedal(30.0, k=4)(x, bank, index)
    loss.backward()
    distance = (x[:, :, None].double() - bank[None].double()).pow(2).sum(-1).detach()
    distance = distance.scatter(2, index.view(-1, 1, 1).expand(-1, 2, 1), torch.inf)
    exponent = -15 * distance
    assert size == 1.0 or bool((exponent[exponent > -torch.inf].exp().float() == 0).any())
    every, near = exponent.logsumexp(2), exponent.topk(4, 2).values.logsumexp(2)
    assert loss.item() == pytest.approx((every - near).mean().item(), abs=1e-4 * size)
    assert torch.isfinite(x.grad).all() and torch.isfinite(loss)


def test_far_positives_are_stable_too():
    bank, x = torch.zeros(1, 4, 2), torch.zeros(1, 1, 2)
    bank[0, 1:, 0] = torch.tensor([0.0, 100.0, 200.0])  # exponents 0, -150,000 and -600,000
    x.requires_grad_()
    loss = Pedal(30.0)(x, bank, torch.tensor([0]), [torch.tensor([[2], [0]])])
    loss.backward()
    assert loss.item() == pytest.approx(150_000) and x.grad.tolist() == [[[-3000.0, 0.0]]]


def test_a_feature_equal_to_its_partner_has_a_gradient():
    bank = torch.ones(1, 5, 3)
    x = torch.ones(2, 1, 3, requires_grad=True)
    loss = Pedal(30.0, k=2)(x, bank, torch.tensor([0, 4]))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2)) and torch.equal(x.grad, torch.zeros(2, 1, 3))


def test_no_positives_at_all():
    x = torch.ones(2, 1, 3, requires_grad=True)
    none = [torch.zeros(2, 0, dtype=torch.long)]
    loss = Pedal()(x, torch.randn(1, 5, 3), torch.tensor([0, 4]), none)
    loss.backward()
    assert loss.item() == 0 and (x.grad == 0).all()


def test_bad_input():
    x, bank, index = torch.zeros(2, 3, 4), torch.zeros(3, 10, 4), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="k=10 .* only 9 others"):
        Pedal(k=10)(x, bank, index)
    assert Pedal(k=9)(x, bank, index).item() == pytest.approx(0, abs=1e-6)  # K is everything: log 1
    with pytest.raises(ValueError, match=r"bank \(M, N, d\)"):
        Pedal()(x, bank[:2], index)
    with pytest.raises(ValueError, match="one memory row per image"):
        Pedal()(x, bank, index[:1])
    with pytest.raises(ValueError, match="positives of 3 branches, got 1"):
        Pedal()(x, bank, index, [torch.tensor([[5], [0]])])
    with pytest.raises(ValueError, match="memory row 7, which is not in the batch"):
        Pedal()(x, bank, index, [torch.tensor([[5, 2], [0, 7]])] * 3)
    for options in ({"scale": 0.0}, {"k": 0}):
        with pytest.raises(ValueError, match="scale must be positive and k at least 1"):
            Pedal(**options)
