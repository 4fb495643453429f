"""Exact neighbour search in blocks of torch operations, on whatever device the features are."""
import torch
from torch import Tensor

from mprd_pyg.graph.search.neighbours import Neighbours

#: similarities in memory at once (1 GiB of float32)
BUDGET = 1 << 28


class DeviceSearch:
    """The same neighbours as :class:`ExactSearch`, without a copy to the host, where FAISS has no GPU build too.

    Args:
        database: (N, d) float32.
        metric: ``"cosine"`` (inner product) or ``"l2"``.
        block: queries per block; fewer where block x N similarities would exceed a gibibyte.
    """

    def __init__(self, database: Tensor, metric: str, block: int = 1024):
        self.database = database
        self.block = max(1, min(block, BUDGET // max(len(database), 1)))
        self.norms = database.pow(2).sum(1) if metric == "l2" else None

    def neighbours(self, queries: Tensor, own: Tensor, k: int, threshold: float | None = None,
                   k_max: int | None = None) -> Neighbours:
        """The neighbours of queries (Q, d), each without the database row ``own`` (Q,); -1 for none."""
        return Neighbours.join([self._part(part, place, k, threshold, k_max) for part, place
                                in zip(queries.split(self.block), own.split(self.block), strict=True)])

    def _part(self, queries, own, k, threshold, k_max):
        similarity = queries @ self.database.T
        if self.norms is not None:
            similarity = (2 * similarity - (queries.pow(2).sum(1, keepdim=True) + self.norms)).clamp_(max=0)
        hidden = torch.where(own >= 0, -torch.inf, similarity[:, 0]).unsqueeze(1)
        similarity.scatter_(1, own.clamp(min=0).unsqueeze(1), hidden)
        others = len(self.database) - (own >= 0).long()
        limit, wanted = others.clamp(max=k), torch.zeros_like(own)
        if threshold is not None:
            wanted = 1 + (similarity > threshold).sum(1)
            limit = torch.minimum(wanted.clamp(min=k, max=k_max), others)
        # All at or above the last kept similarity: that, ties included, is little more than what is kept.
        best = similarity.topk(min(k if threshold is None else k_max or k, len(self.database))).values
        bar = best.gather(1, (limit - 1).clamp(0, best.shape[1] - 1).unsqueeze(1))
        if threshold is not None and k_max is None:  # all above the threshold, and the best of the others
            below = similarity.masked_fill(similarity > threshold, -torch.inf).amax(1, keepdim=True)
            bar = torch.where(wanted.unsqueeze(1) > k, below, bar)
        query, row = ((similarity >= bar) & (similarity > -torch.inf)).nonzero(as_tuple=True)
        value = similarity[query, row]
        order = value.argsort(descending=True, stable=True)
        order = order[query[order].argsort(stable=True)]
        query, row, value = query[order], row[order], value[order]
        number = torch.bincount(query, minlength=len(queries))
        rank = torch.arange(len(query), device=query.device) - (number.cumsum(0) - number)[query]
        keep = rank < limit[query]
        num_capped = 0 if k_max is None else (wanted > k_max).sum()
        return Neighbours(torch.minimum(number, limit), row[keep], value[keep], num_capped)
