"""Every column of the pair statistics against its definition, on graphs from which the pair's edge was really taken."""
import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data
from torch_geometric.transforms import Compose, RandomLinkSplit

from mprd_pyg.graph import KNNGraph, NeighbourLists, PairStatistics
from mprd_pyg.graph.pairs.statistics import FEATURES, NEIGHBOURHOOD, PAGERANK, PATHS, SIMILARITY, STATISTICS
from mprd_pyg.graph.reciprocal_rows import camera_reciprocal_rows, k_reciprocal_rows


@st.composite
def graphs_and_pairs(draw):
    """Any directed graph with similarities, cameras and features; hubs, isolated nodes, parts; pairs with and without
    an edge of their own."""
    n = draw(st.integers(2, 12))
    node = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=40))
    if draw(st.booleans()):
        hub = draw(node)
        edges += [(a, hub) for a in range(n, n + 30)] + [(hub, a) for a in range(n, n + 30, 3)]
        n += 31
    pairs = draw(st.lists(st.tuples(node, node).filter(lambda p: p[0] != p[1]), max_size=6))
    pairs += [edge for edge in edges[:4] if edge[0] != edge[1]] or [(0, 1)]
    random = np.random.default_rng(draw(st.integers(0, 99)))
    edges = list(dict.fromkeys(edges))
    similarity = random.integers(-4, 9, len(edges)) / 8  # ties are frequent
    x = random.integers(-2, 3, (n, 3))  # rows of zeros as well
    return Data(edge_index=torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T, num_nodes=n,
                edge_attr=torch.tensor(similarity, dtype=torch.float), x=torch.tensor(x, dtype=torch.float),
                camera_id=torch.tensor(random.integers(0, 3, n))), torch.tensor(pairs)


def undirected(graph, without=None):
    """A networkx graph, from which one edge is taken."""
    out = nx.Graph()
    out.add_nodes_from(range(graph.num_nodes))
    out.add_edges_from((a, b) for a, b in graph.edge_index.T.tolist() if a != b)
    if without is not None and out.has_edge(*without):
        out.remove_edge(*without)
    return out


def neighbourhood(graph, i, j):
    g = undirected(graph, (i, j))
    a, b, shared, d = set(g[i]), set(g[j]), set(g[i]) & set(g[j]), dict(g.degree)
    over = {"jaccard": len(a | b), "salton": (d[i] * d[j]) ** 0.5, "hub_promoted": min(d[i], d[j]),
            "hub_depressed": max(d[i], d[j])}
    clustering = sorted(nx.clustering(g, [i, j]).values())
    links = [(u, v) for u in a for v in b if g.has_edge(u, v)]
    return {name: len(shared) / value if value else 0.0 for name, value in over.items()} | {
        "common_neighbours": len(shared), "adamic_adar": sum(1 / np.log(d[c]) for c in shared),
        "resource_allocation": sum(1 / d[c] for c in shared), "degree_min": min(d[i], d[j]),
        "degree_max": max(d[i], d[j]), "preferential_attachment": d[i] * d[j],
        "clustering_min": clustering[0], "clustering_max": clustering[1], "walks_3": len(links),
        "damped_walks_3": sum((d[u] * d[v]) ** -0.5 for u, v in links)}


def path_columns(graph, i, j):
    g = undirected(graph, (i, j))
    a = nx.to_numpy_array(g, nodelist=range(graph.num_nodes))
    scale = np.maximum(a.sum(0), 1) ** -0.5
    damped = scale[:, None] * a * scale
    power = np.linalg.matrix_power
    out = {"inverse_distance": 1 / nx.shortest_path_length(g, i, j) if nx.has_path(g, i, j) else 0.0}
    return out | {f"{name}_{length}": power(matrix, length)[i, j] for length in range(4, 9)
                  for name, matrix in (("walks", a), ("damped_walks", damped))}


