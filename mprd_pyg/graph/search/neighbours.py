"""What a search found: ragged lists of neighbours."""
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Neighbours:
    """Neighbours of Q queries, ragged, best first; among equal similarities the lower row first.

    Args:
        count: (Q,) neighbours of each query.
        row: (E,) database rows, query by query.
        similarity: (E,) their similarities.
        num_capped: number of queries cut short by ``k_max``.
        built_by: the search that found them.
    """

    count: Tensor
    row: Tensor
    similarity: Tensor
    num_capped: int = 0
    built_by: str = "exact"

    @classmethod
    def join(cls, parts: list["Neighbours"]) -> "Neighbours":
        """Those of all queries, from those of consecutive parts."""
        count, row, similarity = (torch.cat([getattr(part, name) for part in parts])
                                  for name in ("count", "row", "similarity"))
        return cls(count, row, similarity, int(sum(part.num_capped for part in parts)), parts[0].built_by)

    def padded(self, k: int) -> tuple[Tensor, Tensor]:
        """The first k: similarity and row (Q, k); -inf and -1 where there are fewer."""
        rank = torch.arange(k, device=self.count.device)
        there = rank < self.count.unsqueeze(1)
        place = ((self.count.cumsum(0) - self.count).unsqueeze(1) + rank)[there]
        similarity = torch.full(there.shape, -torch.inf, dtype=self.similarity.dtype, device=self.count.device)
        row = torch.full(there.shape, -1, device=self.count.device)
        similarity[there], row[there] = self.similarity[place], self.row[place]
        return similarity, row
