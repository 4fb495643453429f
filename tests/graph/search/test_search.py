"""Exact neighbour search, FAISS's and ours, against a plain reference: ties, duplicates, k per node, threads."""
import faiss
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.graph import KNNGraph
from mprd_pyg.graph.search.candidates import EMPTY, decode, encode
from mprd_pyg.graph.search.device import DeviceSearch
from mprd_pyg.graph.search.exact import ExactSearch, even_bounds
from mprd_pyg.graph.search.faiss_search import FaissSearch
from mprd_pyg.graph.search.indexes import resolve
from mprd_pyg.graph.search.nearest import NearestSearch


def reference(x, queries, own, k, metric, threshold=None, k_max=None):
    """One query after the other: sorted by (similarity descending, row ascending)."""
    count, rows, values, capped = [], [], [], 0
    for q, mine in zip(queries.double().numpy(), own.tolist(), strict=True):
        y = x.double().numpy()
        similarity = y @ q if metric == "cosine" else -((y - q) ** 2).sum(1)
        order = [j for j in sorted(range(len(y)), key=lambda j: (-similarity[j], j)) if j != mine]
        limit = k
        if threshold is not None:
            wanted = 1 + sum(similarity[j] > threshold for j in order)
            limit = max(k, wanted)
            if k_max is not None:
                capped += wanted > k_max
                limit = min(limit, k_max)
        count.append(len(order[:limit]))
        rows += order[:limit]
        values += similarity[order[:limit]].tolist()
    return count, rows, values, capped


def small_integers(n, d, spread, seed):
    """Rows whose products are exact in float32, with many ties and duplicates."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-spread, spread + 1, (n, d))).float()


def agrees(found, expected):
    assert found.count.tolist() == expected[0]
    assert found.row.tolist() == expected[1]
    np.testing.assert_allclose(found.similarity.numpy(), expected[2], rtol=1e-6)
    assert found.num_capped == expected[3]


def flat_search(x, metric, block):
    """FAISS's brute force, asked for so little at first that a threshold leaves many queries open."""
    search = FaissSearch(ExactSearch(x, metric, block), metric, "Flat", 1)
    search.WIDTH, search.BATCH = 3, 7
    return search


case = dict(n=st.integers(2, 40), d=st.integers(1, 5), spread=st.integers(0, 3), k=st.integers(1, 6),
            metric=st.sampled_from(["cosine", "l2"]), threshold=st.sampled_from([None, -6, -1, 0, 2]),
            spare=st.sampled_from([None, 0, 3]), seed=st.integers(0, 9999))


@pytest.mark.parametrize("kind", [ExactSearch, DeviceSearch, flat_search])
@given(**case, block=st.sampled_from([1, 3, 7, 64]))
@settings(deadline=None, max_examples=60)
def test_every_row_of_the_database(kind, n, d, spread, k, metric, threshold, spare, seed, block):
    x, k = small_integers(n, d, spread, seed), min(k, n - 1)
    k_max = None if spare is None else k + spare
    search = kind(x, metric, block)
    found = search.all_rows(k, threshold, k_max) if kind is ExactSearch else \
        search.neighbours(x, torch.arange(n), k, threshold, k_max)
    agrees(found, reference(x, x, torch.arange(n), k, metric, threshold, k_max if threshold is not None else None))


@pytest.mark.parametrize("kind", [ExactSearch, DeviceSearch, flat_search])
@given(**case, block=st.sampled_from([1, 3, 7, 64]), number=st.integers(1, 20))
@settings(deadline=None, max_examples=60)
def test_queries_with_and_without_an_own_row(kind, n, d, spread, k, metric, threshold, spare, seed, block, number):
    x, queries, k = small_integers(n, d, spread, seed), small_integers(number, d, spread, seed + 1), min(k, n - 1)
    own = torch.from_numpy(np.random.default_rng(seed).integers(-1, n, number))
    k_max = None if spare is None else k + spare
    found = kind(x, metric, block).neighbours(queries, own, k, threshold, k_max)
    agrees(found, reference(x, queries, own, k, metric, threshold, k_max if threshold is not None else None))


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_keys_sort_by_similarity_then_row(values):
    keys = [encode(np.float32(v), i) for i, v in enumerate(values)]
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))
    assert [i for _, i in sorted(zip(keys, range(len(keys)), strict=True))] == order
    similarity, row = decode(np.array([*keys, EMPTY], np.uint64))
    assert similarity.tolist() == [*map(float, np.float32(values)), -np.inf] and row.tolist() == [*range(len(keys)), -1]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_threads_and_block_sizes_change_nothing(metric):
    x = F.normalize(torch.randn(700, 24, generator=torch.Generator().manual_seed(0)))
    x[300:340] = x[17]  # duplicates: only the row index can order them
    threads, graphs = torch.get_num_threads(), []
    for count, block in ((1, 1024), (1, 100), (3, 100), (3, 33)):
        torch.set_num_threads(count)
        try:
            search = ExactSearch(x, metric, block)
            for found in (search.all_rows(5), search.neighbours(x, torch.arange(700), 5)):
                graphs.append((found.row, found.similarity))
                ragged = search.all_rows(5, 0.4 if metric == "cosine" else -1.2, 30)
                graphs.append((ragged.row, ragged.similarity))
            assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(threads)
    for i, (row, similarity) in enumerate(graphs):
        assert torch.equal(row, graphs[i % 2][0])
        torch.testing.assert_close(similarity, graphs[i % 2][1], atol=2e-6, rtol=0)
    assert graphs[0][0].view(700, 5)[17].tolist() == [300, 301, 302, 303, 304]
    assert graphs[0][0].view(700, 5)[302].tolist() == [17, 300, 301, 303, 304]


