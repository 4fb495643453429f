"""Whitening learned from pairs: directions in which images of one person differ count less."""
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.utils import degree


def principal_components(x: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Principal components of features (N, d): coordinates (N, K), and the components' standard deviations (K,).

    K is ``dims``, or fewer where no more of them have a variance above rounding.
    """
    centred = x.double() - x.double().mean(0)
    variance, axes = torch.linalg.eigh(centred.T @ centred / len(x))
    largest = variance.flip(0)[:dims]
    kept = max(int((largest > largest[0] * 1e-10).sum()), 1)
    return centred @ axes.flip(1)[:, :kept], largest[:kept].clamp(min=1e-12).sqrt()


def pair_whitening(x: Tensor, edge_index: Tensor, ridge: float = 0.1) -> Tensor:
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
    x, count = x.double(), len(x)
    weight = 1 / degree(edge_index[1], count, x.dtype)[edge_index[1]]
    # C = X^T (D - A - A^T) X, with A of the weights and D of its row and column sums: no difference is kept.
    adjacency = torch.sparse_coo_tensor(edge_index.flip(0), weight, (count, count), check_invariants=False)
    both = degree(edge_index[1], count, x.dtype).clamp(max=1)
    both = both.index_add(0, edge_index[0], weight)
    cross = x.T @ (adjacency @ x)
    scatter = (x * both[:, None]).T @ x - cross - cross.T
    variance, axes = torch.linalg.eigh(scatter / scatter.diagonal().mean().clamp(min=1e-12))
    return axes * (variance.clamp(min=0) + ridge) ** -0.5 @ axes.T


def half_whitened(coordinates: Tensor, deviation: Tensor) -> Tensor:
    """Unit rows of principal coordinates (N, K), each divided by the square root of its standard deviation (K,)."""
    return F.normalize(coordinates / deviation.sqrt(), dim=1)
