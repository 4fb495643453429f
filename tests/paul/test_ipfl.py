"""PAUL Eq. 3 and the cyclic ranking."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paul import IPFL, FrozenProjection, cyclic_ranking


def slow_ranking(x, r, anchors=None, candidates=None, count_self=False):
    """Sec. 3.4 walked as it is told, one image after the other."""
    size = len(x)
    apart = lambda a, b: (a - b).pow(2).sum().item()  # noqa: E731
    found = []
    for a, anchor in enumerate(x if anchors is None else anchors):
        i = a % size
        walk = sorted((j for j in range(size) if j != i), key=lambda j: (apart(anchor, x[j]), j))
        for j in walk[:candidates]:
            ranking = sorted((k for k in range(size) if k != j), key=lambda k: (apart(x[j], x[k]), k))
            if i not in ranking[:max(r - count_self, 0)]:
                found.append(j)
                break
        else:
            found.append(-1)
    return found


def slow_loss(x, surrogate, margin, r):
    """Eq. 3, triplet by triplet."""
    terms = []
    for i, n in enumerate(slow_ranking(x.detach(), r)):
        if n >= 0:
            value = (x[i] - surrogate[i]).pow(2).sum().sqrt() - (x[i] - x[n]).pow(2).sum().sqrt() + margin
            terms.append(value if value > 0 else 0 * value)
    return sum(terms) / len(terms)


def points(size, dim, seed, spread=6):
    """Points of a coarse grid: equal distances, and equal points, are common."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(spread, (size, dim), generator=generator).double()


