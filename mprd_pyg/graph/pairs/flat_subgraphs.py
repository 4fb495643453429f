"""Many pair subgraphs one after the other in flat tensors: as they are built, and packed to be kept."""
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Batch

from mprd_pyg.graph.neighbour_lists import ragged_arange


def cumulated(size: Tensor) -> Tensor:
    """(P,) sizes -> (P + 1,) starts."""
    return torch.cat([size.new_zeros(1), size.cumsum(0)])


class FlatSubgraphs(NamedTuple):
    """P pair subgraphs with n nodes and E edges in all, ready for a PyG batch: nodes are numbered from 0 to n - 1.

    Attributes:
        n_id: (n,) node of the graph.
        z: (n,) DRNL label.
        edge_index: (2, E).
        edge_ptr: (P + 1,) first edge of each subgraph.
        root_index: (P, 2) the nodes that are the pair itself.
        owner: (n,) subgraph of each node.
        ptr: (P + 1,) first node of each subgraph.
    """

    n_id: Tensor
    z: Tensor
    edge_index: Tensor
    edge_ptr: Tensor
    root_index: Tensor
    owner: Tensor
    ptr: Tensor

    def to(self, device: torch.device) -> "FlatSubgraphs":
        """The same on a device."""
        return FlatSubgraphs(*(tensor.to(device) for tensor in self))


@dataclass
class PackedSubgraphs:
    """P pair subgraphs to be kept: 32-bit integers, and the nodes numbered from 0 within each subgraph.

    Args:
        n_id: (n,) node of the graph.
        z: (n,) DRNL label.
        edge_index: (2, E).
        root_index: (P, 2).
        ptr: (P + 1,) first node of each subgraph, 64-bit.
        edge_ptr: (P + 1,) first edge of each subgraph, 64-bit.
        edge_attr: (E,) similarity along each edge, or None.
    """

    n_id: Tensor
    z: Tensor
    edge_index: Tensor
    root_index: Tensor
    ptr: Tensor
    edge_ptr: Tensor
    edge_attr: Tensor | None = None

    @classmethod
    def pack(cls, batch: Batch) -> "PackedSubgraphs":
        """Pack a batch of :class:`PairSubgraphs`.

        Raises:
            ValueError: its edges are not grouped by graph, or ``edge_attr`` is not (E,).
        """
        owner = batch.batch[batch.edge_index[0]]
        if bool((owner.diff() < 0).any()):
            raise ValueError("the batch's edges are not grouped by graph")
        edge_attr = batch.get("edge_attr")
        if edge_attr is not None and edge_attr.shape != owner.shape:
            raise ValueError(f"edge_attr must be one similarity per edge, got {tuple(edge_attr.shape)}")
        start = batch.ptr[:-1]
        return cls(batch.n_id.int(), batch.z.int(), (batch.edge_index - start[owner]).int(),
                   (batch.root_index - start[:, None]).int(), batch.ptr,
                   cumulated(torch.bincount(owner, minlength=len(start))), edge_attr)

    @classmethod
    def join(cls, parts: list["PackedSubgraphs"]) -> "PackedSubgraphs":
        """One after the other."""
        flat = (torch.cat([getattr(part, name) for part in parts], dim=-1) for name in ("n_id", "z", "edge_index"))
        ptr, edge_ptr = (cumulated(torch.cat([getattr(part, name).diff() for part in parts]))
                         for name in ("ptr", "edge_ptr"))
        edge_attr = None if parts[0].edge_attr is None else torch.cat([part.edge_attr for part in parts])
        return cls(*flat, torch.cat([part.root_index for part in parts]), ptr, edge_ptr, edge_attr)

    def __len__(self) -> int:
        return len(self.root_index)

    @property
    def nbytes(self) -> int:
        """Memory."""
        return 8 * (len(self.n_id) + self.edge_index.shape[1] + 3 * len(self))

    @property
    def pairs(self) -> Tensor:
        """(P, 2) the pairs themselves, as nodes of the graph."""
        return self.n_id[self.root_index + self.ptr[:-1, None]]

    def take(self, rows: Tensor) -> "PackedSubgraphs":
        """The subgraphs ``rows`` (B,), in this order."""
        start, edge_start = self.ptr[rows], self.edge_ptr[rows]
        size, edge_size = self.ptr[rows + 1] - start, self.edge_ptr[rows + 1] - edge_start
        node, edge = ragged_arange(start, size)[1], ragged_arange(edge_start, edge_size)[1]
        return PackedSubgraphs(self.n_id[node], self.z[node], self.edge_index[:, edge], self.root_index[rows],
                               cumulated(size), cumulated(edge_size),
                               None if self.edge_attr is None else self.edge_attr[edge])

    def unpack(self) -> FlatSubgraphs:
        """As they were built."""
        size, start = self.ptr.diff(), self.ptr[:-1]
        owner = torch.repeat_interleave(torch.arange(len(self), device=size.device), size)
        return FlatSubgraphs(self.n_id.long(), self.z.long(),
                             self.edge_index.long() + start.repeat_interleave(self.edge_ptr.diff()), self.edge_ptr,
                             self.root_index + start[:, None], owner, self.ptr)
