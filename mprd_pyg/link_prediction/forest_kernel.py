"""Forest kernel of pairs: how near two nodes are over all paths at once, as if the pair's own edge were not there."""
import numpy as np
import torch
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import laplacian
from scipy.sparse.linalg import splu
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.link_prediction.link_heuristics import adjacency, grouped

FLOOR = 1e-6  # entries below are noise of the solver
DIGITS = 5  # kept of each entry, so that equal neighbourhoods give equal numbers


def forest_kernel(graph: Data, pairs: Tensor, alphas: tuple[float, ...] = (0.3, 3.0, 30.0, 300.0),
                  block: int = 256) -> dict[str, Tensor]:
    r"""Entries of :math:`K = (I + \alpha L)^{-1}` (Chebotarev & Shamis, 1997; L the Laplacian) without the own edge.

    Taking edge ij away changes L by :math:`-bb'`, b = e_i - e_j, so that Sherman and Morrison give the new kernel
    exactly: :math:`K + \alpha K b b' K / (1 - \alpha b' K b)`. Small :math:`\alpha` looks near, large far.

    Args:
        graph: undirected, N nodes.
        pairs: (P, 2); the own edge is taken away where the graph has it.
        alphas: of the kernels.
        block: columns of K solved together, which bounds the memory to about 3 x block x N numbers and the factor.

    Returns:
        For each alpha, by name, (P,) tensors in double precision: ``forest_A`` (log K_ij, at least log 1e-6),
        ``forest_cosine_A`` (K_ij / sqrt(K_ii K_jj)), ``forest_least_A`` and ``forest_most_A`` (of K_ii and K_jj: how
        far a node stands apart from all others).
    """
    a, (i, j) = adjacency(graph), pairs.cpu().numpy().T
    lap = laplacian(a)
    linked = np.asarray(a[i, j]).ravel()
    columns = {}
    for alpha in alphas:
        k_ij, k_ii = kernel_entries(lap, alpha, i, j, block)
        k_ii, k_jj = k_ii[i], k_ii[j]
        lost = alpha * linked / np.maximum(1 - alpha * linked * (k_ii + k_jj - 2 * k_ij), 1e-12)
        to_i, to_j = k_ii - k_ij, k_ij - k_jj
        k_ij, k_ii, k_jj = k_ij + lost * to_i * to_j, k_ii + lost * to_i ** 2, k_jj + lost * to_j ** 2
        k_ij = np.where(k_ij < FLOOR, 0, k_ij)
        found = {"": np.log(np.maximum(k_ij, FLOOR)), "_cosine": k_ij / np.sqrt(k_ii * k_jj),
                 "_least": np.minimum(k_ii, k_jj), "_most": np.maximum(k_ii, k_jj)}
        # A tree must not tell an edge that was taken away by the last bits; + 0.0 turns -0.0 into 0.0.
        columns |= {f"forest{name}_{alpha:g}": torch.from_numpy(value.round(DIGITS) + 0.0)
                    for name, value in found.items()}
    return columns


def kernel_entries(lap: csr_matrix, alpha: float, i: np.ndarray, j: np.ndarray, block: int
                   ) -> tuple[np.ndarray, np.ndarray]:
    """K_ij of pairs (P,) and K_vv (N,) of the nodes in them, a block of columns at a time."""
    n = lap.shape[0]
    factor = splu((diags(np.ones(n)) + alpha * lap).tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0,
                  options={"SymmetricMode": True})
    k_ij, k_vv = np.zeros(len(i)), np.zeros(n)
    for nodes, mine, place in grouped(np.concatenate([i, j]), block):
        own = np.zeros((n, len(nodes)))
        own[nodes, np.arange(len(nodes))] = 1
        solved = factor.solve(own)
        k_vv[nodes] = solved[nodes, np.arange(len(nodes))]
        place, mine = place[mine < len(i)], mine[mine < len(i)]
        k_ij[mine] = solved[j[mine], place]
    return k_ij, k_vv