def feature_columns(graph, i, j):
    g, x = undirected(graph, (i, j)), graph.x.double().numpy()
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)

    def cosine(a, b):
        length = [np.linalg.norm(side) for side in (a, b)]
        return a @ b / np.prod(length) if min(length) > 1e-6 else 0.0
    smooth = sorted(np.mean([unit[p] @ unit[c] for c in g[q]] or [0.0]) for p, q in ((i, j), (j, i)))
    sums = [unit[p] + sum(unit[c] for c in g[p]) for p in (i, j)]
    return dict(zip(FEATURES, (cosine(x[i], x[j]), *smooth, cosine(*sums)), strict=True))


def similarity_columns(graph, i, j):
    lists = {node: {} for node in (i, j)}
    for (source, node), value in zip(graph.edge_index.T.tolist(), graph.edge_attr.tolist(), strict=True):
        if node in lists and source != node:
            lists[node][source] = value
    sides = ((i, j), (j, i))
    on_edge = [lists[p][q] for p, q in sides if q in lists[p]]
    rank = [1 + sum(value > lists[p].get(q, -np.inf) for value in lists[p].values()) for p, q in sides]
    others = [{c: value for c, value in lists[p].items() if c != q} for p, q in sides]
    density = sorted(np.mean(list(kept.values())) if kept else 0.0 for kept in others)
    weight = [{c: np.exp(-(2 - 2 * value) / 0.5) for c, value in kept.items()} for kept in others]
    chance = sum(w[c] / sum(w.values()) for w in weight for c in weight[0].keys() & weight[1].keys()) / 2
    least = min(value for p in (i, j) for value in list(lists[p].values()) or [-1.0])
    return dict(zip(SIMILARITY, (max(on_edge) if on_edge else least, min(rank), max(rank), len(on_edge) == 2, *density,
                                 chance), strict=True))


@pytest.mark.parametrize(("reference", "names"), [(neighbourhood, NEIGHBOURHOOD), (path_columns, PATHS),
                                                  (feature_columns, FEATURES), (similarity_columns, SIMILARITY)])
@given(case=graphs_and_pairs())
@settings(deadline=None, max_examples=100)
def test_columns_equal_their_definitions(case, reference, names):
    graph, pairs = case
    got = PairStatistics(names)(graph, pairs)
    for p, (i, j) in enumerate(pairs.tolist()):
        expected = reference(graph, i, j)
        assert set(expected) == set(names)
        np.testing.assert_allclose(got[p], [float(expected[name]) for name in names], rtol=2e-6, atol=2e-6)


@given(graphs_and_pairs(), st.sampled_from([0.5, 0.85]), st.sampled_from([1e-2, 1e-4]))
@settings(deadline=None, max_examples=60)
def test_pagerank_keeps_to_its_error(case, damping, error):
    graph, pairs = case
    got = PairStatistics(PAGERANK, damping, error)(graph, pairs).double().exp()
    for p, (i, j) in enumerate(pairs.tolist()):
        g = undirected(graph, (i, j))
        exact, room = [], []
        for a, b in ((i, j), (j, i)):
            d = max(g.degree[b], 1)
            reached = nx.has_path(g, a, b)
            exact.append(nx.pagerank(g, damping, {a: 1}, tol=1e-12, max_iter=2000)[b] if reached else 0.0)
            room.append(error * d)
        # Too small by error x degree at most, which is also what is added under the logarithm.
        low, high = sorted(exact), sorted(e + r for e, r in zip(exact, room, strict=True))
        assert all(np.array(low) * (1 - 1e-5) - 1e-9 <= got[p].numpy())
        assert all(got[p].numpy() <= np.array(high) * (1 + 1e-5))


@given(graphs_and_pairs())
@settings(deadline=None, max_examples=60)
def test_own_edge_never_counts_and_order_does_not_matter(case):
    graph, pairs = case
    names = NEIGHBOURHOOD + PATHS + PAGERANK + FEATURES
    statistics = PairStatistics(names)
    together = statistics(graph, pairs)
    assert torch.equal(together, statistics(graph, pairs.flip(1)))
    for p, (i, j) in enumerate(pairs.tolist()):
        source, node = graph.edge_index
        own = ((source == i) & (node == j)) | ((source == j) & (node == i))
        apart = Data(edge_index=graph.edge_index[:, ~own], num_nodes=graph.num_nodes, x=graph.x)
        torch.testing.assert_close(together[p], statistics(apart, pairs[p:p + 1])[0], rtol=1e-6, atol=1e-6)


