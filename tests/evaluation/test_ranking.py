"""The block-wise ranking scores equal the slow per-query rules of torchreid, fast-reid and Market-1501."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.retrieval import RetrievalMAP

from mprd_pyg.evaluation import evaluate_ranking

MODES = ("standard", "cross")


def slow_rules(similarity, q_ids, g_ids, q_cams, g_cams, mode, max_rank=50):
    """Per query: kept gallery rows in order, AP by torchreid's rule and by Market-1501's, INP, CMC curve."""
    order = np.argsort(-similarity, axis=1, kind="stable")
    results = []
    for q in range(len(q_ids)):
        index = order[q]
        same_camera = g_cams[index] == q_cams[q]
        same_person = g_ids[index] == q_ids[q]
        remove = (same_camera if mode == "cross" else same_person & same_camera) | (g_ids[index] < 0)
        index = index[~remove]
        raw_cmc = same_person[~remove].astype(np.int64)
        if not raw_cmc.any():
            results.append((index, None, None, None, None))
            continue
        # torchreid, eval_market1501
        tmp_cmc = np.asarray([x / (i + 1.0) for i, x in enumerate(raw_cmc.cumsum())]) * raw_cmc
        rectangle = tmp_cmc.sum() / raw_cmc.sum()
        # fast-reid, eval_market1501
        last = np.max(np.where(raw_cmc == 1)[0])
        inp = raw_cmc.cumsum()[last] / (last + 1.0)
        # Market-1501, compute_AP.m
        trapezoid, old_recall, old_precision, hits = 0.0, 0.0, 1.0, 0
        for j, good in enumerate(raw_cmc):
            hits += good
            recall, precision = hits / raw_cmc.sum(), hits / (j + 1)
            trapezoid += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision = recall, precision
        first = np.argmax(raw_cmc)
        curve = np.arange(min(max_rank, len(g_ids))) >= first
        results.append((index, rectangle, trapezoid, inp, curve))
    return results


@st.composite
def crowded_rankings(draw):
    """Small integers: exact products with many ties; unknown or junk (-1), distractors (0), one-camera ids."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_queries, num_gallery = draw(st.integers(1, 12)), draw(st.integers(2, 40))
    width, values = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    query = rng.integers(-values, values + 1, (num_queries, width)).astype(dtype)
    gallery = rng.integers(-values, values + 1, (num_gallery, width)).astype(dtype)
    people = draw(st.integers(1, 5))
    q_ids, g_ids = rng.integers(-1, people + 1, num_queries), rng.integers(-1, people + 1, num_gallery)
    q_cams, g_cams = rng.integers(0, 3, num_queries), rng.integers(0, 3, num_gallery)
    q_ids[0], q_cams[0], g_ids[0], g_cams[0] = 1, 0, 1, 1  # at least one query is valid
    return query, gallery, q_ids, g_ids, q_cams, g_cams


@settings(deadline=None, max_examples=60)
@given(case=crowded_rankings(), mode=st.sampled_from(MODES), block=st.integers(1, 13), top=st.integers(0, 45))
def test_equals_the_slow_rules_under_ties(case, mode, block, top):
    query, gallery, *labels = case
    expected = slow_rules(query @ gallery.T, *labels, mode)
    result = evaluate_ranking(query, gallery, *labels, mode=mode, block=block, top=top, normalize=False)
    valid = [row for row in expected if row[1] is not None]
    assert result.num_valid_queries == len(valid)
    assert result.num_skipped_queries == len(query) - len(valid)
    close = {"rtol": 0, "atol": 1e-9}
    rectangle, trapezoid = (np.array([row[k] for row in expected], float) for k in (1, 2))  # None -> NaN
    np.testing.assert_allclose(result.average_precision, rectangle, **close)
    np.testing.assert_allclose(result.average_precision_trapz, trapezoid, **close)
    np.testing.assert_allclose(result.mAP, np.nanmean(rectangle), **close)
    np.testing.assert_allclose(result.mAP_trapz, np.nanmean(trapezoid), **close)
    np.testing.assert_allclose(result.mINP, np.mean([row[3] for row in valid]), **close)
    np.testing.assert_allclose(result.cmc, np.mean([row[4] for row in valid], axis=0), **close)
    assert result.top_indices.shape == result.top_similarities.shape == (len(query), top)
    for q, (order, *_) in enumerate(expected):
        listed = order[:top]
        assert result.top_indices[q].tolist() == listed.tolist() + [-1] * (top - len(listed))
        np.testing.assert_array_equal(result.top_similarities[q, : len(listed)], gallery[listed] @ query[q])
        assert np.isnan(result.top_similarities[q, len(listed) :]).all()


