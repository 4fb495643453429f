"""Groups from judged pairs against the libraries' dense forms, and groups as a relation."""
import importlib.util
import sys

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import cluster
from sklearn.metrics import adjusted_rand_score
from torch_geometric.data import Data

from mprd_pyg.graph import KNNGraph
from mprd_pyg.relations import DBSCAN, ConnectedComponents, Groups, KNearest, KReciprocalJaccard, MapEquation

needs_igraph = pytest.mark.skipif(importlib.util.find_spec("igraph") is None, reason="igraph is an optional extra")


def random_pairs(n, count, seed):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randint(n, (2, count), generator=generator)
    edges = edges[:, edges[0] != edges[1]].unique(dim=1)
    likelihood = torch.randint(11, (edges.shape[1],), generator=generator) / 10
    return Data(edge_index=edges, edge_attr=likelihood, likelihood=likelihood, believed=likelihood > 0.45, num_nodes=n)


def as_sets(label):
    label = np.asarray(label)
    return {frozenset(np.flatnonzero(label == g).tolist()) for g in set(label.tolist()) - {-1}}


@given(st.integers(1, 40), st.integers(0, 60), st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_connected_components_equal_networkx(n, count, seed):
    pairs = random_pairs(n, count, seed)
    graph = nx.Graph(pairs.edge_index[:, pairs.believed].T.tolist())
    label = ConnectedComponents()(pairs)
    assert as_sets(label) == {frozenset(c) for c in nx.connected_components(graph)}
    assert sorted(set(label.tolist()) - {-1}) == list(range(int(label.max()) + 1))


@given(st.integers(1, 40), st.integers(0, 200), st.floats(0.05, 0.95), st.integers(1, 5), st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_dbscan_equals_the_dense_form(n, count, eps, min_samples, seed):
    pairs = random_pairs(n, count, seed)
    distance = np.full((n, n), 10.0)
    for (j, i), value in zip(pairs.edge_index.T.tolist(), pairs.likelihood.double().tolist(), strict=True):
        distance[i, j] = distance[j, i] = min(distance[i, j], 1 - value)
    np.fill_diagonal(distance, 0)
    expected = cluster.DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit(distance).labels_
    got = DBSCAN(eps, min_samples)(pairs)
    assert as_sets(got) == {group for group in as_sets(expected) if len(group) > 1}


@needs_igraph
def test_map_equation_equals_the_library_and_cuts_a_bridge():
    import igraph
    clique = [(a, b) for a in range(6) for b in range(a)]
    edges = clique + [(a + 6, b + 6) for a, b in clique] + [(0, 6)]
    likelihood = torch.tensor([0.9] * 30 + [0.5])
    pairs = Data(edge_index=torch.tensor(edges).T, likelihood=likelihood, believed=likelihood > 0.3, num_nodes=14)
    label = MapEquation()(pairs)
    assert label.tolist() == [0] * 6 + [1] * 6 + [-1, -1]
    assert ConnectedComponents()(pairs).tolist() == [0] * 12 + [-1, -1]
    for seed in range(5):
        pairs = random_pairs(60, 300, seed)
        found, again = MapEquation(trials=5, seed=seed)(pairs), MapEquation(trials=5, seed=seed)(pairs)
        assert torch.equal(found, again)
        weight = {}
        for edge, value in zip(pairs.edge_index.T.tolist(), pairs.likelihood.tolist(), strict=True):
            if value > 0.45:
                weight[tuple(sorted(edge))] = max(value, weight.get(tuple(sorted(edge)), 0))
        graph = igraph.Graph(n=60, edges=list(weight))
        best = graph.community_infomap(edge_weights=list(weight.values()), trials=50)
        assert adjusted_rand_score(best.membership, np.where(found < 0, 100 + np.arange(60), found)) > 0.5


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(ImportError, match="MapEquation needs igraph"):
        MapEquation()(random_pairs(5, 8, 0))


def cluster_graph(rows=None):
    generator = torch.Generator().manual_seed(4)
    person = torch.arange(60) // 10
    x = F.normalize(torch.randn(6, 16, generator=generator)[person] + 0.2 * torch.randn(60, 16, generator=generator))
    graph = KNNGraph(k=4)(x, keep_features=True)
    graph.camera_id, graph.rows = torch.arange(60) % 2, torch.arange(60) if rows is None else torch.tensor(rows)
    return graph, person


def test_members_of_a_group_believe_each_other():
    graph, person = cluster_graph()
    pairs = Groups(KReciprocalJaccard(), DBSCAN(0.6, 4))(graph)
    assert as_sets(pairs.group) == as_sets(person)
    assert sorted(map(tuple, pairs.edge_index.T.tolist())) == [
        (j, i) for j in range(60) for i in range(60) if i != j and person[i] == person[j]]
    assert bool(pairs.believed.all())
    torch.testing.assert_close(pairs.edge_attr, (graph.x[pairs.edge_index[0]] * graph.x[pairs.edge_index[1]]).sum(1))


def test_a_batch_gets_the_pairs_of_its_rows():
    relation = Groups(KReciprocalJaccard(k_own=2, k_other=2), ConnectedComponents())
    whole, part = relation(cluster_graph()[0]), relation(cluster_graph([33, 5, 59])[0])
    assert torch.equal(whole.group, part.group)
    wanted = [edge for edge in whole.edge_index.T.tolist() if edge[1] in (33, 5, 59)]
    assert sorted(part.edge_index.T.tolist()) == sorted(wanted)


def test_a_base_that_reads_edges_needs_all_of_them():
    relation = Groups(KNearest(4), ConnectedComponents())
    assert len(relation(cluster_graph()[0]).group) == 60
    with pytest.raises(ValueError, match="the pairs of all 60 rows, and the graph was built for 2: ask for all"):
        relation(cluster_graph([1, 2])[0])


def test_huge_groups_are_dissolved(caplog):
    graph, _ = cluster_graph()
    graph.x = torch.cat([graph.x[:10].repeat(3, 1), graph.x[30:]])  # 30 images of one person
    relation = Groups(KReciprocalJaccard(0.1, least=0.0, k_own=25, k_other=25), ConnectedComponents(), max_size=29)
    group = relation(graph).group
    assert "dissolved" in caplog.text and bool((torch.bincount(group + 1)[1:] <= 29).all())