def test_reciprocal_columns_are_jaccard_of_the_encoded_rows():
    graph = KNNGraph(k=4)(torch.randn(80, 6, generator=torch.Generator().manual_seed(0)), keep_features=True)
    graph.camera_id = torch.arange(80) % 3
    unit, graph.x = graph.x, 3 * graph.x  # the length of a row does not matter
    pairs = torch.cat([graph.edge_index.T[::9], torch.tensor([[0, 79]])])
    got = PairStatistics(["reciprocal_jaccard", "camera_reciprocal_jaccard"], k1=10, k2=3)(graph, pairs)
    for column, rows in enumerate((k_reciprocal_rows(unit, 10, 3),
                                   camera_reciprocal_rows(unit, graph.camera_id, 5, 20, 1, 4, expand=False))):
        dense = torch.from_numpy(rows.toarray())
        a, b = dense[pairs[:, 0]], dense[pairs[:, 1]]
        expected = torch.minimum(a, b).sum(1) / torch.maximum(a, b).sum(1)
        torch.testing.assert_close(got[:, column], expected.float(), rtol=1e-5, atol=1e-6)
    assert bool((got > 0).any(0).all())


def test_any_number_of_threads_gives_the_same():
    graph = KNNGraph(k=6)(torch.randn(300, 5, generator=torch.Generator().manual_seed(0)), keep_features=True)
    pairs = graph.edge_index.T.repeat(2, 1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = PairStatistics()(graph, pairs)
        torch.set_num_threads(3)
        assert torch.equal(PairStatistics()(graph, pairs), one)
    finally:
        torch.set_num_threads(threads)


def test_columns_are_those_that_the_graph_gives():
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    assert PairStatistics().columns(graph) == NEIGHBOURHOOD + PATHS + PAGERANK
    whole = Data(edge_index=graph.edge_index, edge_attr=torch.ones(2), x=torch.eye(3),
                 camera_id=torch.tensor([0, 1, 0]), num_nodes=3)
    assert set(PairStatistics().columns(whole)) == set(STATISTICS)
    assert PairStatistics(["same_group", "walks_3"])(whole, [[0, 2], [0, 1]]).tolist() == [[1, 0], [0, 0]]
    lists = NeighbourLists.from_graph(graph)
    assert torch.equal(PairStatistics()(lists, [[0, 2]]), PairStatistics()(graph, [[0, 2]]))


def test_as_a_transform_after_a_random_link_split():
    torch.manual_seed(0)
    graph = KNNGraph(k=4)(torch.randn(60, 5))
    graph.edge_attr = None
    split = Compose([RandomLinkSplit(is_undirected=False), PairStatistics(NEIGHBOURHOOD)])
    for part in split(graph):
        assert torch.equal(part.pair_statistics, PairStatistics(NEIGHBOURHOOD)(part, part.edge_label_index.T))


@pytest.mark.parametrize(("options", "message"), [
    ({"names": ["walk"]}, "no statistic 'walk'"), ({"names": []}, "names is empty"), ({"damping": 1.0}, "damping"),
    ({"error": 0.0}, "error")])
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PairStatistics(**options)


@pytest.mark.parametrize(("names", "edge_attr", "pairs", "message"), [
    (["similarity"], None, [[0, 1]], "no edge_attr"), (["feature_cosine"], None, [[0, 1]], "no x"),
    (["camera_reciprocal_jaccard"], None, [[0, 1]], "no x and no camera_id"),
    (["similarity"], torch.ones(2, 3), [[0, 1]], "one per edge"), (None, None, None, "no edge_label_index"),
    (None, None, [[0, 7]], "outside")])
def test_what_a_graph_lacks_is_named(names, edge_attr, pairs, message):
    graph = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), edge_attr=edge_attr, num_nodes=3)
    with pytest.raises(ValueError, match=message):
        PairStatistics(names)(graph, pairs)
