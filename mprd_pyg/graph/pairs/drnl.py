"""Double-radius node labels of many pair subgraphs at once."""
import torch
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
    d = first + second
    half = torch.div(d, 2, rounding_mode="floor")
    z = 1 + torch.minimum(first, second) + half * (half + d % 2 - 1)
    z[(first < 0) | (second < 0)] = 0
    z[root_index.flatten()] = 1
    return z


def _distances(edge_index: Tensor, source: Tensor, removed: Tensor, num_nodes: int) -> Tensor:
    """Level-synchronous breadth-first search in all subgraphs together; -1 where out of reach."""
    distance = edge_index.new_full((num_nodes,), -1)
    distance[source] = 0
    gone = torch.zeros(num_nodes, dtype=torch.bool, device=edge_index.device)
    gone[removed] = True
    tail, head = edge_index[:, ~(gone[edge_index[0]] | gone[edge_index[1]])]
    level = 0
    while tail.numel():
        reached = head[distance[tail] == level]
        reached = reached[distance[reached] < 0]
        if not reached.numel():
            break
        level += 1
        distance[reached] = level
        open_ = distance[head] < 0  # an edge into a labelled node is of no further use
        tail, head = tail[open_], head[open_]
    return distance
