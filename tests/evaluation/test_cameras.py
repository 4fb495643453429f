"""Figures by camera equal what slow loops over pairs and queries find."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.evaluation import camera_matrix, evaluate_pairs, pairs_by_camera


def slow_matrix(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras):
    """For each camera pair: walk down each query's list of that camera's images."""
    cameras = sorted({*query_cameras.tolist(), *gallery_cameras.tolist()})
    table = np.full((len(cameras), len(cameras)), math.nan)
    counts = np.zeros(table.shape, int)
    for row, first in enumerate(cameras):
        for column, second in enumerate(cameras):
            scores = []
            for i in range(len(query)):
                if query_cameras[i] != first or first == second:
                    continue
                shown = [j for j in range(len(gallery)) if gallery_cameras[j] == second and gallery_ids[j] >= 0]
                shown.sort(key=lambda j: -float(query[i] @ gallery[j]))
                hits, score = 0, 0.0
                for rank, j in enumerate(shown, 1):
                    if gallery_ids[j] == query_ids[i]:
                        hits += 1
                        score += hits / rank
                if hits:
                    scores.append(score / hits)
            if scores:
                table[row, column], counts[row, column] = np.mean(scores), len(scores)
    return cameras, table, counts


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1), cameras=st.integers(1, 4), people=st.integers(1, 5))
def test_matrix_equals_the_slow_one(seed, cameras, people):
    rng = np.random.default_rng(seed)
    queries, images = rng.integers(1, 9), rng.integers(1, 25)
    query, gallery = (torch.nn.functional.normalize(torch.tensor(rng.normal(size=(n, 5))), dim=1)
                      for n in (queries, images))
    labels = (rng.integers(0, people, queries), rng.integers(-1, people, images),
              rng.integers(1, cameras + 1, queries), rng.integers(1, cameras + 1, images))
    expected = slow_matrix(query, gallery, *labels)
    result = camera_matrix(query, gallery, *labels, block=3)
    assert result.cameras.tolist() == expected[0]
    np.testing.assert_allclose(result.mAP, expected[1])
    assert (result.num_queries == expected[2]).all()


def test_matrix_worked_out_by_hand():
    """Camera 1 finds its person in camera 2 first, camera 2 finds its own in camera 1 second."""
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    gallery = torch.tensor([[1.0, 0.1], [0.0, 1.0], [0.2, 1.0]])
    result = camera_matrix(query, gallery, [7, 8], [7, 9, 8], [1, 2], [2, 1, 1])
    assert result.mAP == pytest.approx(np.array([[math.nan, 1], [0.5, math.nan]]), nan_ok=True)


def slow_pairs(edges, person, camera):
    believed = {(int(i), int(j)) for j, i in edges.T if i != j and min(person[i], person[j]) >= 0}
    cameras = sorted(set(camera.tolist()))
    tables = np.zeros((3, len(cameras), len(cameras)), int)
    for i in range(len(person)):
        for j in range(len(person)):
            cell = cameras.index(camera[i]), cameras.index(camera[j])
            same = i != j and person[i] == person[j] >= 0
            tables[(0, *cell)] += (i, j) in believed
            tables[(1, *cell)] += (i, j) in believed and same
            tables[(2, *cell)] += same
    return tables


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 15), edges=st.integers(0, 60))
def test_pairs_equal_the_slow_count_and_sum_up_to_the_report(seed, rows, edges):
    rng = np.random.default_rng(seed)
    person, camera = rng.integers(-1, 4, rows), rng.integers(0, 3, rows)
    edges = rng.integers(0, rows, (2, edges))  # with self-loops and repeats
    result = pairs_by_camera(torch.tensor(edges), person, torch.tensor(camera))
    expected = slow_pairs(edges, person, camera)
    for table, slow in zip((result.believed, result.right, result.true), expected, strict=True):
        assert (table == slow).all()
    folded, report = result.unordered(), evaluate_pairs(edges, person, camera)
    assert folded.believed.sum() == report.count and (np.tril(folded.true, -1) == 0).all()
    for counts, whole, figure in ((folded.right, folded.believed, report.precision),
                                  (folded.right, folded.true, report.recall)):
        assert figure == pytest.approx(counts.sum() / whole.sum() if whole.sum() else math.nan, nan_ok=True)


def test_ratios_by_hand():
    """Rows 0, 1 (cameras 1, 2) are one person, 2 (camera 2) another."""
    result = pairs_by_camera([[1, 2, 1], [0, 0, 0]], np.array([5, 5, 6]), np.array([1, 2, 2]))
    assert result.precision == pytest.approx(np.array([[math.nan, 0.5], [math.nan, math.nan]]), nan_ok=True)
    assert result.recall == pytest.approx(np.array([[math.nan, 1], [0, math.nan]]), nan_ok=True)
    with pytest.raises(ValueError, match="rows from 0 to 3"):
        pairs_by_camera([[0], [3]], np.array([5, 5, 6]), np.array([1, 2, 2]))
