"""Groups as the means of their features: how near an image is to its own group, and to the nearest other one."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mprd_pyg.graph.search.nearest import NearestSearch

CHUNK = 8192  # rows that are read at a time, for features that are mapped from a file
NEAR = 10  # other groups that a group is compared with


@dataclass(frozen=True)
class GroupMeans:
    """G groups.

    Args:
        number: (G,) ascending numbers of the groups.
        total: (G, d) sum of their members' unit features.
        count: (G,) members.
    """

    number: Tensor
    total: Tensor
    count: Tensor

    @classmethod
    def of(cls, x: Tensor, group: Tensor) -> "GroupMeans":
        """Of unit features (N, d) and their groups (N,), < 0 for none."""
        number, count = torch.unique(group[group >= 0], return_counts=True)
        total = torch.zeros(len(number), x.shape[1])
        for start in range(0, len(x), CHUNK):
            part = group[start:start + CHUNK]
            rows = (part >= 0).nonzero().flatten()
            total.index_add_(0, torch.searchsorted(number, part[rows]), x[start + rows].float())
        return cls(number, total, count)

    @property
    def unit(self) -> Tensor:
        """(G, d) mean features at unit length."""
        return F.normalize(self.total, dim=1)

    def compare(self, x: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compare images with their own group, from whose mean they are left out, and with all others.

        Args:
            x: (R, d) unit features.
            group: (R,) their groups, whose sums hold them; < 0 for none.

        Returns:
            cosine with the mean of the other members (R,), NaN without a group; the nearest other group (R,), -1 where
            there is none; and the cosine with its mean (R,), 0 where there is none.
        """
        own, nearest = torch.full((len(x),), torch.nan), torch.full((len(x),), -1)
        similarity = torch.zeros(len(x))
        if not len(self.number):
            return own, nearest, similarity
        search = NearestSearch(self.unit, k=2)
        for start in range(0, len(x), CHUNK):
            part, mine = x[start:start + CHUNK].float(), group[start:start + CHUNK]
            there = (mine >= 0).nonzero().flatten()
            place = torch.full_like(mine, -1)
            place[there] = torch.searchsorted(self.number, mine[there])
            rest = F.normalize(self.total[place[there]] - part[there], dim=1)
            own[start + there] = (part[there] * rest).sum(1)
            value, row = search(part, min(2, len(self.number)))
            second = (row[:, 0] == place).long().unsqueeze(1)
            known = second.flatten() < row.shape[1]
            second = second.clamp(max=row.shape[1] - 1)
            nearest[start:start + CHUNK] = torch.where(known, self.number[row.gather(1, second).flatten()], -1)
            similarity[start:start + CHUNK] = torch.where(known, value.gather(1, second).flatten(), 0)
        return own, nearest, similarity

    def near_duplicates(self, threshold: float) -> tuple[Tensor, Tensor]:
        """Pairs of groups (D, 2), lower number first, whose means are at least so similar, and the cosines (D,)."""
        unit, k = self.unit, min(NEAR, len(self.number) - 1)
        if k < 1:
            return torch.zeros(0, 2, dtype=torch.long), torch.zeros(0)
        found = NearestSearch(unit, k=k).neighbours(None, None, k)
        one = torch.repeat_interleave(torch.arange(len(unit)), found.count)
        keep = found.similarity >= threshold
        pairs = torch.stack([torch.minimum(one, found.row), torch.maximum(one, found.row)], dim=1)[keep]
        pairs, place = torch.unique(pairs, dim=0, return_inverse=True)
        similarity = torch.zeros(len(pairs)).index_copy(0, place, found.similarity[keep])
        order = similarity.argsort(descending=True, stable=True)
        return self.number[pairs[order]], similarity[order]


def calibrate_threshold(x: Tensor, label: Tensor) -> float | None:
    """The cosine with a group's mean from which an image is taken for a member of it.

    Each image is compared with the others of its own label, as a member would be, and with the nearest other label, as
    one of nobody's would be: the threshold is where the share of members above it exceeds that of the others the most.

    Args:
        x: (N, d) unit features.
        label: (N,) identities or groups, < 0 for unknown.

    Returns:
        None where there are not two labels of two images each.
    """
    size = torch.bincount(label[label >= 0])
    rows = (label >= 0).nonzero().flatten()
    rows = rows[size[label[rows]] > 1]
    if int((size > 1).sum()) < 2:
        return None
    label = label[rows]
    member, _, stranger = GroupMeans.of(x[rows], label).compare(x[rows], label)
    value, order = torch.cat([member, stranger]).sort(descending=True, stable=True)
    gain = torch.where(order < len(member), 1, -1).cumsum(0)
    last = torch.cat([value[1:] != value[:-1], torch.ones(1, dtype=torch.bool)])  # of equal values
    return float(value[torch.where(last, gain, gain.min() - 1).argmax()])
