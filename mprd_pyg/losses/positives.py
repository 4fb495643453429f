"""P_i of a batch as rows over the memory."""
import torch
from torch import Tensor

from mprd_pyg.sharded_rows import Columns


def positive_mask(positives: Tensor, index: Tensor, bank: Columns) -> Tensor:
    """P_i as a mask: edges (2, E) and distinct rows (B,) -> (B, n) bool over the rows at hand, i itself included."""
    mask = torch.zeros(len(index), bank.count, dtype=torch.bool, device=index.device)
    bank.put(mask, (_place(positives, index),), positives[0], True)
    return bank.put(mask, (torch.arange(len(index), device=index.device),), index, True)


def positive_weights(positives: Tensor, index: Tensor, bank: Columns, likelihood: Tensor) -> Tensor:
    """P_i as weights: edges (2, E), rows (B,) and likelihoods (E,) -> (B, n) over the rows at hand.

    Their sum over all N is 1, i itself having likelihood 1.
    """
    weight = likelihood.new_zeros(len(index), bank.count)
    bank.put(weight, (_place(positives, index),), positives[0], likelihood)
    bank.put(weight, (torch.arange(len(index), device=index.device),), index, 1.0)
    return weight / bank.sum(weight).unsqueeze(1)


def _place(positives: Tensor, index: Tensor) -> Tensor:
    """Where in the batch the anchor of each edge stands."""
    order = torch.argsort(index)
    return order[torch.searchsorted(index[order], positives[1].contiguous())]
