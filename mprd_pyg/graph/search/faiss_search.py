"""Neighbours by FAISS, with an exact search for what its answer leaves open."""
import logging

import torch
from torch import Tensor

from mprd_pyg.graph.search.device import DeviceSearch
from mprd_pyg.graph.search.exact import ExactSearch
from mprd_pyg.graph.search.flat import FlatSearch
from mprd_pyg.graph.search.indexes import filled_index
from mprd_pyg.graph.search.neighbours import Neighbours

log = logging.getLogger(__name__)


class FaissSearch:
    """Neighbours by ``faiss.knn`` or from an index.

    Args:
        exact: the exact search over the same database.
        metric: ``"cosine"`` or ``"l2"``.
        index: ``"Flat"``, ``"hnsw"``, ``"ivfpq"`` or a factory string.
        k: neighbours that will be asked for.
    """

    #: results asked for where a threshold may make all of them neighbours
    WIDTH = 64
    #: queries at a time, between which Ctrl-C is heard
    BATCH = 65_536

    def __init__(self, exact: ExactSearch | DeviceSearch, metric: str, index: str, k: int):
        self.exact, self.metric, self.is_flat = exact, metric, index == "Flat"
        if self.is_flat:
            self.index = FlatSearch(exact.database, metric)
            self.built_by = self.index.name
        else:
            self.index, self.built_by = filled_index(exact.database, index, metric, k), index

    def neighbours(self, queries: Tensor, own: Tensor, k: int, threshold: float | None = None,
                   k_max: int | None = None) -> Neighbours:
        """The neighbours of queries (Q, d), each without the database row ``own`` (Q,); -1 for none."""
        width = min(k + 2 if threshold is None else max(self.WIDTH, k + 2), len(self.exact.database))
        parts = []
        for part, place in zip(queries.split(self.BATCH), own.split(self.BATCH), strict=True):
            value, row = self.index.search(part.contiguous(), width)
            similarity = value if self.metric == "cosine" else -value.clamp(min=0)
            parts.append(complete(similarity, row, part, place, self.exact, k, threshold, k_max, self.is_flat))
        found = Neighbours.join(parts)
        found.built_by = self.built_by
        return found


def complete(similarity: Tensor, row: Tensor, queries: Tensor, own: Tensor, exact, k: int,
             threshold: float | None = None, k_max: int | None = None, is_exact: bool = False) -> Neighbours:
    """Neighbours from an index's answer; the queries that it leaves open are searched exactly.

    Open are those for which the index found fewer than k distinct rows other than the query's own, and those all of
    whose answers lie above the threshold, so that further ones may. Of an index that misses nothing, those are open
    too whose last neighbour is as similar as the last answer: a lower row may tie with it.

    Args:
        similarity, row: (Q, W) answers, best first; row -1 where none.
        queries: (Q, d).
        own: (Q,) the database row that each query leaves out; -1 for none.
        exact: the exact search over the same database.
        k, threshold, k_max: as of :class:`~mprd_pyg.graph.KNNGraph`.
        is_exact: the answers are the W most similar rows.
    """
    row, order = row.sort(dim=1)
    row[:, 1:] = torch.where(row[:, 1:] == row[:, :-1], -1, row[:, 1:])  # an index may repeat itself
    similarity, order = similarity.gather(1, order).sort(dim=1, descending=True, stable=True)
    row = row.gather(1, order)
    other = (row >= 0) & (row != own.unsqueeze(1))
    limit, wanted = torch.full_like(own, k), torch.zeros_like(own)
    if threshold is not None:
        wanted = 1 + (other & (similarity > threshold)).sum(1)
        limit = wanted.clamp(min=k, max=k_max)
    keep = other & (other.cumsum(1) <= limit.unsqueeze(1))
    done = keep.sum(1) == limit
    if is_exact:
        last = similarity.masked_fill(~keep, torch.inf).amin(1)
        done = done & (similarity[:, -1] < last) | (row.shape[1] == len(exact.database))
    keep &= done.unsqueeze(1)
    num_capped = 0 if k_max is None else int((wanted[done] > k_max).sum())
    found = Neighbours(keep.sum(1), row[keep], similarity[keep], num_capped)
    left = (~done).nonzero().flatten()
    if not len(left):
        return found
    log.info("%s of %s queries were left open by the index and searched exactly", f"{len(left):,}", f"{len(row):,}")
    rest = exact.neighbours(queries[left], own[left], k, threshold, k_max)
    owner = torch.cat([torch.repeat_interleave(found.count), left[torch.repeat_interleave(rest.count)]])
    order = owner.argsort(stable=True)
    return Neighbours(found.count.index_copy(0, left, rest.count), torch.cat([found.row, rest.row])[order],
                      torch.cat([found.similarity, rest.similarity])[order], num_capped + rest.num_capped)