def test_a_few_queries_round_as_all_of_them_do():
    x = F.normalize(torch.randn(1300, 64, generator=torch.Generator().manual_seed(0)))
    search = ExactSearch(x, "cosine", 512)
    whole = search.all_rows(4)
    for number in (1, 2, 5, 40):
        part = search.neighbours(x[:number], torch.arange(number), 4)
        assert torch.equal(part.row, whole.row[:4 * number])
        assert torch.equal(part.similarity, whole.similarity[:4 * number])


def test_a_cap_bounds_what_is_held(monkeypatch):
    # All rows are alike: without the cap, 300 x 299 edges lie above the threshold.
    import mprd_pyg.graph.search.exact as exact
    monkeypatch.setattr(exact, "POOL", 500)
    x = torch.ones(300, 4) / 2
    lists, get = [], exact.Lists.neighbours
    monkeypatch.setattr(exact.Lists, "neighbours", lambda self: lists.append(self) or get(self))
    found = ExactSearch(x, "cosine", 20).all_rows(3, threshold=0.6, k_max=5)
    assert found.count.tolist() == [5] * 300 and found.num_capped == 300
    assert found.row.view(300, 5)[[0, 1, 299]].tolist() == [[1, 2, 3, 4, 5], [0, 2, 3, 4, 5], [0, 1, 2, 3, 4]]
    assert lists[0].held < 300 * 5 * 4


