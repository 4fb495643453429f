"""Learned whitening against its definition, written out (Mikolajczyk & Matas, ICCV 2007)."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.graph.pair_whitening import half_whitened, pair_whitening, principal_components


def pairs_of(n, seed, count=60):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(n, (2, count), generator=generator)
    return edges[:, edges[0] != edges[1]].unique(dim=1)


def scatter_of(x, edges):
    """Each image's pairs together weigh one."""
    scatter = torch.zeros(x.shape[1], x.shape[1], dtype=torch.double)
    for i in range(len(x)):
        partners = edges[0, edges[1] == i].tolist()
        for j in partners:
            scatter += torch.outer(x[i] - x[j], x[i] - x[j]) / len(partners)
    return scatter


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), ridge=st.sampled_from([1e-3, 0.1, 2.0]))
def test_the_whitening_is_the_inverse_root_of_the_pairs_scatter(seed, ridge):
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(seed)).double() * torch.tensor([3.0, 1, 0.5, 0.1])
    edges = pairs_of(20, seed)
    scatter = scatter_of(x, edges)
    relative = scatter / scatter.diagonal().mean()
    w = pair_whitening(x, edges, ridge)
    torch.testing.assert_close(w @ (relative + ridge * torch.eye(4).double()) @ w, torch.eye(4).double())
    torch.testing.assert_close(w, w.T)


def test_whitened_pairs_differ_alike_in_all_directions():
    x = torch.randn(400, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([5.0, 1, 0.2])
    edges = pairs_of(400, 1, 3000)
    scatter = scatter_of(x.double() @ pair_whitening(x, edges, 1e-9), edges)
    torch.testing.assert_close(scatter / scatter.diagonal().mean(), torch.eye(3).double(), atol=1e-6, rtol=0)


def test_principal_components_are_uncorrelated_and_descend():
    x = torch.randn(200, 6, generator=torch.Generator().manual_seed(2)) @ torch.randn(
        6, 6, generator=torch.Generator().manual_seed(3))
    y, deviation = principal_components(x, 4)
    torch.testing.assert_close(y.T @ y / 200, torch.diag(deviation ** 2), atol=1e-9, rtol=1e-9)
    singular = torch.linalg.svdvals(x.double() - x.double().mean(0)) / 200 ** 0.5
    torch.testing.assert_close(deviation, singular[:4], atol=1e-6, rtol=1e-6)
    full, all_deviations = principal_components(torch.cat([x, x], dim=1), 99)
    assert full.shape == (200, 6) and len(all_deviations) == 6  # the other six only repeat
    
    def distances(rows):
        return (rows[:, None] - rows[None]).norm(dim=2)
    torch.testing.assert_close(distances(full), distances(x.double()) * 2 ** 0.5)


def test_half_whitening_by_hand():
    torch.testing.assert_close(half_whitened(torch.tensor([[8.0, 3.0]]), torch.tensor([16.0, 1.0])),
                               torch.tensor([[2.0, 3.0]]) / 13 ** 0.5)


def test_equal_rows_give_finite_coordinates():
    y, deviation = principal_components(torch.ones(5, 3), 2)
    assert half_whitened(y, deviation).isfinite().all()
    assert pair_whitening(y, torch.tensor([[0], [1]])).isfinite().all()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_unit_of_the_features_does_not_matter(scale):
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(4)).double()
    edges = pairs_of(30, 4)
    torch.testing.assert_close(pair_whitening(scale * x, edges), pair_whitening(x, edges))
