"""Neighbour lists of several branches over the same images."""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph import NeighbourLists


@dataclass(frozen=True)
class BranchLists(NeighbourLists):
    """The union of M branches' lists over T images, and each branch's own.

    Args:
        ptr: (T + 1,) of the union: j is a neighbour of i in any branch.
        neighbour: (E,) of the union.
        branches: the M branches' lists.
    """

    branches: tuple[NeighbourLists, ...]

    @classmethod
    def from_graphs(cls, graphs: Sequence[Data]) -> "BranchLists":
        """Read them from M graphs over the same nodes."""
        union = NeighbourLists.from_graph(Data(edge_index=torch.cat([g.edge_index for g in graphs], dim=1),
                                               num_nodes=graphs[0].num_nodes))
        return cls(union.ptr, union.neighbour, tuple(NeighbourLists.from_graph(g) for g in graphs))

    def side_by_side(self) -> NeighbourLists:
        """One graph of M separate components: image i of branch m is node m T + i."""
        total = self.num_nodes
        starts = torch.tensor([0, *(len(part.neighbour) for part in self.branches)]).cumsum(0).tolist()
        ptr = [part.ptr[:-1] + start for part, start in zip(self.branches, starts, strict=False)]
        last = self.ptr.new_tensor(starts[-1:])
        return NeighbourLists(torch.cat([*ptr, last]), torch.cat(
            [part.neighbour + m * total for m, part in enumerate(self.branches)]))


def in_each_branch(pairs: Tensor, branches: int, total: int) -> Tensor:
    """Pairs (P, 2) of images as pairs (M P, 2) of the nodes of :meth:`BranchLists.side_by_side`, branch by branch."""
    shift = total * torch.arange(branches, device=pairs.device)
    return (pairs + shift.view(-1, 1, 1)).flatten(0, 1)
