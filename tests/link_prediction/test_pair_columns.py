"""Columns side by side, and that no training pair's columns know its link."""
import networkx as nx
import pytest
import torch

from mprd_pyg.graph import PairStatistics
from mprd_pyg.link_prediction import LinkGraph, PairColumns, forest_kernel, split_links


@pytest.fixture(scope="module")
def split():
    graph = nx.powerlaw_cluster_graph(50, 3, 0.5, seed=4)
    x = torch.rand(50, 5, generator=torch.Generator().manual_seed(0))
    return split_links(LinkGraph.from_edges(list(graph.edges), 50, x=x), seed=1)


def test_side_by_side(split):
    columns, graph, pairs = PairColumns(split), split.observed("test"), split.pairs["test"]
    found = columns(graph, pairs)
    assert found.shape == (len(pairs), len(columns.names))
    kernel = forest_kernel(graph, pairs)
    assert columns.names == (*PairStatistics().columns(graph), *kernel)
    count = len(columns.names) - len(kernel)
    assert torch.equal(found[:, :count].float(), PairStatistics()(graph, pairs))
    assert torch.equal(found[:, count:], torch.stack(list(kernel.values()), dim=1))


def test_training_links_look_as_if_hidden(split):
    columns, links = PairColumns(split), split.links("train")
    found = columns.train()
    for row in (0, 7, 20):  # links come first
        hidden = columns(split.graph.observed(torch.cat([links[:row], links[row + 1:]])), links[row:row + 1])
        assert torch.allclose(found[row], hidden[0], atol=2e-5)
    rows = torch.tensor([5, 0])
    assert torch.equal(columns.train(rows), found[rows])


def test_large_graphs_do_without_the_slow_ones(split):
    columns = PairColumns(split, small_nodes=49)
    assert not any(name.startswith("forest") or name.endswith(("_7", "_8")) for name in columns.names)
    assert PairColumns(split, PairStatistics(["walks_8"]), small_nodes=49).names == ("walks_8",)
