"""The two ways to build pair subgraphs flat: compiled loops on the host, tensor operations on any device.

Both return equal :class:`FlatSubgraphs`.
"""
import numpy as np
import torch
from torch import Tensor

from mprd_pyg.graph.neighbour_lists import NeighbourLists, contains_sorted, sort_keys, unique_keys
from mprd_pyg.graph.pairs.drnl import drnl
from mprd_pyg.graph.pairs.flat_subgraphs import FlatSubgraphs, cumulated
from mprd_pyg.graph.pairs.kernels import star_fill, star_sizes, walk_fill, walk_sizes
from mprd_pyg.graph.threads import in_threads


class CompiledBuilder:
    """Compiled loops over pairs, in as many threads as torch may use. For tensors on the host.

    Args:
        walk: lists over which the neighbourhood is walked.
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


class TensorBuilder:
    """The same by tensor operations without a Python loop over pairs, on the tensors' own device.

    Args:
        walk: lists over which the neighbourhood is walked.
        whole: lists from which the induced edges are read; None keeps the edges walked.
        hops: steps from the roots.
    """

    def __init__(self, walk: NeighbourLists, whole: NeighbourLists | None, hops: int):
        self.walk, self.whole, self.hops = walk, whole, hops

    def sizes(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Upper bounds of the nodes (P,) and edges (P,): lists read twice are counted twice."""
        reads = self._reads(self.walk, self.hops)[pairs].sum(1)
        if self.whole is None:
            return 2 + reads, 2 * reads
        return 2 + reads, 2 * (self._reads(self.walk, self.hops, self.whole.ptr.diff())[pairs].sum(1))

    @staticmethod
    def _reads(lists: NeighbourLists, hops: int, at_node: Tensor | None = None) -> Tensor:
        """(N,) list entries read in ``hops`` steps from each node, or the sum of ``at_node`` over what was read."""
        degree = lists.ptr.diff()
        own = torch.ones_like(degree) if at_node is None else at_node
        owner = torch.repeat_interleave(torch.arange(len(degree), device=degree.device), degree)
        total = own
        for _ in range(hops):
            total = own + torch.zeros_like(own).index_add_(0, owner, total[lists.neighbour])
        return total if at_node is not None else total - 1

    def __call__(self, pairs: Tensor, sizes: tuple[Tensor, Tensor] | None = None) -> FlatSubgraphs:
        """Build pairs (P, 2); the bounds ``sizes`` are of no use here."""
        nodes, edges = self._walk(pairs)
        if self.whole is not None:
            total = self.whole.num_nodes
            owner, neighbour = self.whole.gather(nodes % total)
            other = nodes[owner] - nodes[owner] % total + neighbour
            inside = contains_sorted(nodes, other)
            edges = torch.stack([other[inside], nodes[owner[inside]]])
        return self._assemble(pairs, nodes, edges)

    def _walk(self, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Keys pair * N + node: the nodes found (n,), sorted, and the edges walked (2, S)."""
        total = self.walk.num_nodes
        frontier = (torch.arange(len(pairs), device=pairs.device).unsqueeze(1) * total + pairs).flatten()
        nodes, walked = sort_keys(frontier), []
        for hop in range(self.hops):
            owner, neighbour = self.walk.gather(frontier % total)
            tail = frontier[owner]
            head = tail - tail % total + neighbour
            walked.append(torch.stack([head, tail]))
            known, nodes = nodes, unique_keys(torch.cat([nodes, head]))
            if hop + 1 < self.hops:
                frontier = nodes[~contains_sorted(known, nodes)]
        return nodes, torch.cat(walked, dim=1)

    def _assemble(self, pairs: Tensor, nodes: Tensor, edges: Tensor) -> FlatSubgraphs:
        total, count = self.walk.num_nodes, len(pairs)
        roots = torch.arange(count, device=pairs.device).unsqueeze(1) * total + pairs
        root_index = torch.searchsorted(nodes, roots)
        edges = torch.searchsorted(nodes, edges)
        owner = torch.div(nodes, total, rounding_mode="floor")
        is_root = torch.zeros(len(nodes), dtype=torch.bool, device=pairs.device)
        is_root[root_index.flatten()] = True
        edges = edges[:, ~(is_root[edges[0]] & is_root[edges[1]])]
        simple = self.whole is None and self.hops == 1
        edges = torch.cat([edges, edges.flip(0)], dim=1)
        # Sorted by node; a double star has no edge twice, any other walk may.
        key = edges[1] * len(nodes) + edges[0]
        key = sort_keys(key) if simple else unique_keys(key)
        head = torch.div(key, max(len(nodes), 1), rounding_mode="floor")
        edge_index = torch.stack([key - head * len(nodes), head])
        if simple:  # only 0, 1 and 2 can occur: a common neighbour hangs on both roots
            degree = torch.bincount(head, minlength=len(nodes))
            z = torch.where(degree == 2, 2, 0)
            z[root_index.flatten()] = 1
        else:
            z = drnl(edge_index, root_index, len(nodes))
        ptr = cumulated(torch.bincount(owner, minlength=count))
        edge_ptr = torch.searchsorted(head, ptr)
        return FlatSubgraphs(nodes - owner * total, z, edge_index, edge_ptr, root_index, owner, ptr)
