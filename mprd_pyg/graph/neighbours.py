"""Neighbour lists (compressed rows) of any PyG graph, and ragged gathers from them."""
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data


def ragged_arange(start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Concatenate the ranges ``start[a] ... start[a] + length[a] - 1``.

    Returns:
        owner (S,), the a of each entry, and position (S,), the entry itself.
    """
    owner = torch.repeat_interleave(torch.arange(len(start), device=start.device), length)
    before = torch.cumsum(length, 0) - length
    return owner, torch.arange(len(owner), device=start.device) - before[owner] + start[owner]


@dataclass(frozen=True)
class NeighbourLists:
    """NN(i) of every node: the sources of its incoming edges, sorted, without i itself or repeats.

    Args:
        ptr: (N + 1,) where each node's list starts.
        neighbour: (E,) the lists, one after the other.
    """

    ptr: Tensor
    neighbour: Tensor

    @classmethod
    def from_graph(cls, graph: Data) -> "NeighbourLists":
        """Read them from ``edge_index`` (row 0 neighbour, row 1 node)."""
        num_nodes = graph.num_nodes
        source, node = graph.edge_index
        if source.numel() and (int(graph.edge_index.min()) < 0 or int(graph.edge_index.max()) >= num_nodes):
            raise ValueError(f"edge_index names nodes outside 0 ... {num_nodes - 1}")
        key = unique_keys((node * num_nodes + source)[source != node])
        node = torch.div(key, max(num_nodes, 1), rounding_mode="floor")
        ptr = torch.zeros(num_nodes + 1, dtype=torch.long, device=key.device)
        ptr[1:] = torch.bincount(node, minlength=num_nodes).cumsum(0)
        return cls(ptr, key - node * num_nodes)

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.ptr) - 1

    def gather(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Lists of ``nodes`` (A,) -> owner (S,), the position in ``nodes``, and neighbour (S,)."""
        start = self.ptr[nodes]
        owner, position = ragged_arange(start, self.ptr[nodes + 1] - start)
        return owner, self.neighbour[position]

    def contains(self, node: Tensor, neighbour: Tensor) -> Tensor:
        """Whether ``neighbour`` (S,) stands in NN(``node`` (S,)), element by element."""
        owner = torch.repeat_interleave(torch.arange(self.num_nodes, device=self.ptr.device), self.ptr.diff())
        return contains_sorted(owner * self.num_nodes + self.neighbour, node * self.num_nodes + neighbour)


def sort_keys(keys: Tensor) -> Tensor:
    """Ascending integer keys; on the host by NumPy, whose sort of values is many times faster than torch's."""
    return torch.from_numpy(np.sort(keys.numpy())) if keys.device.type == "cpu" else keys.sort().values


def unique_keys(keys: Tensor) -> Tensor:
    """Ascending integer keys without repeats."""
    keys = sort_keys(keys)
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    return keys[first]


def contains_sorted(keys: Tensor, wanted: Tensor) -> Tensor:
    """Which of ``wanted`` (S,) occur in the ascending ``keys``."""
    if keys.numel() == 0:
        return torch.zeros_like(wanted, dtype=torch.bool)
    place = torch.searchsorted(keys, wanted).clamp(max=keys.numel() - 1)
    return keys[place] == wanted
