"""The paired bootstrap against a slow loop, and where the interval is known."""
import numpy as np
import pytest
from scipy import stats

from mprd_pyg.evaluation import paired_bootstrap


def slowly(first, second, groups, samples, level, seed):
    """One resampling at a time, one query at a time, with the same draws."""
    pairs = [(a, b, g) for a, b, g in zip(first, second, groups, strict=True) if not np.isnan(a + b)]
    names = sorted({g for _, _, g in pairs})
    rng, means = np.random.default_rng(seed), []
    for row in rng.integers(len(names), size=(samples, len(names))):
        drawn = [b - a for place in row for a, b, g in pairs if g == names[place]]
        means.append(sum(drawn) / len(drawn))
    means.sort()
    bounds = [np.interp(q * (samples - 1), np.arange(samples), means) for q in ((1 - level) / 2, (1 + level) / 2)]
    turned = min(sum(m <= 0 for m in means), sum(m >= 0 for m in means))
    return [sum(b - a for a, b, _ in pairs) / len(pairs), *bounds, min(1, 2 * (1 + turned) / (1 + samples))]


@pytest.mark.parametrize("grouped", [False, True])
def test_equals_the_slow_loop(grouped):
    rng = np.random.default_rng(3)
    first, second = rng.random(23), rng.random(23)
    first[4] = np.nan
    second[7] = np.nan
    groups = rng.integers(6, size=23) if grouped else np.arange(23)
    found = paired_bootstrap(first, second, groups if grouped else None, samples=150, level=0.9, seed=5)
    expected = slowly(first, second, groups, 150, 0.9, 5)
    np.testing.assert_allclose([found.mean, found.low, found.high, found.p_value], expected, rtol=1e-12)
    assert found.queries == 21 and found.groups == (6 if grouped else 21)
    assert found == paired_bootstrap(first, second, groups if grouped else None, samples=150, level=0.9, seed=5)


def test_a_known_interval():
    """k of n differences are 1 and the others 0: the resampled sum is binomial, its quantiles are known."""
    n, k = 400, 100
    difference = np.zeros(n)
    difference[:k] = 1
    hard = np.random.default_rng(0).random(n)  # what both share must not matter
    found = paired_bootstrap(hard, hard + difference, samples=40_000)
    low, high = stats.binom.ppf([0.025, 0.975], n, k / n) / n
    assert found.low == pytest.approx(low, abs=0.003) and found.high == pytest.approx(high, abs=0.003)
    assert found.mean == pytest.approx(0.25) and found.p_value < 1e-3
    # each query four times over says no more, if copies are known as such
    copies = np.repeat(np.arange(n), 4)
    grouped = paired_bootstrap(hard[copies], (hard + difference)[copies], copies, samples=40_000)
    assert grouped.high - grouped.low == pytest.approx(high - low, abs=0.004)
    alone = paired_bootstrap(hard[copies], (hard + difference)[copies], samples=40_000)
    assert alone.high - alone.low == pytest.approx((high - low) / 2, abs=0.004)


def test_the_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(200):
        first = rng.random(80)
        found = paired_bootstrap(first, first + rng.normal(0.02, 0.1, 80), samples=500, seed=trial)
        covered += found.low <= 0.02 <= found.high
    assert 0.88 <= covered / 200 <= 0.99  # 0.95 with a sampling error of 0.015


def test_no_difference_and_bad_input():
    x = np.linspace(0, 1, 9)
    found = paired_bootstrap(x, x)
    assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    with pytest.raises(ValueError, match="shapes"):
        paired_bootstrap(x, x[1:])
    with pytest.raises(ValueError, match="group labels"):
        paired_bootstrap(x, x, x[1:])
    with pytest.raises(ValueError, match="no query"):
        paired_bootstrap(x * np.nan, x)
    with pytest.raises(ValueError, match="samples"):
        paired_bootstrap(x, x, samples=0)
