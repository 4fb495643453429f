"""How sure a difference between two rankings of the same queries is."""
from dataclasses import dataclass

import numpy as np

__all__ = ["Difference", "paired_bootstrap"]


@dataclass(frozen=True)
class Difference:
    """Mean of ``second - first`` over the queries.

    Attributes:
        mean: of the queries that both sides have.
        low, high: percentile interval.
        p_value: two-sided: how often resampling turns the sign, (1 + count) / (1 + samples), doubled, at most 1.
        queries: how many were compared.
        groups: how many were resampled.
    """

    mean: float
    low: float
    high: float
    p_value: float
    queries: int
    groups: int


def paired_bootstrap(first: np.ndarray, second: np.ndarray, groups: np.ndarray | None = None, samples: int = 10_000,
                     level: float = 0.95, seed: int = 0) -> Difference:
    """Bootstrap the mean difference of two scores per query (Efron and Tibshirani, 1993, Sec. 13.3).

    Queries are drawn with replacement, each with both its scores, so that what makes a query hard for both cancels.
    Queries of one person are alike: with ``groups``, whole groups are drawn, and the mean is over their queries.
    The interval says how far other queries of the same kind would change the difference; not how far another
    training seed would.

    Args:
        first, second: (Q,) a score per query; a query with NaN on either side is left out.
        groups: (Q,) labels, such as the person's; None draws single queries.
        samples: resamplings.
        level: of the interval.
        seed: of the resampling.

    Raises:
        ValueError: lengths that differ, no query left, or samples or level out of range.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or groups is not None and len(groups) != len(first):
        raise ValueError(f"the scores have shapes {first.shape} and {second.shape}"
                         f"{'' if groups is None else f', and there are {len(groups)} group labels'}; expected (Q,)")
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"samples is {samples} and level {level}; expected at least 1, and between 0 and 1")
    difference = second - first
    kept = ~np.isnan(difference)
    if not kept.any():
        raise ValueError("no query has a score on both sides")
    label = np.arange(len(first)) if groups is None else np.asarray(groups)
    difference, label = difference[kept], np.unique(label[kept], return_inverse=True)[1]
    size = np.bincount(label)
    total = np.bincount(label, weights=difference)
    rng = np.random.default_rng(seed)
    means = np.empty(samples)
    block = max(1, 2 ** 22 // len(size))  # bounds the memory, whatever the number of queries
    for start in range(0, samples, block):
        drawn = rng.integers(len(size), size=(min(block, samples - start), len(size)))
        means[start:start + block] = total[drawn].sum(1) / size[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    turned = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return Difference(float(difference.mean()), float(low), float(high), min(1.0, 2 * (1 + turned) / (1 + samples)),
                      len(difference), len(size))
