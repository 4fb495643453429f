"""Believed pairs are counted as an N x N comparison would count them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.evaluation import evaluate_pairs, pair_auc


def slow_report(edges, person, camera, anchors):
    """Go through all ordered pairs, one by one."""
    believed = {(int(j), int(i)) for j, i in edges.T if j != i and i in anchors}
    known = {(j, i) for j, i in believed if person[j] >= 0 and person[i] >= 0}
    pairs = [(j, i) for j in range(len(person)) for i in anchors if i != j and person[i] >= 0]
    true = {(j, i) for j, i in pairs if person[j] == person[i]}

    def score(judged, true):
        hits = len(judged & true)
        return hits / len(judged) if judged else math.nan, hits / len(true) if true else math.nan, len(judged)

    def across(some):
        return {(j, i) for j, i in some if camera[j] != camera[i]}

    per_image = len(believed) / len(anchors) if anchors else math.nan
    return (*score(known, true), len(believed - known), per_image, *score(across(known), across(true)))


@st.composite
def beliefs(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_rows, num_edges = draw(st.integers(1, 15)), draw(st.integers(0, 60))
    person, camera = rng.integers(-1, draw(st.integers(1, 5)), num_rows), rng.integers(0, 3, num_rows)
    edges = rng.integers(0, num_rows, (2, num_edges))  # with self loops and repeats
    anchors = draw(st.one_of(st.none(), st.sets(st.integers(0, num_rows - 1))))
    return edges, person, camera, anchors


@settings(deadline=None, max_examples=60)
@given(case=beliefs(), as_mask=st.booleans())
def test_equals_the_slow_count(case, as_mask):
    edges, person, camera, anchors = case
    expected = slow_report(edges, person, camera, set(range(len(person))) if anchors is None else anchors)
    if anchors is not None:
        rows = np.array(sorted(anchors), np.int64)
        anchors = np.isin(np.arange(len(person)), rows) if as_mask else rows
    report = evaluate_pairs(torch.tensor(edges), person, torch.tensor(camera), anchors)
    names = ("precision", "recall", "count", "unknown", "positives_per_image", "cross_camera_precision",
             "cross_camera_recall", "cross_camera_count")  # fmt: skip
    assert report.summary() == pytest.approx(dict(zip(names, expected, strict=True)), nan_ok=True)


def test_report_worked_out_by_hand():
    """Rows 0-2 are one person (cameras 1, 1, 2), 3-4 another (1, 2), row 5 is unknown."""
    person, camera = [0, 0, 0, 1, 1, -1], [1, 1, 2, 1, 2, 1]
    #        yes  yes  no  self rep. unknown
    neighbour = [1, 2, 3, 4, 1, 5]
    anchor = [0, 0, 0, 4, 0, 0]
    report = evaluate_pairs(np.array([neighbour, anchor]), person, camera)
    assert (report.count, report.unknown) == (3, 1)
    assert report.precision == pytest.approx(2 / 3)
    assert report.recall == pytest.approx(2 / (3 * 2 + 2 * 1))
    assert report.positives_per_image == pytest.approx(4 / 6)
    assert report.cross_camera_count == 1  # 2 -> 0
    assert report.cross_camera_precision == 1.0
    assert report.cross_camera_recall == pytest.approx(1 / (2 * 2 + 2))  # (0, 2), (1, 2), (3, 4), both ways
    from_zero = evaluate_pairs(np.array([neighbour, anchor]), person, camera, anchors=[0])
    assert from_zero.recall == 1.0 and from_zero.positives_per_image == 4.0
    # Direction matters: turned round, the edges have other anchors.
    turned = evaluate_pairs(np.array([anchor, neighbour]), person, camera, anchors=[0])
    assert turned.count == 0 and math.isnan(turned.precision) and turned.recall == 0.0


def test_without_cameras_the_cross_figures_are_absent():
    report = evaluate_pairs(torch.tensor([[0, 1], [1, 0]]), [3, 3])
    assert report.cross_camera_precision is None
    assert list(report.summary()) == ["precision", "recall", "count", "unknown", "positives_per_image"]
    assert list(report.summary().values()) == [1.0, 1.0, 2, 0, 1.0]


def test_no_edges():
    report = evaluate_pairs(torch.empty(2, 0, dtype=torch.long), [3, 3], [0, 1])
    assert (report.count, report.recall, report.cross_camera_recall) == (0, 0.0, 0.0)
    assert math.isnan(report.precision)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((np.zeros((3, 2), int), [1, 1]), r"expected integers of shape \(2, E\)"),
        ((np.zeros((2, 2)), [1, 1]), "edge_index is float64"),
        ((np.array([[0], [2]]), [1, 1]), "expected 0 to 1"),
        ((np.array([[0], [-1]]), [1, 1]), "rows from -1 to 0"),
        ((np.array([[0], [1]]), [1, 1], [0]), "camera_ids has shape"),
        ((np.array([[0], [1]]), [1.5, 1.0]), "person_ids has type float64"),
        ((np.array([[0], [1]]), [1, 1], None, [2]), "anchors holds rows"),
        ((np.array([[0], [1]]), [1, 1], None, np.ones(3, bool)), "anchors is bool"),
    ],
)
def test_bad_pairs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_pairs(*arguments)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40),
    st.sampled_from([1.0, 1e-3, 40.0]),
)
def test_auc_is_the_chance_of_the_right_order(rows, scale):
    """AUROC = P(true above false) + P(equal) / 2, at any scale; AP sums precision at each distinct score."""
    score, truth = np.array([s for s, _ in rows]) * scale, np.array([t for _, t in rows])
    result = pair_auc(score, truth)
    if truth.all() or not truth.any():
        assert math.isnan(result.auroc) and math.isnan(result.average_precision)
        return
    gap = score[truth][:, None] - score[~truth]
    assert result.auroc == pytest.approx(((gap > 0) + (gap == 0) / 2).mean(), abs=1e-6)
    precision = sum(truth[score >= s].mean() * (score[truth] == s).mean() for s in np.unique(score))
    assert result.average_precision == pytest.approx(precision, abs=1e-6)


def test_auc_rejects_bad_input():
    assert math.isnan(pair_auc(torch.empty(0), torch.empty(0)).auroc)
    with pytest.raises(ValueError, match=r"likelihood\[1\] is NaN"):
        pair_auc(torch.tensor([0.1, math.nan]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="other than 0 and 1"):
        pair_auc(torch.tensor([0.1, 0.2]), torch.tensor([-1, 1]))
    with pytest.raises(ValueError, match="shape"):
        pair_auc(torch.tensor([0.1, 0.2]), torch.tensor([1]))
