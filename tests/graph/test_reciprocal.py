"""k-reciprocal encoding against the papers' definitions, image by image, on features with ties and doubles."""
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.graph.reciprocal_rows import (
    camera_reciprocal_rows,
    edge_probability,
    edge_probability_neighbours,
    jaccard,
    jaccard_neighbours,
    k_reciprocal_rows,
    neighbour_probability_rows,
    pair_similarity,
    reciprocal_rows,
)


def features(n, seed, ties):
    """Unit rows in groups; with ``ties``, of plus and minus a quarter, so that products are exact and often equal."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(-(-n // 5), 16, generator=generator).repeat_interleave(5, 0)[:n]
    x = x + 0.7 * torch.randn(n, 16, generator=generator)
    return torch.where(x > 0, 0.25, -0.25) if ties else F.normalize(x, dim=1)


def ranked(x, i, others):
    """``others`` from the nearest to the farthest of i, the lower row first among equals."""
    similarity = x @ x[i]
    return sorted(others, key=lambda j: (-similarity[j].item(), j))


def slow_rows(x, near, half, query):
    """Zhong et al.'s encoding with sets: lists of lists of rows -> dense (N, N)."""
    n = len(x)
    reciprocal = [{i} | {j for j in near[i] if i in near[j]} for i in range(n)]
    short = [{i} | {j for j in half[i] if i in half[j]} for i in range(n)]
    dense = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        members = set(reciprocal[i])
        for c in reciprocal[i]:
            if len(short[c] & reciprocal[i]) > 2 / 3 * len(short[c]):
                members |= short[c]
        members = sorted(members)
        distance = 2 - 2 * (x[members].double() @ x[i].double())
        dense[i, members] = torch.softmax(-distance, 0)
    return torch.stack([dense[[i, *query[i]]].mean(0) for i in range(n)])


def slow_plain(x, k1, k2):
    order = [ranked(x, i, [j for j in range(len(x)) if j != i]) for i in range(len(x))]
    half = round(k1 / 2)  # to even, as NumPy rounds in the published code
    return slow_rows(x, [o[:k1] for o in order], [o[:half] for o in order], [o[:k2 - 1] for o in order])


def slow_camera(x, camera, k_own, k_other, query_own, query_other, expand):
    n = len(x)
    own = [ranked(x, i, [j for j in range(n) if j != i and camera[j] == camera[i]]) for i in range(n)]
    other = [ranked(x, i, [j for j in range(n) if camera[j] != camera[i]]) for i in range(n)]
    near = [a[:k_own] + b[:k_other] for a, b in zip(own, other, strict=True)]
    half = [a[:round(k_own / 2)] + b[:round(k_other / 2)] for a, b in zip(own, other, strict=True)]
    return slow_rows(x, near, half if expand else [[]] * n,
                     [a[:query_own] + b[:query_other] for a, b in zip(own, other, strict=True)])


def dense(rows):
    return torch.from_numpy(rows.toarray())


def slow_jaccard(dense_rows):
    a, b = dense_rows.unsqueeze(1), dense_rows.unsqueeze(0)
    return torch.minimum(a, b).sum(2) / torch.maximum(a, b).sum(2)


@given(st.integers(1, 45), st.integers(1, 12), st.integers(1, 5), st.booleans(), st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_plain_encoding_equals_the_paper(n, k1, k2, ties, seed):
    x = features(n, seed, ties)
    rows = k_reciprocal_rows(x, k1, k2)
    torch.testing.assert_close(dense(rows), slow_plain(x, k1, k2), rtol=0, atol=1e-6)
    starts = np.zeros(len(rows.indices), dtype=bool)
    starts[rows.indptr[:-1]] = True
    assert ((np.diff(rows.indices) > 0) | starts[1:]).all()  # ascending within a row


@given(st.integers(2, 45), st.integers(1, 5), st.integers(0, 7), st.integers(1, 7), st.integers(0, 3),
       st.integers(0, 4), st.booleans(), st.booleans(), st.integers(0, 10_000))
@settings(deadline=None, max_examples=80)
def test_camera_aware_encoding_equals_its_rule(n, cameras, k_own, k_other, query_own, query_other, expand, ties, seed):
    x = features(n, seed, ties)
    camera = 3 * torch.randint(cameras, (n,), generator=torch.Generator().manual_seed(seed))
    rows = camera_reciprocal_rows(x, camera, k_own, k_other, query_own, query_other, expand)
    expected = slow_camera(x, camera.tolist(), k_own, k_other, query_own, query_other, expand)
    torch.testing.assert_close(dense(rows), expected, rtol=0, atol=1e-6)


@given(st.integers(2, 40), st.integers(1, 9), st.integers(1, 4), st.floats(0, 1), st.booleans(), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_jaccard_of_pairs_and_of_neighbours(n, k1, k2, least, ties, seed):
    rows = k_reciprocal_rows(features(n, seed, ties), k1, k2)
    expected = slow_jaccard(dense(rows))
    pairs = torch.cartesian_prod(torch.arange(n), torch.arange(n))
    torch.testing.assert_close(jaccard(rows, pairs), expected.flatten(), rtol=0, atol=1e-12)
    asked = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:max(n // 2, 1)]
    row, other, value = jaccard_neighbours(rows, asked)
    assert torch.equal(value, jaccard(rows, torch.stack([row, other], 1)))
    wanted = [(i, j) for i in asked.tolist() for j in range(n) if j != i and expected[i, j] > 0]
    assert list(zip(row.tolist(), other.tolist(), strict=True)) == wanted
    few = jaccard_neighbours(rows, asked, least)
    assert torch.equal(torch.stack(few[:2]), torch.stack([row, other])[:, value >= least])


def test_jaccard_is_symmetric_to_the_last_bit():
    rows = k_reciprocal_rows(features(300, 0, False), 12, 4)
    row, other, value = jaccard_neighbours(rows)
    back = jaccard(rows, torch.stack([other, row], 1))
    assert len(row) > 3000 and torch.equal(value, back)


def test_jaccard_by_hand():
    # 0 and 1 are mutual nearest, 2 is alone: R(0) = R(1) = {0, 1}, weights e^0 and e^-(2 - 2 * 0.8)
    x = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, -0.8]])
    rows = k_reciprocal_rows(x, k1=1, k2=1)
    far = math.exp(-0.4)
    assert rows.indptr.tolist() == [0, 2, 4, 5] and rows.indices.tolist() == [0, 1, 0, 1, 2]
    assert rows.data.tolist() == pytest.approx([1 / (1 + far), far / (1 + far), far / (1 + far), 1 / (1 + far), 1])
    m = 2 * far / (1 + far)
    assert jaccard(rows, torch.tensor([[0, 1], [0, 2]])).tolist() == pytest.approx([m / (2 - m), 0])


