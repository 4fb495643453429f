"""Kept subgraphs are those that would be built anew, in any batches."""
import pytest
import torch
from torch_geometric.data import Data

from mprd_pyg.graph import NeighbourLists, PairSubgraphs
from mprd_pyg.link_prediction import SubgraphStore

KEYS = ("n_id", "z", "edge_index", "root_index", "batch", "ptr")


@pytest.fixture
def case():
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(50, (2, 120), generator=generator)
    graph = Data(edge_index=torch.cat([edges, edges.flip(0)], dim=1), num_nodes=53)
    pairs = torch.randint(53, (90, 2), generator=generator)
    return NeighbourLists.from_graph(graph), pairs[pairs[:, 0] != pairs[:, 1]]


@pytest.mark.parametrize("hops", [1, 2])
def test_equals_building_anew(case, hops):
    lists, pairs = case
    subgraphs = PairSubgraphs("induced", hops)
    kept, anew = SubgraphStore(subgraphs, lists, pairs, chunk=2000), SubgraphStore(subgraphs, lists, pairs, 0)
    assert kept.flat is not None and anew.flat is None and len(kept) == len(pairs)
    for rows in (torch.tensor([7]), torch.tensor([5, 3, 3, 80]), torch.arange(len(pairs))):
        a, b = kept.batch(rows), anew.batch(rows)
        for key in KEYS:
            assert torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype, key
        assert all(torch.equal(one.edge_index, other.edge_index)
                   for one, other in zip(a.to_data_list(), b.to_data_list(), strict=True))
    size, label = kept.sizes_and_labels()
    assert torch.equal(size, anew.batch(torch.arange(len(pairs))).ptr.diff()) and label == int(kept.flat.z.max())
    assert anew.sizes_and_labels()[1] == label and torch.equal(anew.sizes_and_labels()[0], size)


def test_memory_is_bounded(case):
    lists, pairs = case
    store = SubgraphStore(PairSubgraphs("induced", 2), lists, pairs, memory_gb=1e-6)
    assert store.flat is None
    assert store.batch(torch.tensor([1])).num_graphs == 1
