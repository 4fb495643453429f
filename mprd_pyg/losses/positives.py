"""P_i of a batch as rows over the memory."""
import torch
from torch import Tensor


def positive_mask(positives: Tensor, index: Tensor, num_rows: int) -> Tensor:
    """P_i as a mask: edges (2, E) and distinct rows (B,) -> (B, N) bool, i itself included."""
    mask = torch.zeros(len(index), num_rows, dtype=torch.bool, device=index.device)
    mask[_place(positives, index), positives[0]] = True
    mask[torch.arange(len(index), device=index.device), index] = True
    return mask


def positive_weights(positives: Tensor, index: Tensor, num_rows: int, likelihood: Tensor) -> Tensor:
    """P_i as weights: edges (2, E), rows (B,) and likelihoods (E,) -> (B, N) of sum 1, i itself of likelihood 1."""
    weight = likelihood.new_zeros(len(index), num_rows)
    weight[_place(positives, index), positives[0]] = likelihood
    weight[torch.arange(len(index), device=index.device), index] = 1.0
    return weight / weight.sum(1, keepdim=True)


def _place(positives: Tensor, index: Tensor) -> Tensor:
    """Where in the batch the anchor of each edge stands."""
    order = torch.argsort(index)
    return order[torch.searchsorted(index[order], positives[1].contiguous())]
