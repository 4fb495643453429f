"""PairSubgraphs and drnl against a slow per-pair reference (breadth-first sets and SciPy shortest paths)."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import shortest_path
from torch_geometric.data import Batch, Data

from mprd_pyg.graph import KNNGraph, NeighbourLists, PairSubgraphs, drnl


def slow_distance(nodes, edges, source, removed):
    """Shortest paths from ``source`` with ``removed`` taken out, by SciPy."""
    kept = [n for n in nodes if n != removed]
    place = {n: p for p, n in enumerate(kept)}
    links = [(place[a], place[b]) for a, b in edges if a in place and b in place]
    row, col = zip(*links, strict=True) if links else ((), ())
    adjacency = coo_matrix((np.ones(len(links)), (row, col)), shape=(len(kept), len(kept))).tocsr()
    path = shortest_path(adjacency, directed=False, unweighted=True, indices=place[source])
    return {n: path[place[n]] for n in kept}


def slow_subgraph(edge_index, lists, i, j, mode, hops):
    """Nodes, undirected edges and DRNL labels of one pair, from sets; the walk is over ``lists``."""
    links = {(int(a), int(b)) for a, b in zip(*edge_index.tolist(), strict=True) if a != b}
    neighbours = lambda b: set(lists.neighbour[lists.ptr[b]:lists.ptr[b + 1]].tolist())  # noqa: E731
    nodes, frontier, edges = {i, j}, {i, j}, set()
    for _ in range(hops):
        found = set()
        for b in frontier:
            for a in neighbours(b):
                edges |= {(a, b), (b, a)}
                found.add(a)
        frontier = found - nodes
        nodes |= found
    if mode == "induced":
        edges = {e for a, b in links if a in nodes and b in nodes for e in ((a, b), (b, a))}
    edges -= {(i, j), (j, i)}
    from_i, from_j = slow_distance(nodes, edges, i, j), slow_distance(nodes, edges, j, i)
    z = {}
    for n in nodes:
        if n in (i, j):
            z[n] = 1
        elif np.isinf(from_i[n]) or np.isinf(from_j[n]):
            z[n] = 0
        else:
            d = int(from_i[n] + from_j[n])
            z[n] = 1 + int(min(from_i[n], from_j[n])) + (d // 2) * (d // 2 + d % 2 - 1)
    return nodes, edges, z


@st.composite
def graphs_and_pairs(draw):
    """Any directed graph: self-loops, repeats, isolated nodes, hubs; any pairs with i != j."""
    n = draw(st.integers(2, 14))
    node = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=40))
    if draw(st.booleans()):  # a hub, long enough that its list is searched and not read
        n += 130
        hub = draw(node)
        edges += [(a, hub) for a in range(14, n)] + [(hub, a) for a in range(14, n, 3)]
    pairs = draw(st.lists(st.tuples(node, node).filter(lambda p: p[0] != p[1]), min_size=1, max_size=6))
    edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T
    return Data(edge_index=edge_index, num_nodes=n), torch.tensor(pairs)


@given(graphs_and_pairs(), st.sampled_from(["roots", "induced"]), st.integers(1, 3),
       st.one_of(st.none(), st.integers(1, 4)))
@settings(deadline=None, max_examples=200)
def test_equals_the_slow_reference(case, mode, hops, cap):
    """MPRD Eq. 4 and the general DRNL, over roots and induced edges and several hops, with and without a cap."""
    graph, pairs = case
    lists = NeighbourLists.from_graph(graph).capped(cap, 1)
    batch = PairSubgraphs(mode, hops, cap, 1)(graph, pairs)
    assert len(batch) == len(pairs)
    for p, (i, j) in enumerate(pairs.tolist()):
        one = batch[p]
        nodes, edges, z = slow_subgraph(graph.edge_index, lists, i, j, mode, hops)
        assert one.n_id.tolist() == sorted(nodes)
        assert one.num_nodes == len(nodes)
        got = [(int(one.n_id[a]), int(one.n_id[b])) for a, b in one.edge_index.T.tolist()]
        assert len(got) == len(set(got)) and set(got) == edges
        assert one.edge_index.T.tolist() == sorted(one.edge_index.T.tolist(), key=lambda edge: edge[::-1])
        assert dict(zip(one.n_id.tolist(), one.z.tolist(), strict=True)) == z
        assert one.n_id[one.root_index].tolist() == [[i, j]]


@given(graphs_and_pairs(), st.sampled_from(["roots", "induced"]))
@settings(deadline=None, max_examples=40)
def test_batching_round_trip(case, mode):
    graph, pairs = case
    batch = PairSubgraphs(edges=mode)(graph, pairs, y=torch.arange(len(pairs)))
    again = Batch.from_data_list(batch.to_data_list())
    for key in ("n_id", "z", "edge_index", "root_index", "batch", "ptr", "y"):
        assert torch.equal(batch[key], again[key]), key
    assert batch.num_nodes == again.num_nodes
    assert [one.y.item() for one in batch[-2:]] == list(range(len(pairs)))[-2:]


def test_double_star_by_hand():
    # NN(0) = {1, 2, 3}, NN(1) = {0, 3, 4}; node 5 is nobody's neighbour, 2 -> 4 is not an edge of a root
    graph = Data(edge_index=torch.tensor([[1, 2, 3, 0, 3, 4, 2], [0, 0, 0, 1, 1, 1, 4]]), num_nodes=6)
    one = PairSubgraphs()(graph, [[0, 1]])[0]
    assert one.n_id.tolist() == [0, 1, 2, 3, 4]
    assert one.z.tolist() == [1, 1, 0, 2, 0]
    undirected = {tuple(sorted(edge)) for edge in one.edge_index.T.tolist()}
    assert undirected == {(0, 2), (0, 3), (1, 3), (1, 4)} and one.edge_index.shape[1] == 8
    induced = PairSubgraphs(edges="induced")(graph, [[0, 1]])[0]
    assert {tuple(sorted(edge)) for edge in induced.edge_index.T.tolist()} == undirected | {(2, 4)}
    # 2 reaches root 1 over 4 (root 0 removed): distances 1 and 2, so z = 1 + 1 + 1 * (1 + 1 - 1) = 3
    assert induced.z.tolist() == [1, 1, 3, 2, 3]


def test_closed_form_of_the_double_star_equals_general_drnl():
    graph = KNNGraph(k=6)(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)))
    pairs = graph.edge_index.T[::3]
    batch = PairSubgraphs()(graph, pairs)
    assert torch.equal(batch.z, drnl(batch.edge_index, batch.root_index, batch.num_nodes))
    assert set(batch.z.unique().tolist()) == {0, 1, 2}


def test_the_order_of_a_pair_does_not_matter():
    graph = KNNGraph(k=4)(torch.randn(30, 3, generator=torch.Generator().manual_seed(0)))
    one, other = PairSubgraphs(edges="induced", hops=2)(graph, [[3, 8], [8, 3]]).to_data_list()
    assert torch.equal(one.z, other.z) and torch.equal(one.edge_index, other.edge_index)
    assert torch.equal(one.root_index.flip(1), other.root_index)


def test_bad_pairs_are_named():
    graph = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=3)
    with pytest.raises(ValueError, match=r"pair 1 is \(2, 2\)"):
        PairSubgraphs()(graph, [[0, 1], [2, 2]])
    with pytest.raises(ValueError, match="outside 0 ... 2"):
        PairSubgraphs()(graph, [[0, 3]])
    with pytest.raises(ValueError, match="shape"):
        PairSubgraphs()(graph, [0, 1])
    with pytest.raises(ValueError, match="edges must be"):
        PairSubgraphs(edges="all")
