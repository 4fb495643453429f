"""Pair subgraphs of many pairs, built once and handed out in any batches, without a loop over pairs."""
import torch
from torch import Tensor
from torch_geometric.data import Batch
from tqdm import tqdm

from mprd_pyg.graph import NeighbourLists, PairSubgraphs
from mprd_pyg.graph.pairs.flat_subgraphs import PackedSubgraphs
from mprd_pyg.graph.pairs.subgraphs import pair_batch


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
        label: (P,) 1 for links, 0 for pairs without one, where that is known.
    """

    def __init__(self, subgraphs: PairSubgraphs, lists: NeighbourLists, pairs: Tensor, memory_gb: float = 1.0,
                 chunk: int = 2 ** 24, progress: str = "", statistics: Tensor | None = None,
                 label: Tensor | None = None):
        self.subgraphs, self.lists, self.pairs = subgraphs, lists, pairs
        self.statistics, self.label = statistics, label
        self.flat: PackedSubgraphs | None = None
        self.memory, self.chunk, self.progress = memory_gb * 2 ** 30, chunk, progress
        if memory_gb > 0:
            self._build()

    def _build(self) -> None:
        parts, used, done, count = [], 0, 0, 16
        with tqdm(total=len(self), desc=self.progress, leave=False, disable=None if self.progress else True) as bar:
            while done < len(self):
                parts.append(PackedSubgraphs.pack(self.subgraphs(self.lists, self.pairs[done:done + count])))
                used += parts[-1].nbytes
                bar.update(min(count, len(self) - done))
                done += count
                if used > self.memory / 2:  # joining needs as much again
                    return
                count = min(8 * count, 1 + int(self.chunk * done / used))
        self.flat = PackedSubgraphs.join(parts)

    def sizes_and_labels(self) -> tuple[Tensor, int]:
        """Node counts (P,) and the highest DRNL label: of all subgraphs if kept, else of an even thousand."""
        if self.flat is not None:
            return self.flat.ptr.diff(), int(self.flat.z.max())
        rows = torch.arange(0, len(self), max(1, len(self) // 1000))
        seen = [(batch.ptr.diff(), int(batch.z.max())) for batch in map(self.batch, rows.split(16))]
        return torch.cat([size for size, _ in seen]), max(label for _, label in seen)

    def __len__(self) -> int:
        return len(self.pairs)

    def batch(self, rows: Tensor) -> Batch:
        """The subgraphs of pairs ``rows`` (B,)."""
        batch = (self.subgraphs(self.lists, self.pairs[rows]) if self.flat is None
                 else pair_batch(self.flat.take(rows).unpack()))
        if self.statistics is not None:
            batch.statistics = self.statistics[rows]
        return batch
