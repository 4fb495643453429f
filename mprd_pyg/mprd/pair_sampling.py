"""Which pairs train the GCN, and with which labels (MPRD, Ji et al., ICCV 2021, Sec. 4.2)."""
from dataclasses import dataclass

import torch
from torch import Tensor

from mprd_pyg.graph.neighbour_lists import NeighbourLists
from mprd_pyg.sharded_rows import Columns, ShardedRows


@dataclass
class PairSample:
    """Labelled pairs: ``pairs`` (P, 2) nodes, ``label`` (P,), ``owner`` (P,) position of the image drawn for.

    ``statistics`` (P, F) are what the judge reads of them, where it reads any.
    """

    pairs: Tensor
    label: Tensor
    owner: Tensor
    num_images: int
    statistics: Tensor | None = None

    @classmethod
    def concat(cls, parts: list["PairSample"], num_images: int) -> "PairSample":
        """Join samples of the same images."""
        return cls(torch.cat([p.pairs for p in parts]), torch.cat([p.label for p in parts]),
                   torch.cat([p.owner for p in parts]), num_images)


def _sample(first: Tensor, second: Tensor, owner: Tensor, label: int, num_images: int) -> PairSample:
    keep = first != second
    pairs = torch.stack([first, second], dim=1)[keep]
    return PairSample(pairs, torch.full((len(pairs),), label, device=pairs.device), owner[keep], num_images)


def random_member(owner: Tensor, weight: Tensor, num_groups: int) -> Tensor:
    """Position of one member (S entries, by ``owner``) drawn per group by the largest of ``weight`` (S,)."""
    order = torch.argsort(weight, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]
    return order[torch.bincount(owner, minlength=num_groups).cumsum(0) - 1]