def slow_leave_one_out(features, ids):
    """Per image: the others by similarity, without unknown ones, and the precision at each right one."""
    for query in range(len(ids)):
        others = [i for i in range(len(ids)) if i != query and ids[i] >= 0]
        others.sort(key=lambda i: -features[i] @ features[query])  # stable: equal ones in their order
        right = [ids[i] == ids[query] for i in others]
        places = [place for place, hit in enumerate(right, 1) if hit]
        yield others, [hits / place for hits, place in enumerate(places, 1)], places


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(2, 30), people=st.integers(1, 6), block=st.integers(1, 9),
       top=st.integers(0, 32))
def test_leave_one_out_equals_the_definition_under_ties(seed, count, people, block, top):
    rng = np.random.default_rng(seed)
    features = rng.integers(-2, 3, (count, 2)).astype(np.float32)
    ids = rng.integers(-1, people, count)
    ids[0] = ids[-1] = 0  # at least one query has a match
    result = evaluate_ranking(features, features, ids, ids, mode="leave_one_out", block=block, top=top,
                              normalize=False)
    expected = [row if ids[query] >= 0 else (row[0], [], [])
                for query, row in enumerate(slow_leave_one_out(features, ids))]
    scored = [np.mean(precision) for _, precision, _ in expected if precision]
    assert result.num_valid_queries == len(scored) and result.num_skipped_queries == count - len(scored)
    assert result.mAP == pytest.approx(np.mean(scored), abs=1e-9)
    for query, (others, precision, places) in enumerate(expected):
        assert result.num_matches[query] == len(precision)
        assert result.rank_of_first_match[query] == (places[0] if places else 0)
        mean = np.mean(precision) if precision else np.nan
        np.testing.assert_allclose(result.average_precision[query], mean, atol=1e-9)
        assert result.top_indices[query].tolist() == others[:top] + [-1] * (top - len(others))


def test_a_query_outside_the_gallery_leaves_nothing_out():
    """Of two equal galleries of three, query 0 is row 2 and query 1 is none of them."""
    x, ids = np.array([[1.0, 0.2], [1.0, 0.1], [1.0, 0.0]]), [4, 4, 4]
    result = evaluate_ranking(x[[2, 2]], x, [4, 4], ids, mode="leave_one_out", query_rows=[2, -1], top=3)
    assert result.top_indices.tolist() == [[1, 0, -1], [2, 1, 0]] and result.num_matches.tolist() == [2, 3]


@pytest.fixture
def city():
    """120 queries and 700 images of 25 people in six cameras, real-valued features, junk and distractors."""
    rng = np.random.default_rng(3)
    people = rng.normal(size=(26, 16))
    q_ids, g_ids = rng.integers(1, 26, 120), rng.integers(-1, 26, 700)
    query = (people[q_ids] + 1.5 * rng.normal(size=(120, 16))).astype(np.float32)
    gallery = (people[g_ids] + 1.5 * rng.normal(size=(700, 16))).astype(np.float32)
    return query, gallery, q_ids, g_ids, rng.integers(0, 6, 120), rng.integers(0, 6, 700)


@pytest.mark.parametrize("mode", MODES)
def test_equals_torchmetrics(city, mode):
    query, gallery, q_ids, g_ids, q_cams, g_cams = city
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery)]
    similarity = torch.tensor(unit[0] @ unit[1].T)
    order = similarity.argsort().argsort() + 1.0  # torchmetrics drops the matches of scores <= 0
    same_person, same_camera = q_ids[:, None] == g_ids, q_cams[:, None] == g_cams
    kept = ~(same_camera if mode == "cross" else same_person & same_camera) & (g_ids >= 0)
    row, column = np.nonzero(kept)
    oracle = RetrievalMAP(empty_target_action="skip")(
        order[row, column], torch.tensor(same_person[row, column]), torch.tensor(row)
    )
    result = evaluate_ranking(*city, mode=mode)
    assert result.mAP == pytest.approx(float(oracle), abs=1e-5)
    assert 0.1 < result.mAP < 0.9  # neither trivial


