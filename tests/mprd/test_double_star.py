"""What double stars share, computed once, gives the likelihoods of the classifier on every subgraph by itself."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from mprd_pyg.graph import KNNGraph, NeighbourLists, PairSubgraphs
from mprd_pyg.models import PairClassifier
from mprd_pyg.mprd import GCNRelation
from mprd_pyg.mprd.double_star import can_share, double_star_logits


def classifier(dim=5, hidden=8, dtype=torch.float64, **options):
    """Weights and biases that matter everywhere."""
    torch.manual_seed(0)
    gcn = PairClassifier(dim, hidden=hidden, **options).to(dtype)
    for bias in (gcn.conv1.bias, gcn.conv2.bias):
        torch.nn.init.normal_(bias)
    return gcn.eval()


@st.composite
def graphs_and_pairs(draw):
    """Any directed graph and any pairs with i != j, in any order and repeated."""
    n = draw(st.integers(2, 12))
    node = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=50))
    pairs = draw(st.lists(st.tuples(node, node).filter(lambda p: p[0] != p[1]), min_size=1, max_size=20))
    edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T
    return Data(edge_index=edge_index, num_nodes=n), torch.tensor(pairs)


@given(graphs_and_pairs(), st.sampled_from([16, 2]), st.sampled_from([1 << 30, 200, 1]))
@settings(deadline=None, max_examples=150)
def test_equals_the_classifier_on_every_subgraph(case, num_labels, max_bytes):
    graph, pairs = case
    gcn = classifier(num_labels=num_labels)
    x = torch.randn(graph.num_nodes, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        slow = gcn(PairSubgraphs()(graph, pairs), x)
        fast = double_star_logits(gcn, NeighbourLists.from_graph(graph), pairs, gcn.project(x), max_bytes)
    torch.testing.assert_close(fast, slow, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("cap", [None, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_relation_is_the_same_shared_or_not(cap, threads):
    """Single precision, many blocks and threads, with nodes out of reach; likelihoods agree within 1e-5."""
    x = torch.nn.functional.normalize(torch.randn(900, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    graph = KNNGraph(k=7)(x, keep_features=True)
    graph.rows = torch.arange(0, 800)
    gcn = classifier(6, 16, torch.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        shared, apart = (GCNRelation(gcn, PairSubgraphs(max_neighbours=cap), share=share)(graph).likelihood
                         for share in (True, False))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(shared, apart, atol=1e-5, rtol=0)
    assert apart.std() > 1e-3


def test_only_where_it_is_valid():
    projected = torch.zeros(10, 8)
    assert can_share(classifier(), projected)
    for options in (dict(root_similarity=True), dict(head="dgcnn")):
        assert not can_share(classifier(**options), projected)
    assert not can_share(classifier(), projected.half()) and not can_share(classifier(), projected.to("meta"))


def test_a_hub_adds_rows_and_no_work_per_pair_beyond_its_list():
    """A root of 5,000 neighbours in 5 pairs: few shared rows serve all, and a budget of one row still agrees."""
    leaf = torch.arange(1, 5001)
    graph = Data(edge_index=torch.stack([torch.cat([leaf, torch.zeros_like(leaf)]),
                                         torch.cat([torch.zeros_like(leaf), leaf])]), num_nodes=5001)
    x = torch.randn(5001, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gcn, pairs = classifier(), torch.tensor([[0, 9], [9, 0], [7, 0], [0, 4000], [7, 9]])
    lists = NeighbourLists.from_graph(graph)
    with torch.no_grad():
        slow = gcn(PairSubgraphs()(graph, pairs), x)
        for budget in (1 << 30, 1):
            torch.testing.assert_close(double_star_logits(gcn, lists, pairs, gcn.project(x), budget), slow)
