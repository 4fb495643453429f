"""Exact neighbour search in blocks of torch operations, on whatever device the features are."""
import torch
from torch import Tensor

from mprd_pyg.graph.search.exact import Neighbours

#: similarities in memory at once (1 GiB of float32)
BUDGET = 1 << 28


class DeviceSearch:
    """The same neighbours as :class:`ExactSearch`, without a copy to the host.

    Args:
        database: (N, d) float32.
        metric: ``"cosine"`` (inner product) or ``"l2"``.
        block: queries per block; fewer where block x N similarities would exceed a gibibyte.
    """

    def __init__(self, database: Tensor, metric: str, block: int = 1024):
        self.database = database
        self.block = max(1, min(block, BUDGET // max(len(database), 1)))
        self.norms = database.pow(2).sum(1) if metric == "l2" else None

    def itself(self, k: int, threshold: float | None = None, most: int | None = None) -> Neighbours:
        """The neighbours of every row, itself left out."""
        own = torch.arange(len(self.database), device=self.database.device)
        return self.neighbours(self.database, own, k, threshold, most)

    def neighbours(self, queries: Tensor, own: Tensor, k: int, threshold: float | None = None,
                   most: int | None = None) -> Neighbours:
        """The neighbours of queries (Q, d), each without the database row ``own`` (Q,); -1 for none."""
        parts = [self._part(part, place, k, threshold, most)
                 for part, place in zip(queries.split(self.block), own.split(self.block), strict=True)]
        counts, rows, values, capped = zip(*parts, strict=True) if parts else ([own], [own], [queries[:0, 0]], [0])
        return Neighbours(torch.cat(counts), torch.cat(rows), torch.cat(values), int(sum(capped)))

    def _part(self, queries, own, k, threshold, most):
        similarity = queries @ self.database.T
        if self.norms is not None:
            similarity = (2 * similarity - (queries.pow(2).sum(1, keepdim=True) + self.norms)).clamp_(max=0)
        hidden = torch.where(own >= 0, -torch.inf, similarity[:, 0]).unsqueeze(1)
        similarity.scatter_(1, own.clamp(min=0).unsqueeze(1), hidden)
        others = len(self.database) - (own >= 0).long()
        limit, capped = others.clamp(max=k), 0
        if threshold is None:
            bar = similarity.topk(min(k, len(self.database))).values.gather(1, (limit - 1).clamp(min=0).unsqueeze(1))
        else:
            above = (similarity > threshold).sum(1)
            limit = torch.minimum((above + 1).clamp(min=k, max=most), others)
            if most is not None:
                capped = (above + 1 > most).sum()
                best = similarity.topk(min(most, len(self.database))).values
                bar = best.gather(1, (limit - 1).clamp(min=0).unsqueeze(1))
            else:
                below = similarity.masked_fill(similarity > threshold, -torch.inf).amax(1)
                kth = similarity.topk(min(k, len(self.database))).values[:, -1]
                bar = torch.where(above >= k, below, kth).unsqueeze(1)
        # All at or above the last kept similarity: that, ties included, is little more than what is kept.
        query, row = ((similarity >= bar) & (similarity > -torch.inf)).nonzero(as_tuple=True)
        value = similarity[query, row]
        order = value.argsort(descending=True, stable=True)
        order = order[query[order].argsort(stable=True)]
        query, row, value = query[order], row[order], value[order]
        number = torch.bincount(query, minlength=len(queries))
        rank = torch.arange(len(query), device=query.device) - (number.cumsum(0) - number)[query]
        keep = rank < limit[query]
        return torch.minimum(number, limit), row[keep], value[keep], capped
