"""AUC, AP and Hits@K by hand and by definition."""
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mprd_pyg.link_prediction import hits_at, link_figures, ranks


def test_by_hand():
    score = torch.tensor([0.9, 0.4, 0.4, 0.1, 0.8, 0.4, 0.2])
    label = torch.tensor([1, 1, 1, 1, 0, 0, 0])
    figures = link_figures(score, label, hits=(1, 2, 3, 4))
    # pairs won: 0.9 beats 3; each 0.4 beats 0.2 and ties with 0.4; 0.1 beats none
    assert figures["auc"] == pytest.approx((3 + 1.5 + 1.5) / 12)
    # precision at thresholds 0.9: 1/1 (recall 1/4), 0.4: 3/5 (recall +2/4), 0.1: 4/7 (recall +1/4)
    assert figures["ap"] == pytest.approx(1 / 4 + 3 / 5 / 2 + 4 / 7 / 4)
    # the best, second and third negatives are 0.8, 0.4, 0.2
    assert [figures[f"hits@{k}"] for k in (1, 2, 3)] == [0.25, 0.25, 0.75]
    assert math.isnan(figures["hits@4"])


@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=30), st.integers(1, 8))
def test_hits_and_auc_by_definition(rows, k):
    score, label = torch.tensor([float(s) for s, _ in rows]), torch.tensor([int(truth) for _, truth in rows])
    positive = [s for s, truth in rows if truth]
    negative = sorted((s for s, truth in rows if not truth), reverse=True)
    got = hits_at(score, label, k)
    if not positive or len(negative) < k:
        assert math.isnan(got)
    else:
        assert got == pytest.approx(sum(s > negative[k - 1] for s in positive) / len(positive))
        won = [(a > b) + (a == b) / 2 for a in positive for b in negative]
        assert link_figures(score, label)["auc"] == pytest.approx(sum(won) / len(won), abs=1e-6)


@given(st.lists(st.tuples(st.integers(-3, 3), st.lists(st.integers(-3, 3), min_size=4, max_size=4)), min_size=1,
                max_size=8), st.lists(st.integers(-3, 3), max_size=9))
def test_ranks_by_definition(rows, shared):
    """Ties count as the mean of the best and the worst place that they allow."""
    def slow(score, negatives):
        best = 1 + sum(other > score for other in negatives)
        worst = 1 + sum(other >= score for other in negatives)
        return (best + worst) / 2
    positive, own = (torch.tensor([row[part] for row in rows]).float() for part in (0, 1))
    assert ranks(positive, own).tolist() == [slow(score, negatives) for score, negatives in rows]
    assert ranks(positive, torch.tensor(shared).float()).tolist() == [slow(score, shared) for score, _ in rows]


def test_own_negatives_by_hand():
    score, label = torch.tensor([0.9, 0.5, 0.3, 0.2]), torch.tensor([1, 1, 0, 0])
    own = torch.tensor([[0.1, 0.9, 0.2], [0.6, 0.7, 0.4]])  # ranks 1.5 and 3
    figures = link_figures(score, label, hits=(1, 2, 4), own=own)
    assert figures["mrr"] == pytest.approx((1 / 1.5 + 1 / 3) / 2)
    assert [figures[f"own_hits@{k}"] for k in (1, 2)] == [0, 0.5] and math.isnan(figures["own_hits@4"])
    assert link_figures(score, label)["mrr"] == 1 and figures["auc"] == 1  # among the negatives that all share
    assert link_figures(torch.zeros(4), label)["mrr"] == pytest.approx(0.5)  # all equal: rank 2 of 3


def test_bad_k():
    with pytest.raises(ValueError, match="at least 1"):
        hits_at(torch.ones(2), torch.tensor([0, 1]), 0)
