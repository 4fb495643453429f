"""Approximate search: every kind on both metrics, recall as measured, bad names and metrics."""
import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.graph import KNNGraph
from mprd_pyg.graph.search.exact import ExactSearch
from mprd_pyg.graph.search.faiss_search import complete
from mprd_pyg.graph.search.indexes import AUTO_ROWS, resolve
from mprd_pyg.graph.search.nearest import NearestSearch
from mprd_pyg.graph.search.nn_descent import NNDescent, compare, descend, reverse

KINDS = ["hnsw", "ivfpq", "nndescent", "IVF8,Flat", "HNSW16"]


def identities(number, dim=32, spread=0.7, seed=0):
    """Unit rows, ten around each of ``number`` random centres, shuffled."""
    draw = torch.Generator().manual_seed(seed)
    centre = F.normalize(torch.randn(number, dim, generator=draw)).repeat_interleave(10, 0)
    x = F.normalize(centre + spread * torch.randn(10 * number, dim, generator=draw) / dim ** 0.5)
    return x[torch.randperm(len(x), generator=draw)]


def lists(graph):
    return graph.edge_index[0].split(torch.bincount(graph.edge_index[1], minlength=graph.num_nodes).tolist())


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("index", KINDS)
def test_finds_what_exact_search_finds(index, metric, caplog):
    x = identities(200) * (1 if metric == "cosine" else torch.linspace(0.5, 2, 2000).unsqueeze(1))
    exact = KNNGraph(k=7, metric=metric)(x)
    with caplog.at_level(logging.INFO):
        graph = KNNGraph(k=7, metric=metric, index=index)(x)
    assert "recall" not in exact and graph.built_by == index
    found = sum(len(np.intersect1d(a, b)) for a, b in zip(lists(exact), lists(graph), strict=True)) / (7 * 2000)
    assert found > (0.25 if index == "IVF8,Flat" else 0.95)  # that one probes one cell of eight
    assert abs(graph.recall - found) < 0.03  # 500 of the 2,000 rows are a sample of the truth
    assert f"recall@7 of the index {index!r}: {graph.recall:.4f} on 500 of 2000 rows" in caplog.text
    # similarities are those of the exact search wherever the neighbour is
    source, node = graph.edge_index
    expected = (F.normalize(x)[source] * F.normalize(x)[node]).sum(1) if metric == "cosine" else \
        -(x[source] - x[node]).pow(2).sum(1)
    torch.testing.assert_close(graph.edge_attr, expected, atol=1e-5, rtol=1e-4)


