"""Exact neighbour search among rows that are shared out over the processes."""
import torch
from torch import Tensor

from mprd_pyg import processes
from mprd_pyg.graph.search.nearest import NearestSearch
from mprd_pyg.graph.search.neighbours import Neighbours
from mprd_pyg.sharded_rows import ShardedRows

QUERIES = 4096  # that all processes search at once
MERGED = 8      # answers that are kept beside each other, which bounds the memory
NARROW = 16     # fewer columns go through another kernel, which rounds in another order


class ShardedSearch:
    """The neighbours that :class:`NearestSearch` finds exactly: each process searches its rows, the best are merged.

    Args:
        database: (N, d); for ``"cosine"`` unit vectors.
        metric: ``"cosine"`` or ``"l2"``.
        index: ``"Flat"``, ``"exact"`` or ``"auto"``.

    Raises:
        ValueError: an approximate index.
    """

    approximate = False

    def __init__(self, database: ShardedRows, metric: str = "cosine", index: str = "Flat"):
        if index not in ("Flat", "exact", "auto"):
            raise ValueError(f"a sharded memory is searched exactly, not by the index {index!r}: use 'Flat', or "
                             f"--memory replicated")
        self.database, self.metric = database, metric

    def neighbours(self, queries: Tensor | ShardedRows | None, own: Tensor | None, k: int,
                   threshold: float | None = None, k_max: int | None = None, camera: Tensor | None = None,
                   same: bool = True) -> Neighbours:
        """Neighbours of each query, as of :meth:`NearestSearch.neighbours`.

        Args:
            queries: (Q, d); None for the rows ``own``, and those of all rows where that is None too.
            own: (Q,) the row that each query must leave out; None for none.
            k, threshold, k_max: how many.
            camera: (N,) of each row, where queries are rows: only rows of the query's own camera are neighbours, or
                without ``same`` only those of all others.
        """
        device, parts = self.database.device, []
        if queries is None:
            own = torch.arange(len(self.database), device=device) if own is None else own.to(device)
        count = len(own) if queries is None else len(queries)
        for number in torch.arange(count, device=device).split(QUERIES):
            place = torch.full_like(number, -1) if own is None else own[number]
            x = self.database[place] if queries is None else queries[number]
            found = self._blocks(x, place, k, threshold, k_max, camera, same)
            sizes = processes.all_gather(found.count)
            total = [int(size.sum()) for size in sizes]
            row, similarity = (processes.gather(part, total) for part in (found.row, found.similarity))
            parts.append(merged([Neighbours(*part) for part in zip(
                sizes, row.split(total), similarity.split(total), strict=True)], k, threshold, k_max))
        return Neighbours.join(parts)

    def _blocks(self, x: Tensor, own: Tensor, k: int, threshold: float | None, k_max: int | None,
                camera: Tensor | None, same: bool) -> Neighbours:
        """Among the own rows, block by block."""
        none = own.new_zeros(0)
        parts = [Neighbours(torch.zeros_like(own), none, torch.zeros(0, dtype=torch.float32, device=own.device))]
        for first, rows in self.database.blocks():
            if len(parts) >= MERGED:
                parts = [merged(parts, k, threshold, k_max)]
            if camera is None:
                parts.append(search(x, own - first, rows, torch.arange(len(rows), device=own.device) + first,
                                    self.metric, k, threshold, k_max))
                continue
            here = camera[first:first + len(rows)]
            for name in here.unique():
                asked = ((camera[own] == name) == same).nonzero().flatten()
                columns = (here == name).nonzero().flatten()
                if not len(asked):
                    continue
                place = torch.full((len(rows),), -1, device=own.device)
                place[columns] = torch.arange(len(columns), device=own.device)
                inside = (own[asked] >= first) & (own[asked] < first + len(rows))
                mine = torch.where(inside, place[(own[asked] - first).clamp(0, len(rows) - 1)], -1)
                found = search(x[asked], mine, rows[columns], columns + first, self.metric, k, threshold, k_max)
                found.count = torch.zeros_like(own).index_copy(0, asked, found.count)
                parts.append(found)
        return merged(parts, k, threshold, k_max)


def search(x: Tensor, own: Tensor, rows: Tensor, number: Tensor, metric: str, k: int, threshold: float | None,
           k_max: int | None) -> Neighbours:
    """Neighbours of queries (Q, d) among ``rows`` (n, d), known by ``number`` (n,); ``own`` (Q,) is left out."""
    count, padding = len(rows), max(0, NARROW - len(rows))
    rows = torch.cat([rows, rows.new_zeros(padding, rows.shape[1])]) if padding else rows
    own = torch.where((own >= 0) & (own < count), own, -1)
    found = NearestSearch(rows, metric, "exact").neighbours(
        x, own, k + padding, threshold, None if k_max is None else k_max + padding)
    real = found.row < count
    query = torch.arange(len(x), device=own.device).repeat_interleave(found.count)[real]
    return Neighbours(torch.bincount(query, minlength=len(x)), number[found.row[real]], found.similarity[real])


def merged(parts: list[Neighbours], k: int, threshold: float | None = None, k_max: int | None = None) -> Neighbours:
    """The best of what was found for the same queries among different rows, by similarity, then by the lower row."""
    count = torch.stack([part.count for part in parts]).sum(0)
    query = torch.cat([torch.arange(len(count), device=count.device).repeat_interleave(part.count) for part in parts])
    row, similarity = (torch.cat([getattr(part, name) for part in parts]) for name in ("row", "similarity"))
    order = row.argsort(stable=True)
    order = order[similarity[order].argsort(descending=True, stable=True)]
    order = order[query[order].argsort(stable=True)]
    query, row, similarity = query[order], row[order], similarity[order]
    limit = torch.full_like(count, k)
    wanted = torch.zeros_like(count)
    if threshold is not None:
        wanted = 1 + torch.bincount(query[similarity > threshold], minlength=len(count))
        limit = wanted.clamp(min=k, max=k_max)
    rank = torch.arange(len(query), device=query.device) - (count.cumsum(0) - count)[query]
    keep = rank < limit[query]
    num_capped = 0 if k_max is None else int((wanted > k_max).sum())
    return Neighbours(torch.minimum(count, limit), row[keep], similarity[keep], num_capped)
