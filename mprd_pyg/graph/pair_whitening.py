"""Whitening learned from pairs: directions in which images of one person differ count less."""
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.utils import degree

from mprd_pyg.sharded_rows import ShardedRows, changed

ROWS, EDGES = 1 << 12, 1 << 15  # that are read at once


def principal_components(x: Tensor | ShardedRows, dims: int) -> tuple[Tensor | ShardedRows, Tensor]:
    """Principal components of features (N, d): coordinates (N, K), and the components' standard deviations (K,).

    K is ``dims``, or fewer where no more of them have a variance above rounding.
    """
    total = torch.zeros(x.shape[1], dtype=torch.double, device=x.device)
    squares = torch.zeros(x.shape[1], x.shape[1], dtype=torch.double, device=x.device)
    for number in torch.arange(x.shape[0], device=x.device).split(ROWS):
        rows = x[number].double()
        total += rows.sum(0)
        squares += rows.T @ rows
    mean = total / x.shape[0]
    variance, axes = torch.linalg.eigh(squares / x.shape[0] - torch.outer(mean, mean))
    largest = variance.flip(0)[:dims]
    kept = max(int((largest > largest[0] * 1e-10).sum()), 1)
    axes = axes.flip(1)[:, :kept]
    return changed(x, lambda rows, at: (rows.double() - mean) @ axes), largest[:kept].clamp(min=1e-12).sqrt()


def pair_whitening(x: Tensor | ShardedRows, edge_index: Tensor, ridge: float = 0.1) -> Tensor:
    r"""The whitening of the differences between paired rows.

    :math:`W = (C / \bar c + ridge \cdot I)^{-1/2}`, with :math:`C = \sum_i \frac{1}{|P_i|} \sum_{j \in P_i}
    (x_i - x_j)(x_i - x_j)^T` and :math:`\bar c` the mean of its diagonal: the first half of learned whitening
    (Mikolajczyk & Matas, ICCV 2007; Radenović et al., TPAMI 2019), in which each image counts once.

    Args:
        x: (N, K) features.
        edge_index: (2, E), E > 0, pairs of rows that show the same; row 1 is i and row 0 is j.
        ridge: 0 whitens fully; a large one leaves the directions as they are.

    Returns:
        (K, K), symmetric; multiply features by it from the right.
    """
    weight = degree(edge_index[1], x.shape[0], torch.double)[edge_index[1]].rsqrt()
    scatter = 0
    for chosen in edge_index[1].argsort(stable=True).split(EDGES):  # rows that are elsewhere are fetched about once
        j, i = edge_index[:, chosen]
        difference = (x[i].double() - x[j].double()) * weight[chosen, None]
        scatter = scatter + difference.T @ difference
    variance, axes = torch.linalg.eigh(scatter / scatter.diagonal().mean().clamp(min=1e-12))
    return axes * (variance.clamp(min=0) + ridge) ** -0.5 @ axes.T


def half_whitened(coordinates: Tensor | ShardedRows, deviation: Tensor) -> Tensor | ShardedRows:
    """Unit rows of principal coordinates (N, K), each divided by the square root of its standard deviation (K,)."""
    return changed(coordinates, lambda rows, at: F.normalize(rows / deviation.sqrt(), dim=1).float())


def whitened(coordinates: Tensor | ShardedRows, whitening: Tensor) -> Tensor | ShardedRows:
    """Unit rows of principal coordinates (N, K) times a whitening (K, K)."""
    return changed(coordinates, lambda rows, at: F.normalize(rows @ whitening, dim=1).float())