def test_a_worker_error_reaches_the_caller():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError):
            ExactSearch(torch.randn(50, 4), "cosine", 8).neighbours(torch.randn(50, 5), torch.full((50,), -1), 2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_blocks_are_even():
    assert even_bounds(10, 4) == [0, 3, 6, 10] and even_bounds(4, 4) == [0, 4] and even_bounds(0, 4) == [0, 0]


def test_pairs_of_a_call_are_padded_where_there_are_too_few():
    x = torch.eye(3)
    value, row = NearestSearch(x)(x[:1], 5)
    assert row.tolist() == [[0, 1, 2, -1, -1]] and value.tolist() == [[1, 0, 0, -np.inf, -np.inf]]


def test_overflow_is_named():
    x = torch.ones(20, 4)
    x[7] = 1e20
    with pytest.raises(ValueError, match="row 7"):
        KNNGraph(k=2, metric="l2")(x)


@pytest.fixture
def calls_of_faiss(monkeypatch):
    """(queries, database, k) of each call of faiss.knn."""
    calls, knn = [], faiss.knn

    def counted(queries, database, k, metric):
        calls.append((queries, database, k))
        return knn(queries, database, k, metric)
    monkeypatch.setattr(faiss, "knn", counted)
    return calls


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_default_graph_calls_faiss_on_the_bank_itself(metric, calls_of_faiss):
    x = F.normalize(torch.randn(200, 12, generator=torch.Generator().manual_seed(0)))
    graph = KNNGraph(k=4, metric=metric)(x)
    assert len(calls_of_faiss) == 1 and graph.built_by == "faiss.knn" and graph.num_capped == 0
    if metric == "l2":  # no copy: the very memory of the features
        assert calls_of_faiss[0][1].ctypes.data == x.data_ptr()
    KNNGraph(k=4, metric=metric)(x, rows=torch.tensor([3, 8]), reach=2)
    assert len(calls_of_faiss) == 3
    assert KNNGraph(k=4, metric=metric, index="exact")(x).built_by == "exact" and len(calls_of_faiss) == 3


def test_ties_at_the_last_place_go_to_the_lower_row(calls_of_faiss):
    # All rows are alike: whatever FAISS picks, rows 0, 1, 2 are the neighbours.
    x = torch.ones(5000, 4) / 2
    found = NearestSearch(x).neighbours(x[4990:], torch.arange(4990, 5000), 3)
    assert len(calls_of_faiss) == 1 and found.row.view(10, 3).tolist() == [[0, 1, 2]] * 10
    found = NearestSearch(x).neighbours(x[:2], torch.tensor([0, 1]), 3)
    assert found.row.view(2, 3).tolist() == [[1, 2, 3], [0, 2, 3]]  # its duplicates stay, the row itself goes


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_what_faiss_finds_is_the_same_for_a_few_rows_and_for_all(metric):
    x = F.normalize(torch.randn(1300, 64, generator=torch.Generator().manual_seed(0)))
    x[700:760] = x[5].clone()  # more duplicates than k
    whole = KNNGraph(k=9, metric=metric, threshold=0.4 if metric == "cosine" else -1.2)
    graph = whole(x)
    count = torch.bincount(graph.edge_index[1], minlength=1300)
    assert count[5] > 60
    for number in (1, 2, 19, 20, 40):
        part = whole(x, rows=torch.arange(number))
        edges = int(count[:number].sum())
        assert torch.equal(part.edge_index, graph.edge_index[:, :edges])
        torch.testing.assert_close(part.edge_attr, graph.edge_attr[:edges], atol=1e-6, rtol=0)


def test_kinds_on_a_device_follow_what_faiss_has_there(monkeypatch):
    host, device = torch.device("cpu"), torch.device("cuda", 0)
    for gpus, flat in ((0, "exact"), (1, "Flat")):
        monkeypatch.setattr(faiss, "get_num_gpus", lambda gpus=gpus: gpus)
        assert resolve("Flat", 10, device) == resolve("auto", 10, device) == flat
        assert resolve("Flat", 10, host) == "Flat" and resolve("exact", 10, device) == "exact"
    with pytest.raises(ValueError, match="'nndescent' searches on the host"):
        resolve("nndescent", 10, device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("index", ["Flat", "exact"])
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_graph_built_on_a_gpu_is_the_same(index, metric):
    x = small_integers(500, 6, 2, 0) if metric == "l2" else F.normalize(torch.randn(500, 6))
    for options in (dict(k=4), dict(k=3, threshold=-9 if metric == "l2" else 0.9, k_max=9)):
        here = KNNGraph(metric=metric, index="exact", **options)(x)
        there = KNNGraph(metric=metric, index=index, **options)(x.cuda())
        assert there.edge_index.is_cuda and torch.equal(there.edge_index.cpu(), here.edge_index)
        on_faiss = index == "Flat" and faiss.get_num_gpus() > 0
        assert there.built_by == ("faiss.knn_gpu" if on_faiss else "exact")


def test_a_graph_is_the_same_by_each_exact_search(monkeypatch):
    x = F.normalize(torch.randn(200, 12, generator=torch.Generator().manual_seed(0)))
    x[50:60] = x[3].clone()
    rows, live = torch.tensor([4, 9, 150]), x[[5, 10, 151]]
    calls = [dict(), dict(rows=rows, reach=2), dict(rows=rows, queries=live), dict(queries=live, reach=3)]
    for options in (dict(k=4), dict(k=4, metric="l2"), dict(k=3, threshold=0.5), dict(k=3, threshold=0.3, k_max=9)):
        graphs = [[KNNGraph(index=index, **options)(x, **call) for call in calls] for index in ("exact", "Flat")]
        with monkeypatch.context() as patch:
            patch.setattr("mprd_pyg.graph.search.nearest.ExactSearch", DeviceSearch)
            graphs.append([KNNGraph(index="exact", **options)(x, **call) for call in calls])
        for expected, *others in zip(*graphs, strict=True):
            for graph in others:
                assert torch.equal(graph.edge_index, expected.edge_index)
                assert graph.num_capped == expected.num_capped
                torch.testing.assert_close(graph.edge_attr, expected.edge_attr, atol=2e-6, rtol=1e-5)


def test_groups_queries_and_rows_that_do_not_fit_are_named():
    x, group = torch.randn(20, 3), torch.arange(20) % 2
    with pytest.raises(ValueError, match="one group per query: 3 queries, 2 groups"):
        KNNGraph(k=2, center_by=group)(x, queries=x[:3], query_center_by=group[:2])
    with pytest.raises(ValueError, match="rows must lie in 0 ... 19, got 3 ... 20"):
        KNNGraph(k=2)(x, rows=torch.tensor([3, 20]))
    with pytest.raises(ValueError, match="one group per row: 20 rows, 19 groups"):
        KNNGraph(k=2, center_by=group[:19])(x)
    x[11] = torch.inf
    with pytest.raises(ValueError, match="queries hold NaN or infinite values in 1 rows, the first is row 2"):
        KNNGraph(k=2)(x[:10], queries=x[9:14])
