"""Pair subgraphs built flat, by compiled loops on the host."""
import numpy as np
import torch
from torch import Tensor

from mprd_pyg.graph.neighbour_lists import NeighbourLists
from mprd_pyg.graph.pairs.flat_subgraphs import FlatSubgraphs, cumulated
from mprd_pyg.graph.pairs.kernels import star_fill, star_sizes, walk_fill, walk_sizes
from mprd_pyg.graph.threads import in_threads


class SubgraphBuilder:
    """Compiled loops over pairs, in as many threads as torch may use.

    Args:
        walk: lists, on the host, over which the neighbourhood is walked.
        whole: lists from which the induced edges are read; None keeps the edges walked.
        hops: steps from the roots.
    """

    def __init__(self, walk: NeighbourLists, whole: NeighbourLists | None, hops: int):
        self.lists = walk.ptr.numpy(), walk.neighbour.numpy()
        self.star, self.hops = whole is None and hops == 1, hops
        self.both = () if self.star else (walk if whole is None else whole).both_ways
        self.walked = hops if whole is None else 0

    def sizes(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes (P,) and edges (P,) of each subgraph of pairs (P, 2)."""
        nodes, edges = np.empty(len(pairs), np.int64), np.empty(len(pairs), np.int64)
        asked = pairs.numpy()

        def work(start, stop):
            if self.star:
                star_sizes(*self.lists, asked, start, stop, nodes, edges)
            else:
                walk_sizes(*self.lists, *self.both, self.hops, self.walked, asked, start, stop, self._scratch(), nodes,
                           edges)
        in_threads(work, len(pairs), least=1024 if self.star else 64)
        return torch.from_numpy(nodes), torch.from_numpy(edges)

    def __call__(self, pairs: Tensor, sizes: tuple[Tensor, Tensor] | None = None) -> FlatSubgraphs:
        """Build pairs (P, 2), whose ``sizes`` are known or not."""
        ptr, edge_ptr = (cumulated(size) for size in (self.sizes(pairs) if sizes is None else sizes))
        n_id, z, owner = (torch.empty(int(ptr[-1]), dtype=torch.long) for _ in range(3))
        edge_index, root_index = torch.empty(2, int(edge_ptr[-1]), dtype=torch.long), torch.empty_like(pairs)
        asked, starts = pairs.numpy(), (ptr.numpy(), edge_ptr.numpy())
        out = [tensor.numpy() for tensor in (n_id, z, owner, edge_index[0], edge_index[1], root_index)]

        def work(start, stop):
            if self.star:
                star_fill(*self.lists, asked, *starts, start, stop, *out)
            else:
                walk_fill(*self.lists, *self.both, self.hops, self.walked, asked, *starts, start, stop,
                          self._scratch(), self._scratch(), *out)
        in_threads(work, len(pairs), least=1024 if self.star else 64)
        return FlatSubgraphs(n_id, z, edge_index, edge_ptr, root_index, owner, ptr)

    def _scratch(self) -> np.ndarray:
        return np.zeros(len(self.lists[0]) - 1, np.int32)  # given by the system page by page, when first touched
