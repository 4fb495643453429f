"""Single shot: placed by angle so that ranks can be read off, and against a slow loop over queries."""
import numpy as np
import pytest
import torch

from mprd_pyg.evaluation import evaluate_single_shot, mean_and_spread


def at(*degrees):
    angle = np.deg2rad(np.array(degrees, dtype=float))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


# identities 1 and 2, cameras 1 and 2, two images each in camera 2; every image is query and gallery
X = at(0, 40, 5, 35, 50, 8)
PERSON = np.array([1, 2, 1, 1, 2, 2])
CAMERA = np.array([1, 1, 2, 2, 2, 2])


def test_each_draw_ranks_one_image_of_the_other_camera():
    draws = np.array([[0, 1, 2, 4],      # camera 2: person 1 at 5, person 2 at 50
                      [0, 1, 3, 5]])     # camera 2: person 1 at 35, person 2 at 8
    result = evaluate_single_shot(X, X, PERSON, PERSON, CAMERA, CAMERA, draws, top=4)
    # draw 1: queries at 0 and 40 find 5 and 50 first; from camera 2, 5 finds 0, 35 finds 40 (wrong), 50 finds 40, 8
    # finds 0 (wrong)
    assert result.draws[0].rank_of_first_match.tolist() == [1, 1, 1, 2, 1, 2]
    assert result.draws[1].rank_of_first_match.tolist() == [2, 2, 1, 2, 1, 2]
    summary = result.summary()
    assert summary["rank1"] == pytest.approx((4 / 6 + 2 / 6) / 2) and summary["rank5"] == 1
    assert summary["rank1_sd"] == pytest.approx(np.std([4 / 6, 2 / 6], ddof=1)) and summary["draws"] == 2
    assert summary["mAP"] == pytest.approx((5 / 6 + 4 / 6) / 2)         # mean reciprocal rank
    assert summary["num_valid_queries"] == 6 and summary["num_skipped_queries"] == 0
    # the lists are the first draw's, as rows of the whole gallery
    assert result.top_indices.tolist()[:3] == [[2, 4, -1, -1], [4, 2, -1, -1], [0, 1, -1, -1]]


def test_a_slow_reference():
    rng = np.random.default_rng(3)
    x, person, camera = rng.normal(size=(40, 5)), rng.integers(0, 8, 40), rng.integers(1, 3, 40)
    draws = np.array([[next(i for i in rng.permutation(40) if (person[i], camera[i]) == group)
                       for group in sorted(set(zip(person, camera, strict=True)))] for _ in range(5)])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    ranks = []
    for draw in draws:
        for query in range(40):
            others = [i for i in draw if camera[i] != camera[query]]
            right = [i for i in others if person[i] == person[query]]
            if right:
                ranks.append(1 + sum(unit[i] @ unit[query] > unit[right[0]] @ unit[query] for i in others))
    summary = evaluate_single_shot(torch.from_numpy(x), torch.from_numpy(x), person, person, camera, camera,
                                   draws).summary()
    for k in (1, 5):
        assert summary[f"rank{k}"] == pytest.approx(np.mean(np.array(ranks) <= k))
    assert summary["mAP"] == pytest.approx(np.mean(1 / np.array(ranks)))


def test_one_draw_has_no_spread():
    summary = evaluate_single_shot(X, X, PERSON, PERSON, CAMERA, CAMERA, np.array([[0, 1, 2, 4]])).summary()
    assert summary["draws"] == 1 and not any(name.endswith("_sd") for name in summary)


def test_what_is_not_single_shot_is_refused():
    with pytest.raises(ValueError, match="exactly two cameras are needed, found 1, 2, 3"):
        evaluate_single_shot(X, X, PERSON, PERSON, CAMERA, np.array([1, 1, 2, 2, 2, 3]), np.array([[0, 1, 2, 4]]))
    with pytest.raises(ValueError, match="two images of one identity and camera"):
        evaluate_single_shot(X, X, PERSON, PERSON, CAMERA, CAMERA, np.array([[0, 1, 2, 3]]))


def test_mean_and_spread_of_splits():
    names = ("mAP", "mAP_trapz", "mINP", "rank1", "rank5", "rank10")
    rows = [dict.fromkeys(names, value) | {"num_valid_queries": 7, "rank1_sd": 9.0} for value in (0.1, 0.2, 0.6)]
    result = mean_and_spread(rows)
    assert result["mAP"] == pytest.approx(0.3) and result["num_valid_queries"] == 7
    assert result["rank1_sd"] == pytest.approx(np.sqrt((0.04 + 0.01 + 0.09) / 2))      # over the splits, not the draws'
