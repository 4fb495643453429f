"""The forest kernel against the inverse of the whole matrix of the graph that lacks the pair's edge."""
import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.link_prediction import LinkGraph, forest_kernel


@st.composite
def graphs_and_pairs(draw):
    n = draw(st.integers(2, 12))
    node = st.integers(0, n - 1)
    graph = LinkGraph.from_edges(draw(st.lists(st.tuples(node, node), max_size=30)), n)
    pairs = draw(st.lists(st.tuples(node, node).filter(lambda p: p[0] != p[1]), min_size=1, max_size=6))
    return graph, torch.cat([torch.tensor(pairs), graph.links])  # with and without an edge of their own


@given(graphs_and_pairs(), st.sampled_from([0.3, 3.0, 300.0]), st.sampled_from([2, 256]))
@settings(deadline=None, max_examples=60)
def test_by_definition(case, alpha, block):
    graph, pairs = case
    found = forest_kernel(graph.observed(graph.links), pairs, (alpha,), block)
    for row, (i, j) in enumerate(pairs.tolist()):
        adjacency = np.zeros((graph.num_nodes,) * 2)
        for a, b in graph.links.tolist():
            if {a, b} != {i, j}:
                adjacency[a, b] = adjacency[b, a] = 1
        k = np.linalg.inv(np.eye(len(adjacency)) + alpha * (np.diag(adjacency.sum(0)) - adjacency))
        expected = {"": np.log(max(k[i, j], 1e-6)), "_cosine": k[i, j] / np.sqrt(k[i, i] * k[j, j]),
                    "_least": min(k[i, i], k[j, j]), "_most": max(k[i, i], k[j, j])}
        for name, value in expected.items():
            assert abs(float(found[f"forest{name}_{alpha:g}"][row]) - value) < 2e-5


def test_a_bridge_taken_away_leaves_exactly_what_no_bridge_leaves():
    """No last bit may tell a training link from a pair without one."""
    edges = [[0, 1], [1, 2], [2, 0], [3, 4], [4, 5], [5, 3]]
    with_bridge = LinkGraph.from_edges([*edges, [0, 3]], 6)
    without = LinkGraph.from_edges(edges, 6)
    pair = torch.tensor([[0, 3]])
    one, other = (forest_kernel(graph.observed(graph.links), pair) for graph in (with_bridge, without))
    assert all(torch.equal(one[name], other[name]) for name in one)