class UnlabelledPairs:
    r"""Pseudo-labelled pairs of unlabelled images.

    Positives: with :math:`|P_i| > 1`, draw :math:`r_i` from :math:`P_i` and take every other :math:`r_j` in
    :math:`P_i` with :math:`r_i \in NN_k(r_j)` (the paper prints :math:`x_{ri} \in NN_k(x_{ri})`, a misprint); else the
    image with its perturbed view, a virtual node (the only case in the first epoch). Negatives: random images where
    the view is used; else :math:`|P_i|` random members of :math:`N_i^*` (Eq. 3, by the memory's own feature).

    Args:
        believed: lists P_i without i itself, over the first ``num_rows`` nodes.
        num_rows: N, the unlabelled images; they are the first nodes of the graph.
        hard_fraction: size of :math:`N_i^*` relative to the negatives.
        undecided: lists of all that a teacher judged, whose believed pairs ``believed`` are (not in the paper). They
            are never negatives, and positives are members of P_i that believe each other, neighbours or not.
    """

    def __init__(self, believed: NeighbourLists, num_rows: int, hard_fraction: float = 0.01,
                 undecided: NeighbourLists | None = None):
        self.believed, self.num_rows, self.hard_fraction = believed, num_rows, hard_fraction
        self.undecided = undecided

    def without_positives(self) -> Tensor:
        """Rows i with P_i = {i}: those that need a perturbed view."""
        return (self.believed.ptr.diff() == 0).nonzero().flatten()

    def __call__(self, anchors: Tensor, features: Tensor | ShardedRows, lists: NeighbourLists, view_node: Tensor,
                 generator: torch.Generator) -> PairSample:
        """Draw the pairs of ``anchors`` (B,).

        Args:
            anchors: (B,) unlabelled rows.
            features: (N, d) unit memory features of the unlabelled rows.
            lists: neighbour lists of all nodes.
            view_node: (N,) node of each row's perturbed view, -1 where there is none.
            generator: random state; the same one gives the same pairs.
        """
        size = self.believed.ptr[anchors + 1] - self.believed.ptr[anchors]
        known = (size > 0).nonzero().flatten()
        alone = (size == 0).nonzero().flatten()
        parts = []
        if len(known):
            parts += [self._positives(anchors, known, lists, generator),
                      self._hard_negatives(anchors, known, size, features, generator)]
        if len(alone):
            rows = anchors[alone]
            other = (rows + 1 + self._integers(self.num_rows - 1, len(rows), rows.device, generator)) % self.num_rows
            parts += [_sample(rows, view_node[rows], alone, 1, len(anchors)),
                      _sample(rows, other, alone, 0, len(anchors))]
        return PairSample.concat(parts, len(anchors))

    def _positives(self, anchors, known, lists, generator) -> PairSample:
        owner, member = self.believed.gather(anchors[known])
        owner = torch.cat([torch.arange(len(known), device=owner.device), owner])
        member = torch.cat([anchors[known], member])  # P_i contains i
        weight = torch.rand(len(owner), generator=generator).to(owner.device)
        drawn = member[random_member(owner, weight, len(known))][owner]
        mutual = (lists if self.undecided is None else self.believed).contains(member, drawn)
        return _sample(drawn[mutual], member[mutual], known[owner[mutual]], 1, len(anchors))

    def _hard_negatives(self, anchors, known, size, features, generator) -> PairSample:
        rows, wanted = anchors[known], size[known] + 1  # |P_i| counts i
        columns = Columns(features)
        similarity = columns.compare(features[rows])
        owner, member = (self.undecided or self.believed).gather(rows)
        columns.put(similarity, (owner,), member, -torch.inf)
        columns.put(similarity, (torch.arange(len(rows), device=rows.device),), rows, -torch.inf)
        hard = ((self.num_rows - wanted).double() * self.hard_fraction).long().clamp(min=1)
        value, rank = columns.topk(similarity, min(int(hard.max()), self.num_rows))
        # A random order of each row's `hard` candidates, of which the first `wanted` are taken.
        key = torch.rand(rank.shape, generator=generator).to(rank.device)
        key[torch.arange(rank.shape[1], device=rank.device) >= hard.unsqueeze(1)] = 2.0
        place = key.argsort(dim=1).argsort(dim=1)
        take = (place < torch.minimum(wanted, hard).unsqueeze(1)) & value.isfinite()
        owner, column = take.nonzero(as_tuple=True)
        return _sample(rows[owner], rank[owner, column], known[owner], 0, len(anchors))

    @staticmethod
    def _integers(high: int, count: int, device, generator) -> Tensor:
        return torch.randint(max(high, 1), (count,), generator=generator).to(device)


class MetaPairs:
    """Pairs of the labelled meta images: one same and one other identity each, and some with unlabelled images.

    Args:
        person: (Z,) identity of each meta image; meta image z is node ``first_node + z``.
        first_node: node of the first meta image.
        cross_negatives: pairs (z, x_j) with unlabelled images of the batch, per meta image.
    """

    def __init__(self, person: Tensor, first_node: int, cross_negatives: int = 1):
        names, group = person.unique(return_inverse=True)
        if len(names) < 2 or int(torch.bincount(group).min()) < 2:
            raise ValueError("meta data needs at least two identities of at least two images each")
        self.group, self.first_node, self.cross_negatives = group, first_node, cross_negatives

    def __call__(self, chosen: Tensor, unlabelled: Tensor, generator: torch.Generator) -> PairSample:
        """Draw the pairs of meta images ``chosen`` (B,), with unlabelled nodes (U,) as further negatives."""
        device, count = chosen.device, len(chosen)
        place = torch.arange(count, device=device)
        same = self.group[chosen].unsqueeze(1) == self.group
        score = torch.rand(same.shape, generator=generator).to(device)
        itself = same.clone()
        itself[place, chosen] = False
        positive = score.masked_fill(~itself, -1.0).argmax(1)
        negative = score.masked_fill(same, -1.0).argmax(1)
        node = self.first_node + chosen
        parts = [_sample(node, self.first_node + positive, place, 1, count),
                 _sample(node, self.first_node + negative, place, 0, count)]
        for shift in range(self.cross_negatives if len(unlabelled) else 0):
            parts.append(_sample(node, unlabelled[(place + shift) % len(unlabelled)], place, 0, count))
        return PairSample.concat(parts, count)