@given(st.integers(0, 4), st.integers(1, 12), st.integers(1, 3), st.sampled_from([None, 1, 2, 5]), st.booleans(),
       st.booleans(), st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_cyclic_ranking(r, more, dim, candidates, count_self, other_anchors, seed):
    x = points(r + 1 + more, dim, seed)
    anchors = torch.cat([points(len(x), dim, seed + 1), x]) if other_anchors else None
    got = cyclic_ranking(x, r, anchors, candidates, count_self)
    assert got.tolist() == slow_ranking(x, r, anchors, candidates, count_self)


def test_cyclic_ranking_by_hand():
    # on a line: 0 and 1 close together, then 4 and 9
    x = torch.tensor([[0.0], [1.0], [4.0], [9.0]])
    # nearest others: of 0: 1, of 1: 0, of 4: 1, of 9: 4
    assert cyclic_ranking(x, 0).tolist() == [1, 0, 1, 2]  # the nearest other image itself
    # 0 walks 1 (whose nearest is 0), then 4 (whose nearest is 1): that one. 1 walks 0 (nearest 1), 4 (nearest 1), 9.
    # 4 walks 1, whose nearest is 0; 9 walks 4, whose nearest is 1.
    assert cyclic_ranking(x, 1).tolist() == [2, 3, 1, 2]
    # 0 walks 1 (0, 4), then 4 (1, 0), then 9 (4, 1): not there. 1 is in every top-2. 4 walks 1 (0, 4), 0 (1, 4),
    # 9 (4, 1): nowhere missing. 9 walks 4 (1, 0).
    assert cyclic_ranking(x, 2).tolist() == [3, -1, -1, 2]
    assert cyclic_ranking(x, 2, candidates=2).tolist() == [-1, -1, -1, 2]
    assert torch.equal(cyclic_ranking(x, 2, count_self=True), cyclic_ranking(x, 1))


@given(st.integers(5, 9), st.integers(1, 4), st.integers(0, 3), st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_equals_equation_3(size, dim, r, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, dim, generator=generator, dtype=torch.float64, requires_grad=True)
    surrogate = (x.detach() + 0.3 * torch.randn(size, dim, generator=generator)).requires_grad_()
    if max(slow_ranking(x.detach(), r)) < 0:
        return
    loss = IPFL(0.5, r)
    got, expected = loss(x, surrogate), slow_loss(x, surrogate, 0.5, r)
    torch.testing.assert_close(got, expected)
    for ours, theirs in zip(*(torch.autograd.grad(value, (x, surrogate)) for value in (got, expected)), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert loss.num_valid == sum(n >= 0 for n in slow_ranking(x.detach(), r)) and loss.num_anchors == size


def test_by_hand():
    x = torch.tensor([[0.0], [1.0], [4.0], [9.0]])
    surrogate = torch.tensor([[3.0], [1.0], [4.0], [9.5]])
    loss = IPFL(margin=2.0, r=2)
    # only 0 (positive at 3, negative 9 at 9) and 9 (positive at 0.5, negative 4 at 5) have a negative
    assert loss(x, surrogate).item() == 0 and loss.num_valid == 2 and loss.num_anchors == 4
    # margin 5: both are hinged away (3 - 9 + 5 = -1), (0.5 - 5 + 5 = 0.5)
    assert IPFL(margin=5.0, r=2)(x, surrogate).item() == pytest.approx(0.25)
    # r = 1 pairs everything: (3-4+2, 0-8+2, 0-3+2, 0.5-5+2), of which only the first is above 0
    assert IPFL(margin=2.0, r=1)(x, surrogate).item() == pytest.approx(0.25)


def test_without_any_negative():
    x = torch.tensor([[0.0], [1.0], [3.0]], requires_grad=True)
    loss = IPFL(r=1, candidates=1)
    # 3 walks 1, whose nearest is 0: that one triplet is left; 0 and 1 are each other's nearest
    assert loss(x, x.detach()).item() == pytest.approx(0.0) and loss.num_valid == 1
    y = torch.tensor([[0.0], [1.0], [10.0], [11.0]], requires_grad=True)
    value = loss(y, y.detach() + 1)
    value.backward()
    assert value.item() == 0 and loss.num_valid == 0 and (y.grad == 0).all()


def test_a_feature_equal_to_its_partner_has_a_gradient():
    x = torch.ones(6, 3, requires_grad=True)  # all at distance 0 from each other and from their surrogates
    loss = IPFL(r=1)(x, x.detach().clone())
    loss.backward()
    assert loss.item() == 2.0 and (x.grad == 0).all()
    y = torch.tensor([[0.0], [1.0], [4.0], [9.0]], requires_grad=True)
    IPFL(margin=20.0, r=1)(y, y.detach().clone()).backward()  # only the positives coincide
    # anchors 0, 1, 4, 9 have negatives 4, 9, 1, 4: each pair is pushed apart by 1/4
    assert y.grad.flatten().tolist() == [0.25, 0.5, -0.25, -0.5]


def test_gradient():
    generator = torch.Generator().manual_seed(5)
    x, surrogate, centres = (torch.randn(7, 3, generator=generator, dtype=torch.float64) for _ in range(3))
    x.requires_grad_()
    surrogate.requires_grad_()
    assert torch.autograd.gradcheck(IPFL(3.0, r=2), (x, surrogate))
    released = IPFL(3.0, r=3, both_anchors=True, candidates=4, count_self=True)
    assert torch.autograd.gradcheck(lambda x, s: released(x, s, centres), (x, surrogate))


def test_both_anchors():
    """Without centres, a surrogate's positive is its image and its negatives are images."""
    x = torch.tensor([[0.0], [1.0], [4.0], [9.0]])
    surrogate = torch.tensor([[3.0], [1.0], [4.0], [9.5]])
    # r = 0: images as anchors: (3-1, 0-1, 0-3, 0.5-5) + 2; surrogates 3, 1, 4, 9.5 have nearest others 4, 0, 1, 4
    expected = ((3 - 1 + 2) + (0 - 1 + 2) + 0 + 0 + (3 - 1 + 2) + (0 - 1 + 2) + 0 + 0) / 8
    loss = IPFL(2.0, r=0, both_anchors=True)
    assert loss(x, surrogate).item() == pytest.approx(expected) and loss.num_anchors == loss.num_valid == 8


def test_the_released_code_s_variant():
    """Centres as positives and candidates, both views as anchors, x_j in its own top-3, 15 candidates."""
    generator = torch.Generator().manual_seed(2)
    x, surrogate, centres = (torch.randn(20, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    total = 0.0
    for a, anchor in enumerate(torch.cat([x, surrogate])):
        apart = (anchor - centres).norm(dim=1)
        for j in [j for j in apart.argsort().tolist() if j != a % 20][:15]:
            if a % 20 not in (centres[j] - centres).norm(dim=1).argsort()[:3].tolist():
                total += max(2 + apart[a % 20].item() - apart[j].item(), 0)
                break
        else:
            pytest.fail("the seed must give every anchor a negative: there the two codes differ")
    loss = IPFL(2.0, r=3, both_anchors=True, candidates=15, count_self=True)
    assert loss(x, surrogate, centres).item() == pytest.approx(total / 40, rel=1e-9)


def test_frozen_projection():
    torch.manual_seed(0)
    projection = FrozenProjection(branches=2, dim=5, out=3)
    assert not list(projection.parameters()) and list(projection.state_dict()) == ["weight"]
    x = torch.randn(4, 2, 5)
    y = projection(x)
    assert y.shape == (4, 2, 3)
    row = projection.weight[1, 2]
    assert row.norm().item() == pytest.approx(1) and y[3, 1, 2].item() == pytest.approx((x[3, 1] @ row).item())


def test_bad_input():
    for size in (1, 3, 4):
        with pytest.raises(ValueError, match=f"more than r . 1 = 4 images, got {size}"):
            cyclic_ranking(torch.zeros(size, 2), 3)
        with pytest.raises(ValueError, match="use a larger batch or a smaller r"):
            IPFL(r=3)(torch.zeros(size, 2), torch.zeros(size, 2))
    assert cyclic_ranking(torch.arange(5.0).unsqueeze(1), 3).shape == (5,)
    with pytest.raises(ValueError, match="of the images, their surrogates"):
        IPFL()(torch.zeros(6, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="of the images, their surrogates"):
        IPFL()(torch.zeros(6, 2), torch.zeros(6, 2), torch.zeros(5, 2))
    for options in ({"r": -1}, {"candidates": 0}):
        with pytest.raises(ValueError, match="r must be at least 0 and candidates at least 1"):
            IPFL(**options)
