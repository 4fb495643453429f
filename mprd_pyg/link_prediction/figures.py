"""How well scores tell links from pairs without one."""
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mprd_pyg.evaluation import pair_auc


def link_figures(score: Tensor | np.ndarray, label: Tensor, hits: Sequence[int] = (10, 50, 100),
                 own: Tensor | np.ndarray | None = None) -> dict[str, float]:
    """``auc``, ``ap``, ``hits@K`` and ``mrr``, as fractions.

    Args:
        score: (P,) higher for pairs believed more.
        label: (P,) 1 for links, 0 for pairs without one.
        hits: the K; one above the number of negatives is NaN, since it could not fail.
        own: (links, K') scores of each link's own negatives, in the order of the links. ``mrr`` is then among these,
            and ``own_hits@K`` tells how many links are among the first K; without them ``mrr`` is among all negatives.
    """
    score = torch.as_tensor(score).detach().cpu()
    auc, ap = pair_auc(score, label)
    figures = {"auc": auc, "ap": ap} | {f"hits@{k}": hits_at(score, label, k) for k in hits}
    positive = score[label == 1]
    if own is None:
        return figures | {"mrr": mean_reciprocal_rank(ranks(positive, score[label == 0]))}
    own = torch.as_tensor(own).detach().cpu()
    rank = ranks(positive, own)
    return figures | {"mrr": mean_reciprocal_rank(rank)} | {
        f"own_hits@{k}": float((rank <= k).double().mean()) if k <= own.shape[1] and len(rank) else float("nan")
        for k in hits}


def hits_at(score: Tensor, label: Tensor, k: int) -> float:
    """Fraction of links scored above the k-th best negative (Hu et al., Open Graph Benchmark, NeurIPS 2020)."""
    if k < 1:
        raise ValueError(f"hits counts the K best negatives: K must be at least 1, got {k}")
    positive, negative = score[label == 1], score[label == 0]
    if len(negative) < k or not len(positive):
        return float("nan")
    return float((positive > negative.topk(k).values[-1]).double().mean())


def ranks(positive: Tensor, negative: Tensor) -> Tensor:
    """Rank of each link among its negatives: 1 + those above it + half of those equal to it.

    That is the mean of the optimistic and the pessimistic rank, as in the Open Graph Benchmark: equal scores gain
    nothing.

    Args:
        positive: (L,) scores.
        negative: (L, K) of each link's own negatives, or (K,) of negatives that all share.

    Returns:
        (L,) double.
    """
    if negative.dim() == 1:
        ordered = negative.sort().values
        above = len(ordered) - torch.searchsorted(ordered, positive, right=True)
        equal = len(ordered) - torch.searchsorted(ordered, positive) - above
    else:
        above = (negative > positive.unsqueeze(1)).sum(1)
        equal = (negative == positive.unsqueeze(1)).sum(1)
    return 1 + above + equal.double() / 2


def mean_reciprocal_rank(rank: Tensor) -> float:
    """Mean of 1 / rank (L,); NaN without links."""
    return float((1 / rank).mean())
