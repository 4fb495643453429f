"""Neighbour lists (compressed rows) of any PyG graph, and ragged gathers from them."""
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.random_streams import splitmix64


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

    def capped(self, limit: int | None, seed: int = 0) -> "NeighbourLists":
        """At most ``limit`` neighbours of each node, drawn by (seed, node, neighbour), on every device alike.

        The choice depends on nothing else, so that a node keeps its neighbours whatever is asked beside it, and a
        longer list gains neighbours without changing the order of preference of the old ones.
        """
        if limit is None or not len(self.neighbour) or int(self.ptr.diff().max()) <= limit:
            return self
        if (limit, seed) not in self._capped:
            self._capped[limit, seed] = self._cap(limit, seed)
        return self._capped[limit, seed]

    def _cap(self, limit: int, seed: int) -> "NeighbourLists":
        degree = self.ptr.diff()
        long = (degree > limit).nonzero().flatten()
        owner, position = ragged_arange(self.ptr[long], degree[long])
        preference = splitmix64(splitmix64(splitmix64(long.new_tensor(seed)) + long[owner]) + self.neighbour[position])
        order = preference.argsort(stable=True)
        order = order[owner[order].argsort(stable=True)]  # by node, then by preference
        rank = position - self.ptr[long][owner]
        keep = torch.ones_like(self.neighbour, dtype=torch.bool)
        keep[position[order[rank >= limit]]] = False
        ptr = torch.zeros_like(self.ptr)
        ptr[1:] = degree.clamp(max=limit).cumsum(0)
        return NeighbourLists(ptr, self.neighbour[keep])

    @cached_property
    def _capped(self) -> dict:
        return {}

    @cached_property
    def both_ways(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The undirected lists, on the host: ptr (N + 1,), neighbour (S,) sorted, and which way each stands.

        The way of entry v of node u has bit 1 where v is in NN(u), and bit 2 where u is in NN(v).
        """
        one = np.ones(len(self.neighbour), np.int8)
        there = csr_matrix((one, self.neighbour.cpu().numpy(), self.ptr.cpu().numpy()), (self.num_nodes,) * 2)
        both = there + 2 * there.T.tocsr()
        return both.indptr.astype(np.int64), both.indices.astype(np.int64), both.data

    @cached_property
    def on_host(self) -> "NeighbourLists":
        """The same lists in the host's memory."""
        return self if self.ptr.device.type == "cpu" else NeighbourLists(self.ptr.cpu(), self.neighbour.cpu())

    def reached(self, nodes: Tensor, hops: int) -> Tensor:
        """(N,) bool: ``nodes`` and everything within ``hops`` steps over the lists."""
        found = torch.zeros(self.num_nodes, dtype=torch.bool, device=self.ptr.device)
        found[nodes] = True
        frontier = found.nonzero().flatten()
        for _ in range(hops):
            new = torch.zeros_like(found)
            new[self.gather(frontier)[1]] = True
            frontier = (new & ~found).nonzero().flatten()
            found |= new
        return found

    def contains(self, node: Tensor, neighbour: Tensor) -> Tensor:
        """Whether ``neighbour`` (S,) stands in NN(``node`` (S,)), element by element."""
        owner = torch.repeat_interleave(torch.arange(self.num_nodes, device=self.ptr.device), self.ptr.diff())
        return torch.isin(node * self.num_nodes + neighbour, owner * self.num_nodes + self.neighbour)


def unique_keys(keys: Tensor) -> Tensor:
    """Ascending integer keys without repeats; on the host by NumPy, whose sort is many times faster than torch's."""
    return torch.from_numpy(np.unique(keys.numpy())) if keys.device.type == "cpu" else keys.unique()