def test_approximate_indexes_serve():
    x = features(400, 1, False)
    camera = torch.arange(400) % 2
    exact, near = (camera_reciprocal_rows(x, camera, index=index) for index in ("Flat", "hnsw"))
    assert (dense(exact) - dense(near)).abs().sum(1).lt(1e-6).float().mean() > 0.95


@given(st.integers(2, 40), st.integers(1, 9), st.booleans(), st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_edge_probability_equals_its_definition(n, k, ties, seed):
    x = features(n, seed, ties)
    p = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        near = [i, *ranked(x, i, [j for j in range(n) if j != i])[:k]]
        p[i, near] = torch.exp(-(2 - 2 * (x[near].double() @ x[i].double())) / 0.5)
    p /= p.sum(1, keepdim=True)
    rows = neighbour_probability_rows(x, k)
    torch.testing.assert_close(dense(rows), p, rtol=0, atol=1e-6)
    p = dense(rows)
    both = (p.unsqueeze(1) > 0) & (p.unsqueeze(0) > 0)
    expected = ((p.unsqueeze(1) + p.unsqueeze(0)) * both).sum(2) / 2
    pairs = torch.cartesian_prod(torch.arange(n), torch.arange(n))
    torch.testing.assert_close(edge_probability(rows, pairs), expected.flatten(), rtol=0, atol=1e-12)
    row, other, value = edge_probability_neighbours(rows)
    assert set(zip(row.tolist(), other.tolist(), strict=True)) == {
        (i, j) for i in range(n) for j in range(n) if i != j and expected[i, j] > 0}
    torch.testing.assert_close(value, expected[row, other], rtol=0, atol=1e-12)


def test_threads_change_nothing():
    x, threads = features(3000, 2, False), torch.get_num_threads()
    answers = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            rows = camera_reciprocal_rows(x, torch.arange(3000) % 3, 6, 12)
            answers.append((rows.indptr, rows.indices, rows.data, *(t.numpy() for t in jaccard_neighbours(rows))))
    finally:
        torch.set_num_threads(threads)
    assert all((a == b).all() for a, b in zip(*answers, strict=True))


def test_pair_similarity():
    x = torch.randn(50, 37, generator=torch.Generator().manual_seed(0))
    pairs = torch.randint(50, (400, 2), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(pair_similarity(x, pairs), (x[pairs[:, 0]] * x[pairs[:, 1]]).sum(1))


def test_bad_input():
    x = features(10, 0, False)
    with pytest.raises(ValueError, match="k1 and k2 must be at least 1, got 0 and 6"):
        k_reciprocal_rows(x, k1=0)
    with pytest.raises(ValueError, match="10 rows, 3 cameras"):
        camera_reciprocal_rows(x, torch.zeros(3))
    with pytest.raises(ValueError, match="list lengths"):
        camera_reciprocal_rows(x, torch.zeros(10), k_own=0, k_other=0)
    with pytest.raises(ValueError, match=r"pairs must lie in 0 \.\.\. 9, got 0 \.\.\. 10"):
        jaccard(k_reciprocal_rows(x, 3, 1), torch.tensor([[0, 10]]))
    alone = reciprocal_rows(x[:1], *(torch.empty(1, 0, dtype=torch.long),) * 3)
    assert alone.indices.tolist() == [0] and alone.data.tolist() == [1]
