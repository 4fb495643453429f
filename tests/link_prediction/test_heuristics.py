"""Heuristics against networkx, dense matrices and values by hand."""
import math

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from mprd_pyg.link_prediction import (
    HEURISTICS,
    LinkGraph,
    adamic_adar,
    common_neighbours,
    katz,
    ppr,
    resource_allocation,
)
from mprd_pyg.link_prediction.link_heuristics import katz_beta, ppr_rows


@st.composite
def graphs_and_pairs(draw):
    n = draw(st.integers(2, 14))
    node = st.integers(0, n - 1)
    graph = LinkGraph.from_edges(draw(st.lists(st.tuples(node, node), max_size=40)), n)
    pairs = draw(st.lists(st.tuples(node, node).filter(lambda p: p[0] != p[1]), min_size=1, max_size=8))
    return graph.observed(graph.links), torch.tensor(pairs)


@given(graphs_and_pairs(), st.floats(0.001, 0.06))
@settings(deadline=None, max_examples=40)
def test_equals_networkx(case, beta):
    graph, pairs = case
    reference = nx.Graph()
    reference.add_nodes_from(range(graph.num_nodes))
    reference.add_edges_from(graph.edge_index.T.tolist())
    assert common_neighbours(graph, pairs).tolist() == [len(list(nx.common_neighbors(reference, i, j)))
                                                        for i, j in pairs.tolist()]
    expected = [score for _, _, score in nx.adamic_adar_index(reference, pairs.tolist())]
    assert np.allclose(adamic_adar(graph, pairs), expected)
    expected = [score for _, _, score in nx.resource_allocation_index(reference, pairs.tolist())]
    assert np.allclose(resource_allocation(graph, pairs), expected)
    a = nx.to_numpy_array(reference, nodelist=range(graph.num_nodes))
    step = a / np.maximum(a.sum(0), 1)  # a walk ends at a node without links
    rank = 0.15 * np.linalg.inv(np.eye(len(a)) - 0.85 * step).T
    i, j = pairs.T.numpy()
    assert np.abs(ppr_rows(csr_matrix(a), np.arange(len(a))) - rank).max() < 1e-7
    assert np.abs(ppr(graph, pairs, block=3) - rank[i, j] - rank[j, i]).max() < 2e-7
    closed = np.linalg.inv(np.eye(len(a)) - beta * a) - np.eye(len(a))
    for block in (1, 3, 256):
        got = katz(graph, pairs, beta=beta, length=200, block=block)
        assert np.allclose(got, closed[tuple(pairs.T.numpy())], rtol=1e-9)


def test_by_hand():
    # 0 and 1 share 2 (degree 3: also 4) and 3 (degree 2)
    graph = LinkGraph.from_edges([[0, 2], [2, 1], [0, 3], [3, 1], [2, 4]], 6)
    graph = graph.observed(graph.links)
    pairs = torch.tensor([[0, 1], [1, 0], [0, 4], [0, 5]])
    assert common_neighbours(graph, pairs).tolist() == [2, 2, 1, 0]
    both = 1 / math.log(3) + 1 / math.log(2)
    assert np.allclose(adamic_adar(graph, pairs), [both, both, 1 / math.log(3), 0])
    assert np.allclose(katz(graph, pairs, beta=0.1, length=2), [0.02, 0.02, 0.01, 0])
    # a walk of three steps 0-2, and 0-2-0-2, 0-2-1-2, 0-2-4-2, 0-3-0-2, 0-3-1-2
    assert np.allclose(katz(graph, torch.tensor([[0, 2]]), beta=0.1, length=3), [0.1 + 5 * 0.001])
    assert np.allclose(resource_allocation(graph, pairs), [1 / 3 + 1 / 2, 1 / 3 + 1 / 2, 1 / 3, 0])
    assert {score(graph, pairs[:0]).shape for score in HEURISTICS.values()} == {(0,)}


def test_distance_orders_far_pairs():
    graph = LinkGraph.from_edges([[i, i + 1] for i in range(15)], 16)
    score = katz(graph.observed(graph.links), torch.tensor([[0, j] for j in range(1, 16)]))
    assert (np.diff(score) < 0).all() and score[-1] > 0


def test_beta_lets_the_sum_converge():
    star = LinkGraph.from_edges([[0, i] for i in range(1, 3000)], 3000)
    star = star.observed(star.links)
    assert katz_beta(star) == pytest.approx(0.5 / 2999)
    assert katz_beta(LinkGraph.from_edges([], 4).observed(torch.zeros(0, 2, dtype=torch.long))) == 0.001
    assert np.isfinite(katz(star, torch.tensor([[1, 2]]), length=60)).all()
