"""The exact kNN graph of an embedding file, searched part by part in any number of processes, from disk."""
import itertools
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data
from tqdm import tqdm

from mprd_pyg.files import replacing
from mprd_pyg.graph.search.embedding_file import EmbeddingFile
from mprd_pyg.graph.search.exact import Lists, compare_blocks, even_bounds, half_norms
from mprd_pyg.graph.search.neighbours import Neighbours

#: rows of a part are a sixty-fourth of all, and so many at least and at most, whatever the number of processes
FEWEST_ROWS, MOST_ROWS = 1024, 16_384
#: rows of the bank read at once: at least so many (fewer could round differently), at most where it does not fit
FEWEST_BLOCK, MOST_BLOCK = 1024, 65_536
OWN = re.compile(r"rows-\d+-\d+\.npz(\.part)?")


@dataclass(frozen=True)
class KNNParts:
    """Which parts there are, how one is searched, and how they are joined; a part is a block of query rows.

    A part's file is written whole or not at all, and says from which input and options it was made; what is of
    others, or damaged, is searched again. The parts do not depend on the number of processes, so that any number
    goes on where others stopped. Neighbours and their order are those of :class:`KNNGraph` with an exact search, and
    the similarities those of its kind ``"exact"``, bit for bit.

    Args:
        file: the matrix (N, d).
        folder: of the parts; no other search may use it meanwhile.
        k, metric, threshold, k_max: as of :class:`KNNGraph`.
        memory: bytes that a process may hold for rows and lists, its libraries aside: the bank is kept where it fits,
            and otherwise read anew for each part, block by block. A threshold without ``k_max`` has lists without
            bound.
        part_rows: at most so many rows in a part; by default a sixty-fourth of all, but 1,024 to 16,384. Products
            of fewer than 4 rows may be rounded differently in the last bit; from 7 on no part has so few.

    Raises:
        ValueError: not more rows than k, or too little memory for a part and a block.
    """

    file: EmbeddingFile
    folder: Path
    k: int = 8
    metric: str = "cosine"
    threshold: float | None = None
    k_max: int | None = None
    memory: int = 2 << 30
    part_rows: int | None = None

    def __post_init__(self):
        if self.total <= self.k:
            raise ValueError(f"k={self.k} neighbours were asked for, but a row of {self.file.path} has only "
                             f"{self.total - 1} others ({self.total} rows): lower k")
        if self.block_rows < min(FEWEST_BLOCK, self.total):
            least = self.part_bytes + min(FEWEST_BLOCK, self.total) * self.file.bytes_per_row
            raise ValueError(f"{self.memory / 2**30:.3g} GiB do not hold a part of {self.most_rows:,} rows and a block "
                             f"of the bank: give at least {least / 2**30:.3g} GiB")

    @property
    def total(self) -> int:
        """N."""
        return self.file.shape[0]

    @cached_property
    def bounds(self) -> list[int]:
        """First row of each part, then N."""
        rows = self.part_rows or min(max(-(-self.total // 64), FEWEST_ROWS), MOST_ROWS)
        return even_bounds(self.total, rows)

    @cached_property
    def most_rows(self) -> int:
        """Rows of the longest part."""
        return int(np.diff(self.bounds).max())

    @property
    def built_from(self) -> str:
        """The input and the options that decide about neighbours."""
        return (f"{self.file.identity()}; k={self.k}, metric={self.metric}, threshold={self.threshold}, "
                f"k_max={self.k_max}")

    @property
    def part_bytes(self) -> int:
        """Bytes of a part: its queries, its lists while they are sorted, and the products of a few threads."""
        lists = 64 * max(self.k, self.k_max or 0)
        return self.most_rows * (self.file.bytes_per_row + lists) + torch.get_num_threads() * (4 << 20)

    @property
    def fits(self) -> bool:
        """Whether a process may keep the whole bank."""
        block = min(MOST_BLOCK, self.total) * self.file.bytes_per_row
        return self.part_bytes + block + 4 * self.total * self.file.shape[1] <= self.memory

    @property
    def block_rows(self) -> int:
        """Rows of the bank read at once."""
        if self.fits:
            return min(MOST_BLOCK, self.total)
        return min(MOST_BLOCK, self.total, (self.memory - self.part_bytes) // self.file.bytes_per_row)

    def path(self, part: int) -> Path:
        """File of a part."""
        first, last = self.bounds[part:part + 2]
        return self.folder / f"rows-{first:012d}-{last:012d}.npz"

    def search(self, rank: int = 0, world_size: int = 1, progress: bool = False) -> int:
        """Search every part whose number leaves ``rank`` when divided by ``world_size``; returns how many were kept.

        Raises:
            ValueError: a row holds NaN or infinite values.
        """
        built_from = self.built_from
        own = range(rank, len(self.bounds) - 1, world_size)
        left = [part for part in own if self._read(part, built_from) is None]
        kept: list[Tensor] | None = [] if self.fits else None
        blocks = list(itertools.pairwise(even_bounds(self.total, self.block_rows)))
        self.folder.mkdir(parents=True, exist_ok=True)
        with tqdm(total=len(left) * len(blocks), desc=f"process {rank + 1} of {world_size}", unit="block", leave=False,
                  disable=None if progress and rank == 0 else True) as bar:
            for part in left:
                found = self._search_part(part, blocks, kept, bar)
                with replacing(self.path(part), sync=False) as file, open(file, "wb") as out:
                    np.savez(out, count=found.count.numpy(), row=found.row.numpy(), built_from=built_from,
                             similarity=found.similarity.numpy(), num_capped=found.num_capped)
        return len(own) - len(left)

    def _search_part(self, part: int, blocks: list[tuple[int, int]], kept: list[Tensor] | None,
                     bar: tqdm) -> Neighbours:
        first, last = self.bounds[part:part + 2]
        queries = self.file.rows(first, last, self.metric)
        half = None if self.metric == "cosine" else half_norms(queries, first)
        found = Lists(last - first, self.k, self.threshold, self.k_max, None if half is None else (half, half))
        for (left, right), block in zip(blocks, self._bank(blocks, kept), strict=True):
            own = np.arange(first, last) - left
            own[own >= right - left] = -1
            if half is not None:
                found.half = half, half_norms(block, left)
            compare_blocks(queries, block, np.arange(left, right), own, found)
            bar.update()
        return found.neighbours()

    def _bank(self, blocks: list[tuple[int, int]], kept: list[Tensor] | None) -> Iterator[Tensor]:
        """The blocks of the bank: from memory, where they were kept, or else from disk."""
        if kept:
            yield from kept
            return
        for left, right in blocks:
            block = self.file.rows(left, right, self.metric)
            if kept is not None:
                kept.append(block)
            yield block

    def _read(self, part: int, built_from: str) -> Neighbours | None:
        """A part that is complete and of this input; its archive's checksums are compared."""
        try:
            with np.load(self.path(part), allow_pickle=False) as file:
                if str(file["built_from"]) != built_from:
                    return None
                count, row, similarity = (torch.from_numpy(file[name]) for name in ("count", "row", "similarity"))
                found = Neighbours(count, row, similarity, int(file["num_capped"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        first, last = self.bounds[part:part + 2]
        return found if len(count) == last - first and int(count.sum()) == len(row) == len(similarity) else None

    def join(self) -> Data:
        """The graph, once all parts are there: the value of ``KNNGraph(...)(bank)``, and ``built_from``.

        Raises:
            ValueError: parts are missing, because a process ended early or the file was changed meanwhile.
        """
        built_from, found = self.built_from, []
        for part, (first, last) in enumerate(itertools.pairwise(self.bounds)):
            found.append(self._read(part, built_from))
            if found[-1] is None:
                raise ValueError(f"rows {first} ... {last - 1} were not searched: a process was stopped, or "
                                 f"{self.file.path} was changed meanwhile; run it again, it goes on from there")
        joined = Neighbours.join(found)
        return Data(edge_index=torch.stack([joined.row, torch.arange(self.total).repeat_interleave(joined.count)]),
                    edge_attr=joined.similarity, num_nodes=self.total, built_by=joined.built_by,
                    num_capped=joined.num_capped, built_from=built_from)

    def remove(self) -> None:
        """Remove the parts."""
        for path in [path for path in self.folder.iterdir() if OWN.fullmatch(path.name)]:
            path.unlink(missing_ok=True)
