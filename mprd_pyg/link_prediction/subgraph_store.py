"""Pair subgraphs of many pairs, built once and handed out in any batches, without a loop over pairs."""
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Batch
from tqdm import tqdm

from mprd_pyg.graph import NeighbourLists, PairSubgraphs
from mprd_pyg.graph.neighbour_lists import ragged_arange
from mprd_pyg.graph.pairs.subgraphs import pair_batch


@dataclass
class Flat:
    """Subgraphs one after the other; node and edge numbers count within each subgraph.

    Args:
        n_id, z: (n,) node of the graph and DRNL label.
        edge_index: (2, E).
        root_index: (P, 2).
        ptr, edge_ptr: (P + 1,) first node and edge of each subgraph.
    """

    n_id: Tensor
    z: Tensor
    edge_index: Tensor
    root_index: Tensor
    ptr: Tensor
    edge_ptr: Tensor

    @classmethod
    def of(cls, batch: Batch) -> "Flat":
        """Of a built batch, in 32-bit integers."""
        edge_ptr = batch._slice_dict["edge_index"]
        start = batch.ptr[:-1]
        local = batch.edge_index - start.repeat_interleave(edge_ptr.diff())
        return cls(batch.n_id.int(), batch.z.int(), local.int(), (batch.root_index - start.unsqueeze(1)).int(),
                   batch.ptr, edge_ptr)

    @classmethod
    def joined(cls, parts: list["Flat"]) -> "Flat":
        """One after the other."""
        def pointers(name: str) -> Tensor:
            sizes = torch.cat([getattr(part, name).diff() for part in parts])
            return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        flat = (torch.cat([getattr(part, name) for part in parts], dim=-1) for name in ("n_id", "z", "edge_index"))
        return cls(*flat, torch.cat([part.root_index for part in parts]), pointers("ptr"), pointers("edge_ptr"))

    @property
    def nbytes(self) -> int:
        """Memory."""
        return 8 * (len(self.n_id) + self.edge_index.shape[1] + 3 * len(self.root_index))

    def batch(self, rows: Tensor) -> Batch:
        """The subgraphs ``rows`` (B,), in this order."""
        size, edge_size = self.ptr.diff()[rows], self.edge_ptr.diff()[rows]
        owner, node = ragged_arange(self.ptr[rows], size)
        _, edge = ragged_arange(self.edge_ptr[rows], edge_size)
        ptr = torch.cat([size.new_zeros(1), size.cumsum(0)])
        edge_ptr = torch.cat([size.new_zeros(1), edge_size.cumsum(0)])
        edge_index = self.edge_index[:, edge].long() + ptr[:-1].repeat_interleave(edge_size)
        return pair_batch(self.n_id[node].long(), self.z[node].long(), edge_index, edge_ptr,
                          self.root_index[rows].long() + ptr[:-1].unsqueeze(1), owner, ptr)


class SubgraphStore:
    """Subgraphs of the pairs of one observed graph.

    Args:
        subgraphs: how they are cut out.
        lists: the observed graph.
        pairs: (P, 2).
        memory_gb: built once and kept where they fit into this much memory; otherwise each batch is built when asked.
        chunk: bytes of subgraphs built together, about.
        progress: name of the progress bar, "" for none.
        statistics: (P, F) columns of the pairs, which go with the batches; None for none.
    """

    def __init__(self, subgraphs: PairSubgraphs, lists: NeighbourLists, pairs: Tensor, memory_gb: float = 1.0,
                 chunk: int = 2 ** 24, progress: str = "", statistics: Tensor | None = None):
        self.subgraphs, self.lists, self.pairs, self.statistics = subgraphs, lists, pairs, statistics
        self.flat: Flat | None = None
        self.memory, self.chunk, self.progress = memory_gb * 2 ** 30, chunk, progress
        if memory_gb > 0:
            self._build()

    def _build(self) -> None:
        parts, used, done, count = [], 0, 0, 16
        with tqdm(total=len(self), desc=self.progress, leave=False, disable=None if self.progress else True) as bar:
            while done < len(self):
                parts.append(Flat.of(self.subgraphs(self.lists, self.pairs[done:done + count])))
                used += parts[-1].nbytes
                bar.update(min(count, len(self) - done))
                done += count
                if used > self.memory / 2:  # joining needs as much again
                    return
                count = min(8 * count, 1 + int(self.chunk * done / used))
        self.flat = Flat.joined(parts)

    def sizes_and_labels(self, sample: int = 1000) -> tuple[Tensor, int]:
        """Node counts (P,) and the highest DRNL label: of all subgraphs if kept, else of an even sample."""
        if self.flat is not None:
            return self.flat.ptr.diff(), int(self.flat.z.max())
        rows = torch.arange(0, len(self), max(1, len(self) // sample))
        seen = [(batch.ptr.diff(), int(batch.z.max())) for batch in map(self.batch, rows.split(16))]
        return torch.cat([size for size, _ in seen]), max(label for _, label in seen)

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, rows: Tensor) -> Batch:
        """The subgraphs of pairs ``rows`` (B,)."""
        batch = self.subgraphs(self.lists, self.pairs[rows]) if self.flat is None else self.flat.batch(rows)
        if self.statistics is not None:
            batch.statistics = self.statistics[rows]
        return batch