def test_scores_worked_out_by_hand():
    """The gallery falls in cosine; the query, person 7 in camera 1, is its first image.

    Kept in order: 9 no, 7 yes, distractor no, 7 yes, 9 no: matches at ranks 2 and 4.
    """
    angles = np.deg2rad([0, 5, 10, 20, 30, 40, 50, 60])
    gallery = np.stack([np.cos(angles), np.sin(angles)], 1) * np.arange(1, 9)[:, None]  # any length
    g_ids, g_cams = [7, -1, 9, 7, 0, 7, 7, 9], [1, 2, 1, 2, 3, 1, 3, 2]
    arrays = (np.array([[2.0, 0.0]]), gallery, [7], g_ids, [1], g_cams)
    result = evaluate_ranking(*arrays, top=6)
    assert result.top_indices.tolist() == [[2, 3, 4, 6, 7, -1]]
    np.testing.assert_allclose(result.top_similarities[0, :5], np.cos(angles[[2, 3, 4, 6, 7]]), atol=1e-12)
    assert result.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert result.mAP_trapz == pytest.approx(((0 / 1 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2)
    assert result.mINP == pytest.approx(2 / 4)
    assert result.cmc.tolist() == [0, 1, 1, 1, 1, 1, 1, 1]
    assert (result.num_matches[0], result.rank_of_first_match[0], result.rank_of_last_match[0]) == (2, 2, 4)
    # Across cameras the 9 of camera 1 goes too: 7 yes, distractor no, 7 yes, 9 no.
    crossed = evaluate_ranking(*arrays, mode="cross", top=6)
    assert crossed.top_indices.tolist() == [[3, 4, 6, 7, -1, -1]]
    assert crossed.mAP == pytest.approx((1 + 2 / 3) / 2)
    assert crossed.mAP_trapz == pytest.approx(((1 + 1) / 2 + (1 / 2 + 2 / 3) / 2) / 2)
    assert crossed.summary() == pytest.approx(
        {"mAP": 5 / 6, "mAP_trapz": 19 / 24, "mINP": 2 / 3, "rank1": 1, "rank5": 1, "rank10": 1,
         "num_valid_queries": 1, "num_skipped_queries": 0}
    )  # fmt: skip


def test_ties_keep_the_order_of_the_gallery():
    """All features equal: the ranking is the gallery's own order, whatever is ignored in between."""
    g_ids, g_cams = np.array([5, -1, 3, 5, 5, 3]), np.array([1, 2, 2, 2, 1, 3])
    result = evaluate_ranking(np.ones((1, 4)), np.ones((6, 4)), [5], g_ids, [1], g_cams, top=2)
    assert result.rank_of_first_match.tolist() == [2]  # after row 2; rows 0, 1 and 4 are ignored
    assert result.top_indices.tolist() == [[2, 3]]


def test_summary_reads_beyond_a_short_cmc(city):
    full, short = evaluate_ranking(*city), evaluate_ranking(*city, max_rank=3)
    assert len(full.cmc) == 50 and len(short.cmc) == 3
    np.testing.assert_array_equal(short.cmc, full.cmc[:3])
    assert short.summary() == full.summary()
    assert full.summary()["rank5"] == full.cmc[4] and full.summary()["rank10"] == full.cmc[9]


def test_normalises_inside_and_takes_every_kind_of_array(city):
    query, gallery, *labels = city
    unit = [torch.nn.functional.normalize(torch.tensor(x).double()) for x in (query, gallery)]
    expected = evaluate_ranking(*unit, *labels, normalize=False)
    scaled = evaluate_ranking(torch.tensor(query).double() * 100, gallery.astype(np.float64), *labels)
    np.testing.assert_allclose(scaled.average_precision, expected.average_precision, atol=1e-9)
    np.testing.assert_allclose(scaled.top_similarities, expected.top_similarities, atol=1e-9)
    gallery.setflags(write=False)
    tensors = evaluate_ranking(torch.tensor(query).requires_grad_(), gallery, *map(torch.tensor, labels))
    assert tensors.mAP == pytest.approx(expected.mAP, abs=1e-5)
    halves = evaluate_ranking(torch.tensor(query).half(), torch.tensor(gallery).half(), *labels)
    assert halves.mAP == pytest.approx(expected.mAP, abs=1e-2)
    assert halves.top_similarities.dtype == np.float32


def test_input_is_left_as_it_was(city):
    copies = [x.copy() for x in city]
    evaluate_ranking(*city, normalize=False)
    evaluate_ranking(*city)
    assert all(np.array_equal(a, b) for a, b in zip(city, copies, strict=True))


def test_zero_rows_have_similarity_zero():
    gallery = np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    result = evaluate_ranking(np.array([[1.0, 0.0]]), gallery, [1], [1, 2, 2], [1], [2, 2, 2], top=3)
    assert result.top_indices.tolist() == [[1, 0, 2]]
    assert result.top_similarities.tolist() == [[1.0, 0.0, -1.0]]


def bad(city, **changes):
    kinds = ("features", "ids", "cameras")
    names = [f"{side}_{kind}" for kind in kinds for side in ("query", "gallery")]
    return {**dict(zip(names, city, strict=True)), **changes}


def poisoned(features, row, value):
    features = features.copy()
    features[row, 3] = value
    return features


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda c: {"query_features": poisoned(c[0], 17, np.nan)}, "row 17 of the query features is NaN"),
        (lambda c: {"gallery_features": poisoned(c[1], 401, -np.inf)}, "row 401 of the gallery features"),
        (lambda c: {"gallery_ids": c[3][:-1]}, r"gallery_ids has shape \(699,\)"),
        (lambda c: {"query_cameras": c[4][:, None]}, "query_cameras has shape"),
        (lambda c: {"gallery_features": c[1][:, :9]}, "16 columns, gallery features 9"),
        (lambda c: {"query_features": c[0][None]}, r"shape \(1, 120, 16\)"),
        (lambda c: {"gallery_features": c[1][:0], "gallery_ids": [], "gallery_cameras": []}, "neither empty"),
        (lambda c: {"query_ids": c[2].astype(float)}, "expected integers"),
        (lambda c: {"query_cameras": c[4] * 0, "gallery_cameras": c[5] * 0}, "no identity is seen in two"),
        (lambda c: {"gallery_ids": c[3] * 0 - 1, "query_ids": c[2] * 0 - 1}, "check that both sides number"),
        (lambda c: {"gallery_ids": c[3] + 100}, "none of the 120 queries has a match"),
        (lambda c: {"mode": "crossed"}, "mode is 'crossed'; expected one of standard, cross, leave_one_out"),
        (lambda c: {"query_cameras": None}, "query_cameras has shape"),
        (lambda c: {"mode": "leave_one_out"}, "120 queries cannot be the 700 gallery images: give query_rows"),
        (lambda c: {"mode": "leave_one_out", "query_rows": c[2] * 0 + 700}, "between 700 and 700; expected .* to 699"),
        (lambda c: {"mode": "leave_one_out", "query_rows": c[2] * 0 - 2}, "between -2 and -2"),
        (lambda c: {"mode": "leave_one_out", "query_rows": c[2][:-1]}, r"query_rows has shape \(119,\)"),
        (lambda c: {"mode": "leave_one_out", "query_rows": c[2] * 0, "gallery_ids": c[3] + 99}, "identity has two"),
        (lambda c: {"block": 0}, "block=0"),
        (lambda c: {"gallery_features": poisoned(c[1], 2, 1e30)}, "row 2 of the gallery .* too large"),
    ],
)
def test_bad_input_is_named(city, change, message):
    with pytest.raises(ValueError, match=message):
        evaluate_ranking(**bad(city, **change(city)))


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads the peak memory from /proc")
@pytest.mark.parametrize("mode, sizes", [("standard", (4000, 20000)), ("leave_one_out", (9000, 9000))])
def test_memory_is_bounded_by_the_block(mode, sizes):
    """One array of all similarities is 320 MB, and one of a block of 64 queries is 5 MB at most."""
    script = """
        import re
        import numpy as np
        from mprd_pyg.evaluation import evaluate_ranking

        def peak(reset=False):
            if reset:
                open("/proc/self/clear_refs", "w").write("5")
            return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

        rng = np.random.default_rng(0)
        features = [rng.normal(size=(n, 16)).astype(np.float32) for n in sizes]
        ids = [rng.integers(0, 500, n) for n in sizes]
        cameras = [rng.integers(0, 6, n) for n in sizes]
        evaluate_ranking(*(x[:64] for pair in (features, ids, cameras) for x in pair))
        before = peak(reset=True)
        assert evaluate_ranking(*features, *ids, *cameras, mode=mode, block=64).num_valid_queries == sizes[0]
        print(peak() - before)
    """
    script = f"sizes, mode = {sizes}, {mode!r}\n" + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          cwd=Path(__file__).parents[2])  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 0 < int(done.stdout) < 100e6
