"""Double-radius node labels of many pair subgraphs at once."""
import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra
from torch import Tensor


def drnl(edge_index: Tensor, root_index: Tensor, num_nodes: int | None = None) -> Tensor:
    r"""Double-radius node labelling (Zhang & Chen, NeurIPS 2018) of a flat batch of subgraphs.

    :math:`z = 1 + \min(d_i, d_j) + \lfloor d/2 \rfloor (\lfloor d/2 \rfloor + d \bmod 2 - 1)` with
    :math:`d = d_i + d_j`, where :math:`d_i` is the distance to root i with root j removed, and
    :math:`d_j` the reverse. The roots have label 1; nodes that do not reach both roots have 0.

    Args:
        edge_index: (2, E) edges in both directions, the subgraphs being disconnected from each other.
        root_index: (P, 2) the two roots of each subgraph.
        num_nodes: n, over all subgraphs.

    Returns:
        (n,) integer labels.
    """
    if num_nodes is None:
        num_nodes = 1 + int(torch.cat([root_index.flatten(), edge_index.flatten()]).max())
    first = _distances(edge_index, root_index[:, 0], root_index[:, 1], num_nodes)
    second = _distances(edge_index, root_index[:, 1], root_index[:, 0], num_nodes)
    z, reached = np.zeros(num_nodes), np.isfinite(first + second)
    first, second = first[reached], second[reached]
    d = first + second
    z[reached] = 1 + np.minimum(first, second) + d // 2 * (d // 2 + d % 2 - 1)
    z[root_index.flatten().cpu().numpy()] = 1
    return torch.from_numpy(z).to(edge_index)


def _distances(edge_index: Tensor, source: Tensor, removed: Tensor, num_nodes: int) -> np.ndarray:
    """(n,) steps from the source of the own subgraph, without the removed nodes; infinite where out of reach."""
    tail, head = edge_index[:, ~torch.isin(edge_index, removed).any(0)].cpu().numpy()
    links = csr_matrix((np.ones(len(tail)), (tail, head)), (num_nodes, num_nodes))
    return dijkstra(links, indices=source.cpu().numpy(), unweighted=True, min_only=True)
