"""The builder of pair subgraphs: sizes, threads, the neighbour cap, the memory budget, PyG's transforms."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric import seed_everything
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.transforms import Compose, RandomLinkSplit

from mprd_pyg.graph import KNNGraph, NeighbourLists, PairSubgraphs
from mprd_pyg.graph.pairs.builders import SubgraphBuilder
from mprd_pyg.graph.threads import compiled


@st.composite
def graphs_and_pairs(draw):
    """Any directed graph, hubs included, and any pairs with i != j."""
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


def random_graph(n=400, k=6):
    return KNNGraph(k=k)(torch.randn(n, 5, generator=torch.Generator().manual_seed(0)))


def star(leaves):
    """Node 0 with ``leaves`` neighbours, each of them also a neighbour of the next, in both directions."""
    leaf = torch.arange(1, leaves + 1)
    edges = torch.stack([torch.cat([leaf, leaf[:-1]]), torch.cat([torch.zeros_like(leaf), leaf[1:]])])
    return Data(edge_index=torch.cat([edges, edges.flip(0)], dim=1), num_nodes=leaves + 1)


def assert_equal(one, other):
    for name in ("n_id", "z", "edge_index", "root_index", "batch", "ptr"):
        assert torch.equal(one[name], other[name]), name
    assert all(torch.equal(one._slice_dict[name], other._slice_dict[name]) for name in one._slice_dict)


@given(graphs_and_pairs(), st.sampled_from(["roots", "induced"]), st.integers(1, 3),
       st.one_of(st.none(), st.integers(1, 4)))
@settings(deadline=None, max_examples=150)
def test_the_sizes_are_known_before(case, edges, hops, cap):
    graph, pairs = case
    whole = NeighbourLists.from_graph(graph)
    builder = SubgraphBuilder(whole.capped(cap), whole if edges == "induced" else None, hops)
    flat = builder(pairs)
    assert torch.equal(flat.ptr.diff(), builder.sizes(pairs)[0])
    assert torch.equal(flat.edge_ptr.diff(), builder.sizes(pairs)[1])


@pytest.mark.parametrize(("edges", "hops"), [("roots", 1), ("induced", 1), ("roots", 2)])
def test_any_number_of_threads_gives_the_same(edges, hops):
    graph = random_graph()
    pairs = graph.edge_index.T.repeat(2, 1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = PairSubgraphs(edges, hops)(graph, pairs)
        torch.set_num_threads(3)
        assert_equal(PairSubgraphs(edges, hops)(graph, pairs), one)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_graph_on_a_device_gets_the_same_batches_there():
    here, y = random_graph(), torch.arange(100)
    there, pairs = here.clone().cuda(), here.edge_index.T[:100]
    for cut in (PairSubgraphs(), PairSubgraphs("induced", 2, 4)):
        assert_equal(cut(there, pairs.cuda(), y.cuda()).cpu(), cut(here, pairs, y))
        for far, near in zip(cut.batches(there, pairs.cuda(), y.cuda(), 9999), cut.batches(here, pairs, y, 9999),
                             strict=True):
            assert far.n_id.is_cuda and torch.equal(far.y.cpu(), near.y)
            assert_equal(far.cpu(), near)


@given(graphs_and_pairs(), st.integers(1, 5), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_the_cap_keeps_the_same_neighbours_of_a_node_everywhere(case, cap, seed):
    graph, pairs = case
    lists = NeighbourLists.from_graph(graph)
    capped, wider = lists.capped(cap, seed), lists.capped(cap + 2, seed)
    for node in range(graph.num_nodes):
        whole, kept, more = (set(x.neighbour[x.ptr[node]:x.ptr[node + 1]].tolist()) for x in (lists, capped, wider))
        assert kept <= more <= whole and len(kept) == min(cap, len(whole))
    builder = PairSubgraphs(max_neighbours=cap, seed=seed)
    together = builder(graph, pairs)
    assert_equal(together, PairSubgraphs()(capped, pairs))
    for p, pair in enumerate(pairs):
        alone = builder(graph, pair[None])[0]
        assert alone.num_nodes <= 2 + 2 * cap
        assert torch.equal(alone.n_id, together[p].n_id) and torch.equal(alone.edge_index, together[p].edge_index)


def test_the_seed_chooses_every_neighbour_equally_often():
    graph, count = star(40), torch.zeros(41)
    for seed in range(200):
        chosen = NeighbourLists.from_graph(graph).capped(10, seed)
        count[chosen.neighbour[chosen.ptr[0]:chosen.ptr[1]]] += 1
    # 200 draws of one in four: mean 50, standard deviation 6.1
    assert count[0] == 0 and count[1:].min() > 20 and count[1:].max() < 80


@pytest.mark.parametrize(("edges", "hops"), [("roots", 1), ("induced", 1), ("induced", 2)])
def test_a_hub_of_100_000_neighbours_does_not_explode(edges, hops):
    """Capped: 200 pairs at the hub are small. Not capped: a budget cuts them into batches of one."""
    graph = NeighbourLists.from_graph(star(100_000))
    pairs = torch.stack([torch.zeros(200, dtype=torch.long), torch.arange(1, 201) * 400], dim=1)
    batch = PairSubgraphs(edges, hops, max_neighbours=20, seed=1)(graph, pairs)
    assert max(batch._num_nodes) <= 2 + (40 if hops == 1 else 40 * 21)
    assert batch.num_edges < 4 * batch.num_nodes
    batches = PairSubgraphs(edges, hops).batches(graph, pairs[:3], max_bytes=1_000_000)
    sizes = [(one.num_graphs, one.num_nodes) for one in batches]
    assert sizes == [(1, 100_001)] * 3


@given(graphs_and_pairs(), st.sampled_from(["roots", "induced"]), st.integers(1, 20_000))
@settings(deadline=None, max_examples=60)
def test_batches_keep_to_the_budget_and_lose_nothing(case, edges, budget):
    graph, pairs = case
    y = torch.arange(len(pairs))
    whole = PairSubgraphs(edges)(graph, pairs, y)
    parts = list(PairSubgraphs(edges).batches(graph, pairs, y, max_bytes=budget, node_bytes=100))
    for part in parts:
        spent = part.num_nodes * 124 + part.num_edges * 16 + part.num_graphs * 40
        assert spent <= budget or part.num_graphs == 1
    joined = Batch.from_data_list([one for part in parts for one in part.to_data_list()])
    for name in ("n_id", "z", "edge_index", "root_index", "batch", "ptr", "y"):
        assert torch.equal(joined[name], whole[name]), name
    if budget >= whole.num_nodes * 124 + whole.num_edges * 16 + whole.num_graphs * 40:
        assert len(parts) == 1


def test_as_a_pyg_transform():
    graph = random_graph(60)
    graph.x = torch.randn(60, 3)
    split = RandomLinkSplit(num_val=0.1, num_test=0.1, neg_sampling_ratio=1.0)
    seed_everything(0)  # the negatives come from random and NumPy
    train, val, _ = Compose([split, PairSubgraphs("induced")])(graph)
    seed_everything(0)  # the negatives come from random and NumPy
    expected = split(graph)[1]
    assert torch.equal(val.y, expected.edge_label) and val.num_graphs == len(val.y)
    assert torch.equal(val.n_id[val.root_index], expected.edge_label_index.T)
    assert torch.equal(val.x, graph.x[val.n_id]) and torch.equal(val[3].x, graph.x[val[3].n_id])
    sizes = [batch.num_graphs for batch in DataLoader(train, batch_size=100)]
    assert sum(sizes) == train.num_graphs and sizes[0] == 100
    with pytest.raises(ValueError, match="edge_label_index"):
        PairSubgraphs()(graph)


def test_a_loader_process_may_build():
    """A forked worker of a DataLoader builds after its parent did, which a pool of OpenMP threads would not survive."""
    graph = random_graph()
    pairs = graph.edge_index.T
    lists, builder = NeighbourLists.from_graph(graph), PairSubgraphs()
    parent = builder(lists, pairs.repeat(2, 1))
    loader = torch.utils.data.DataLoader(pairs, batch_size=1200, num_workers=1,
                                         collate_fn=lambda rows: builder(lists, torch.stack(rows)))
    batches = list(loader)
    assert torch.equal(torch.cat([batch.n_id for batch in batches]), parent.n_id[:parent.num_nodes // 2])


def test_bad_options_are_named():
    graph = random_graph(50)
    for options, match in ((dict(max_neighbours=0), "max_neighbours"), (dict(hops=0), "hops")):
        with pytest.raises(ValueError, match=match):
            PairSubgraphs(**options)
    with pytest.raises(ValueError, match="max_bytes"):
        next(PairSubgraphs().batches(graph, [[0, 1]], max_bytes=0))
    for pairs in ([[0, 50]], [[-1, 0]]):
        with pytest.raises(ValueError, match="outside 0 ... 49"):
            next(PairSubgraphs().batches(graph, pairs))
    with pytest.raises(ValueError, match="no pairs"):
        PairSubgraphs()(graph, torch.zeros(0, 2, dtype=torch.long))


def test_compiles_where_nothing_can_be_written(monkeypatch):
    """numba refuses to cache, at import, where no folder is writable: then the code is kept in memory."""
    monkeypatch.setattr("numba.core.caching.CacheImpl._locator_classes", [])

    def double(x):
        return 2 * x
    with pytest.raises(RuntimeError, match="cannot cache"):
        __import__("numba").njit(cache=True)(double)
    assert np.array_equal(compiled(double)(np.arange(3)), [0, 2, 4])
