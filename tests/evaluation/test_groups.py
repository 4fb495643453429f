"""Groups beside identities: against loops over pairs and scikit-learn, and by hand."""
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from mprd_pyg.evaluation import evaluate_groups

labels = st.integers(1, 30).flatmap(lambda n: st.tuples(
    st.lists(st.integers(-1, 5), min_size=n, max_size=n), st.lists(st.integers(-1, 4), min_size=n, max_size=n)))


@given(labels)
@settings(deadline=None, max_examples=150)
def test_equals_loops_over_pairs(both):
    group, person = both
    if max(person) < 0:
        with pytest.raises(ValueError, match="no image's identity is known"):
            evaluate_groups(np.array(group), np.array(person))
        return
    got = evaluate_groups(torch.tensor(group), torch.tensor(person))
    kept = [(g if g >= 0 else 100 + row, p) for row, (g, p) in enumerate(zip(group, person, strict=True)) if p >= 0]
    pairs = list(itertools.combinations(kept, 2))
    together, same = sum(a[0] == b[0] for a, b in pairs), sum(a[1] == b[1] for a, b in pairs)
    hits = sum(a == b for a, b in pairs)
    assert got.pair_precision == pytest.approx(hits / together if together else math.nan, nan_ok=True)
    assert got.pair_recall == pytest.approx(hits / same if same else math.nan, nan_ok=True)
    precision = np.mean([sum(a == b for b in kept) / sum(a[0] == b[0] for b in kept) for a in kept])
    recall = np.mean([sum(a == b for b in kept) / sum(a[1] == b[1] for b in kept) for a in kept])
    assert (got.bcubed_precision, got.bcubed_recall) == pytest.approx((precision, recall))
    assert got.bcubed_f == pytest.approx(2 * precision * recall / (precision + recall))
    group, person = zip(*kept, strict=True)
    assert got.adjusted_rand == pytest.approx(adjusted_rand_score(person, group))
    sizes = [group.count(g) for g in set(group)]
    assert got.groups == sum(s > 1 for s in sizes) and got.identities == len(set(person))
    assert got.grouped == pytest.approx(sum(s for s in sizes if s > 1) / len(kept))


def test_by_hand():
    # groups {0, 1, 2}, {3, 4}, 5 alone; identities {0, 1}, {2, 3, 4, 5}
    got = evaluate_groups(np.array([7, 7, 7, 2, 2, -1]), np.array([0, 0, 1, 1, 1, 1]))
    assert (got.pair_precision, got.pair_recall) == (2 / 4, 2 / 7)
    assert got.pair_f == pytest.approx(4 / 11)
    assert got.bcubed_precision == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1 + 1) / 6)
    assert got.bcubed_recall == pytest.approx((1 + 1 + 1 / 4 + 1 / 2 + 1 / 2 + 1 / 4) / 6)
    assert (got.groups, got.identities, got.grouped) == (2, 2, 5 / 6)


def test_a_million_images_in_little_time():
    group = np.arange(1_000_000) // 20
    got = evaluate_groups(group, group // 2)
    assert got.pair_precision == 1 and got.pair_recall == pytest.approx(19 / 39)
