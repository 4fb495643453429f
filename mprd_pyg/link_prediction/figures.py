"""How well scores tell links from pairs without one."""
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mprd_pyg.evaluation import pair_auc


def link_figures(score: Tensor | np.ndarray, label: Tensor, hits: Sequence[int] = (10, 50, 100)) -> dict[str, float]:
    """``auc``, ``ap`` and ``hits@K``, as fractions.

    Args:
        score: (P,) higher for pairs believed more.
        label: (P,) 1 for links, 0 for pairs without one.
        hits: the K; one above the number of negatives is NaN, since it could not fail.
    """
    score = torch.as_tensor(score).detach().cpu()
    auc, ap = pair_auc(score, label)
    return {"auc": auc, "ap": ap} | {f"hits@{k}": hits_at(score, label, k) for k in hits}


def hits_at(score: Tensor, label: Tensor, k: int) -> float:
    """Fraction of links scored above the k-th best negative (Hu et al., Open Graph Benchmark, NeurIPS 2020)."""
    if k < 1:
        raise ValueError(f"hits counts the K best negatives: K must be at least 1, got {k}")
    positive, negative = score[label == 1], score[label == 0]
    if len(negative) < k or not len(positive):
        return float("nan")
    return float((positive > negative.topk(k).values[-1]).double().mean())
