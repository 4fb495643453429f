"""Neighbours by FAISS, with an exact search for what its answer leaves open."""
import logging
from dataclasses import replace

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
    #: how wrong a product of unit vectors may be, halved; FAISS's also depends on where in a block it stands
    ROUNDING = 1e-6

    def __init__(self, exact: ExactSearch | DeviceSearch, metric: str, index: str, k: int):
        self.exact, self.metric, database = exact, metric, exact.database
        self.is_flat = index == "Flat"
        self.index = FlatSearch(database, metric) if self.is_flat else filled_index(database, index, metric, k)
        self.built_by = self.index.name if self.is_flat else index
        self.norm = torch.linalg.vector_norm(database, dim=1).max()

    def neighbours(self, queries: Tensor, own: Tensor, k: int, threshold: float | None = None,
                   k_max: int | None = None) -> Neighbours:
        """The neighbours of queries (Q, d), each without the database row ``own`` (Q,); -1 for none."""
        width = min(k + 2 if threshold is None else max(self.WIDTH, k + 2), len(self.exact.database))
        parts = []
        for part, place in zip(queries.split(self.BATCH), own.split(self.BATCH), strict=True):
            value, row = self.index.search(part.contiguous(), width)
            similarity = value if self.metric == "cosine" else -value.clamp(min=0)
            norm = torch.linalg.vector_norm(part, dim=1)
            rounding = self.ROUNDING * (norm ** 2 + self.norm ** 2) if self.is_flat else None
            parts.append(complete(similarity, row, part, place, self.exact, k, threshold, k_max, rounding))
        return replace(Neighbours.join(parts), built_by=self.built_by)


def complete(similarity: Tensor, row: Tensor, queries: Tensor, own: Tensor, exact: ExactSearch | DeviceSearch, k: int,
             threshold: float | None = None, k_max: int | None = None, rounding: Tensor | None = None) -> Neighbours:
    """Neighbours from an index's answer; the queries that it leaves open are searched exactly.

    Open are those for which the index found fewer than k distinct rows other than the query's own, and those all of
    whose answers lie above the threshold, so that further ones may. With ``rounding``, those are open too for which
    it decides: two of the neighbours, the last of them and the next row, or one and the threshold are that close.

    Args:
        similarity, row: (Q, W) answers, best first; row -1 where none.
        queries, own, exact, k, threshold, k_max: what was asked, and the exact search over the same database.
        rounding: (Q,) by how much similarities may be wrong, where the answers are the W most similar rows.
    """
    row, order = row.sort(dim=1)
    row[:, 1:] = torch.where(row[:, 1:] == row[:, :-1], -1, row[:, 1:])  # an index may repeat itself
    similarity, order = similarity.gather(1, order).sort(dim=1, descending=True, stable=True)
    row = row.gather(1, order)
    other = (row >= 0) & (row != own.unsqueeze(1))
    limit, wanted = torch.full_like(own, k), torch.zeros_like(own)
    if threshold is not None:
        wanted = 1 + (other & (similarity > threshold)).sum(1)
        limit = torch.minimum(wanted.clamp(min=k, max=k_max), len(exact.database) - (own >= 0).long())
    keep = other & (other.cumsum(1) <= limit.unsqueeze(1))
    done = keep.sum(1) == limit
    if rounding is not None:
        after = torch.full_like(similarity[:, :1], -torch.inf if row.shape[1] == len(exact.database) else torch.inf)
        close = similarity - torch.cat([similarity[:, 1:], after], dim=1) <= rounding.unsqueeze(1)
        if threshold is not None:
            close |= (similarity - threshold).abs() <= rounding.unsqueeze(1)
        done &= ~(close & keep).any(1)
    keep &= done.unsqueeze(1)
    num_capped = 0 if k_max is None else int((wanted[done] > k_max).sum())
    found = Neighbours(keep.sum(1), row[keep], similarity[keep], num_capped)
    left = (~done).nonzero().flatten()
    if not len(left):
        return found
    log.debug("%s of %s queries were left open by the index and searched exactly", f"{len(left):,}", f"{len(row):,}")
    rest = exact.neighbours(queries[left], own[left], k, threshold, k_max)
    owner = torch.cat([torch.repeat_interleave(found.count), left[torch.repeat_interleave(rest.count)]])
    order = owner.argsort(stable=True)
    return Neighbours(found.count.index_copy(0, left, rest.count), torch.cat([found.row, rest.row])[order],
                      torch.cat([found.similarity, rest.similarity])[order], num_capped + rest.num_capped)
