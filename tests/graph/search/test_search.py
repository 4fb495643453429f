"""Exact neighbour search against a plain reference: every path, ties, duplicates, k per node, threads."""
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
from mprd_pyg.graph.search.nearest import NearestSearch


def reference(x, queries, own, k, metric, threshold=None, most=None):
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
            if most is not None:
                capped += wanted > most
                limit = min(limit, most)
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
    assert found.capped == expected[3]


case = dict(n=st.integers(2, 40), d=st.integers(1, 5), spread=st.integers(0, 3), k=st.integers(1, 6),
            metric=st.sampled_from(["cosine", "l2"]), threshold=st.sampled_from([None, -6, -1, 0, 2]),
            spare=st.sampled_from([None, 0, 3]), seed=st.integers(0, 9999))


@pytest.mark.parametrize("kind", [ExactSearch, DeviceSearch])
@given(**case, block=st.sampled_from([1, 3, 7, 64]))
@settings(deadline=None, max_examples=60)
def test_every_row_of_the_database(kind, n, d, spread, k, metric, threshold, spare, seed, block):
    x, k = small_integers(n, d, spread, seed), min(k, n - 1)
    most = None if spare is None else k + spare
    found = kind(x, metric, block).itself(k, threshold, most)
    agrees(found, reference(x, x, torch.arange(n), k, metric, threshold, most if threshold is not None else None))


@pytest.mark.parametrize("kind", [ExactSearch, DeviceSearch])
@given(**case, block=st.sampled_from([1, 3, 7, 64]), number=st.integers(1, 20))
@settings(deadline=None, max_examples=60)
def test_queries_with_and_without_an_own_row(kind, n, d, spread, k, metric, threshold, spare, seed, block, number):
    x, queries, k = small_integers(n, d, spread, seed), small_integers(number, d, spread, seed + 1), min(k, n - 1)
    own = torch.from_numpy(np.random.default_rng(seed).integers(-1, n, number))
    most = None if spare is None else k + spare
    found = kind(x, metric, block).neighbours(queries, own, k, threshold, most)
    agrees(found, reference(x, queries, own, k, metric, threshold, most if threshold is not None else None))


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
            for found in (search.itself(5), search.neighbours(x, torch.arange(700), 5)):
                graphs.append((found.row, found.similarity))
                ragged = search.itself(5, 0.4 if metric == "cosine" else -1.2, 30)
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
    whole = search.itself(4)
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
    found = ExactSearch(x, "cosine", 20).itself(3, threshold=0.6, most=5)
    assert found.count.tolist() == [5] * 300 and found.capped == 300
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


def test_a_graph_built_by_the_device_path_is_the_same(monkeypatch):
    x = F.normalize(torch.randn(200, 12, generator=torch.Generator().manual_seed(0)))
    x[50:60] = x[3]
    rows, live = torch.tensor([4, 9, 150]), x[[5, 10, 151]]
    calls = [dict(), dict(rows=rows, reach=2), dict(rows=rows, queries=live), dict(queries=live, reach=3)]
    for options in (dict(k=4), dict(k=4, metric="l2"), dict(k=3, threshold=0.5), dict(k=3, threshold=0.3, k_max=9)):
        expected = [KNNGraph(**options)(x, **call) for call in calls]
        with monkeypatch.context() as patch:
            patch.setattr("mprd_pyg.graph.search.nearest.ExactSearch", DeviceSearch)
            for call, graph in zip(calls, expected, strict=True):
                there = KNNGraph(**options)(x, **call)
                assert torch.equal(there.edge_index, graph.edge_index)
                torch.testing.assert_close(there.edge_attr, graph.edge_attr, atol=2e-6, rtol=1e-5)


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