@given(st.sampled_from(KINDS), st.sampled_from(["cosine", "l2"]), st.integers(9, 150), st.integers(1, 8),
       st.sampled_from([None, 0.3]), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_always_k_distinct_neighbours_other_than_the_row(index, metric, n, k, threshold, seed):
    if index == "IVF8,Flat" and n < 40:
        index = "hnsw"
    x = torch.from_numpy(np.random.default_rng(seed).integers(-1, 2, (n, 4))).float() + 0.01  # many duplicates
    graph = KNNGraph(k=k, metric=metric, index=index, threshold=threshold)(x)
    for i, row in enumerate(lists(graph)):
        assert len(row) >= k if threshold is not None else len(row) == k
        assert i not in row and len(row.unique()) == len(row) and row.min() >= 0 and row.max() < n


def test_what_the_index_leaves_open_is_searched_exactly():
    x = F.normalize(torch.randn(60, 8, generator=torch.Generator().manual_seed(0)))
    exact, own = ExactSearch(x, "cosine"), torch.arange(60)
    truth = exact.all_rows(4, 0.2, 9)
    similarity, row = (x @ x.T).topk(12)
    row[3, 5:] = -1  # too few
    row[8, 1:] = row[8, 0]  # repeats
    row[20] = 20
    for width in (12, 6):  # at 6, most rows have all they were given above the threshold
        found = complete(similarity[:, :width], row[:, :width], x, own, exact, 4, 0.2, 9)
        assert torch.equal(found.row, truth.row) and torch.equal(found.count, truth.count)
        assert found.num_capped == truth.num_capped > 0
        torch.testing.assert_close(found.similarity, truth.similarity, atol=1e-6, rtol=0)


def test_descent_reaches_neighbours_of_neighbours_by_hand():
    # Four points on a line; each list has one place. 0 lists 1, 1 lists 2, 2 lists 3, 3 lists 2.
    x = np.array([[0.0], [2.9], [3.0], [3.2]], np.float32)
    half = (x[:, 0] ** 2 / 2).astype(np.float32)
    from mprd_pyg.graph.search.candidates import decode, encode
    start = np.array([[encode(np.float32(-(x[v, 0] - x[u, 0]) ** 2 / 2), u)] for v, u in enumerate([3, 0, 1, 2])])
    fresh = np.ones((4, 1), bool)
    ptr, back = reverse(start, fresh, 1)
    assert ptr.tolist() == [0, 1, 2, 3, 4] and back.tolist() == [1, 2, 3, 0]
    after = np.empty_like(start)
    descend(x, half, start, fresh, ptr, back, 0, 4, np.full(4, -1, np.int32), after)
    # 0 sees 3, 2 (of 3), 1 (lists it): 1.  1 sees 0, 3, 2: 2.  2 sees 1, 0, 3: 1.  3 sees 2, 1, 0: 2
    assert decode(after)[1].tolist() == [[1], [2], [1], [2]]
    assert compare(start, after, fresh) == 2 and fresh.tolist() == [[True], [True], [False], [False]]


def test_nn_descent_does_not_depend_on_threads():
    exact, threads, tables = ExactSearch(identities(300), "cosine"), torch.get_num_threads(), []
    for count in (1, 3):
        torch.set_num_threads(count)
        try:
            tables.append(NNDescent(exact, "cosine", 5, cell=100, probes=3).table())
        finally:
            torch.set_num_threads(threads)
    assert torch.equal(tables[0][1], tables[1][1])


def test_auto_chooses_by_rows():
    host = torch.device("cpu")
    assert resolve("auto", AUTO_ROWS - 1, host) == "exact" and resolve("auto", AUTO_ROWS, host) == "nndescent"
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(KNNGraph(k=3, index="auto")(x).edge_index, KNNGraph(k=3)(x).edge_index)


def test_a_few_queries_are_searched_exactly():
    x = identities(50)
    for index in KINDS:
        search = NearestSearch(x, index=index)
        found = search.neighbours(x[:5], torch.arange(5), 4)
        assert torch.equal(found.row, ExactSearch(x, "cosine").neighbours(x[:5], torch.arange(5), 4).row)
        assert not search.approximate


def test_an_index_is_built_once_for_all_searches():
    x = identities(50)
    search = NearestSearch(x, index="hnsw", k=4)
    search.neighbours(None, None, 4)
    first = search._indexed
    search.neighbours(x[:100], None, 4)
    assert search.approximate and search._indexed is first


@pytest.mark.parametrize("name, meant", [("hsnw", "'hnsw'"), ("exakt", "'exact'"), ("HNSV32", "HNSW32"),
                                         ("nn-descent", "'nndescent'"), ("ivf_pq", "'ivfpq'")])
def test_an_unknown_name_is_met_with_the_nearest(name, meant):
    with pytest.raises(ValueError, match=f"no index '{name}'.*did you mean.*{meant}"):
        KNNGraph(index=name)


def test_an_index_that_cannot_serve_the_metric_is_refused():
    with pytest.raises(ValueError, match="'LSH' cannot serve metric='cosine'"):
        KNNGraph(index="LSH", metric="cosine")


def test_an_index_that_does_not_fit_the_features_is_refused():
    with pytest.raises(ValueError, match="'PQ16' for 6 dimensions"):
        KNNGraph(k=2, index="PQ16")(torch.randn(50, 6))
