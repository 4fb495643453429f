"""Scores of pairs that need no training, by sparse matrices, in blocks."""
import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy.sparse import csr_matrix, diags
from torch import Tensor
from torch_geometric.data import Data

BLOCK = 65_536  # pairs looked up together


def adjacency(graph: Data) -> csr_matrix:
    """(N, N) of zeros and ones, without self-loops, of an undirected graph."""
    row, col = graph.edge_index.cpu().numpy()
    keep = row != col
    matrix = csr_matrix((np.ones(int(keep.sum())), (row[keep], col[keep])), shape=(graph.num_nodes,) * 2)
    matrix.data[:] = 1
    return matrix


def degrees(a: csr_matrix) -> np.ndarray:
    """(N,) links of each node."""
    return np.asarray(a.sum(1)).ravel()


def neighbour_sum(graph: Data, pairs: Tensor, weight: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Sum over the common neighbours of pairs (P, 2) of the ``weight`` of their degrees -> (P,)."""
    a, pairs = adjacency(graph), pairs.cpu().numpy()
    weighted = (a @ diags(weight(degrees(a)))).tocsr()
    return np.concatenate([np.asarray(a[part[:, 0]].multiply(weighted[part[:, 1]]).sum(1)).ravel()
                           for part in np.split(pairs, range(BLOCK, len(pairs), BLOCK))])


def common_neighbours(graph: Data, pairs: Tensor) -> np.ndarray:
    """Number of common neighbours of pairs (P, 2) -> (P,)."""
    return neighbour_sum(graph, pairs, np.ones_like)


def adamic_adar(graph: Data, pairs: Tensor) -> np.ndarray:
    r"""Common neighbours, each counted :math:`1 / \log(degree)` (Adamic & Adar, 2003): pairs (P, 2) -> (P,)."""
    # A common neighbour of two nodes has a degree of 2 at least.
    return neighbour_sum(graph, pairs, lambda degree: 1 / np.log(np.maximum(degree, 2)))


def resource_allocation(graph: Data, pairs: Tensor) -> np.ndarray:
    """Common neighbours, each counted 1 / degree (Zhou, Lü & Zhang, 2009): pairs (P, 2) -> (P,)."""
    return neighbour_sum(graph, pairs, lambda degree: 1 / np.maximum(degree, 1))


def ppr(graph: Data, pairs: Tensor, block: int = 256) -> np.ndarray:
    """PageRank of j personalised to i, plus that of i personalised to j: pairs (P, 2) -> (P,)."""
    a, pairs, score = adjacency(graph), pairs.cpu().numpy(), np.zeros(len(pairs))
    for ends in (pairs, pairs[:, ::-1]):
        for nodes, mine, place in grouped(ends[:, 0], block):
            score[mine] += ppr_rows(a, nodes)[place, ends[mine, 1]]
    return score


def ppr_rows(a: csr_matrix, nodes: np.ndarray, damping: float = 0.85, error: float = 1e-7) -> np.ndarray:
    r"""PageRank of all nodes personalised to each of ``nodes`` (B,) -> (B, N), no row off by more than ``error``.

    The sum :math:`(1 - \delta) \sum_l \delta^l P^l` of steps, ended when what is left of it, :math:`\delta^l`, is below
    ``error``.
    """
    step = (a @ diags(1 / np.maximum(degrees(a), 1))).tocsr()  # columns sum to 1
    walk = np.zeros((a.shape[0], len(nodes)))
    walk[nodes, np.arange(len(nodes))] = 1 - damping
    total = walk.copy()
    for _ in range(math.ceil(math.log(error) / math.log(damping))):
        walk = damping * (step @ walk)
        total += walk
    return total.T


def grouped(ends: np.ndarray, block: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Blocks of the different nodes in ``ends`` (P,): the nodes, the rows of ``ends`` that name them, and the place of
    each in the block."""
    nodes, place = np.unique(ends, return_inverse=True)
    order = np.argsort(place, kind="stable")
    bounds = np.searchsorted(place[order], np.arange(0, len(nodes) + block, block))
    for number, start in enumerate(range(0, len(nodes), block)):
        mine = order[bounds[number]:bounds[number + 1]]
        yield nodes[start:start + block], mine, place[mine] - start


def katz(graph: Data, pairs: Tensor, beta: float | None = None, length: int = 20, block: int = 256) -> np.ndarray:
    r"""Katz index :math:`\sum_{l=1}^{length} \beta^l (A^l)_{ij}` of pairs (P, 2) -> (P,).

    The sum is over walks, not by a linear solve, so that pairs far apart keep their order: their score, near
    :math:`\beta^{distance}`, would be lost in a solver's rounding.

    Args:
        graph: undirected.
        pairs: nodes i and j.
        beta: weight of a step; None takes :func:`katz_beta`.
        length: longest walk counted; what is left out is below :math:`(\beta \lambda)^{length}`, of no weight here.
        block: nodes i worked on together, which bounds the memory to block x N.
    """
    a, pairs = adjacency(graph), pairs.cpu().numpy()
    beta = katz_beta(graph) if beta is None else beta
    score = np.zeros(len(pairs))
    ends = pairs if len(np.unique(pairs[:, 0])) <= len(np.unique(pairs[:, 1])) else pairs[:, ::-1]
    for nodes, mine, place in grouped(ends[:, 0], block):
        walks = a[:, nodes].toarray() * beta  # (N, block): walks of one step
        for step in range(length):
            score[mine] += walks[ends[mine, 1], place]
            if step + 1 < length:
                walks = a @ walks * beta
    return score


def katz_beta(graph: Data) -> float:
    """0.001 (SEAL's), or less where that would let the sum grow: half the inverse of the highest degree."""
    highest = float(adjacency(graph).sum(1).max()) if graph.num_edges else 1.0
    return min(0.001, 0.5 / max(highest, 1.0))


HEURISTICS: dict[str, Callable[[Data, Tensor], np.ndarray]] = {
    "common_neighbours": common_neighbours, "adamic_adar": adamic_adar, "resource_allocation": resource_allocation,
    "ppr": ppr, "katz": katz}
