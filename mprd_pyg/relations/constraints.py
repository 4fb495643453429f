"""What is known of pairs of images beyond any judgement: must-links and cannot-links, closed."""
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components
from torch import Tensor


class ContradictionError(ValueError):
    """Two images are said to be different, and a chain of must-links makes them the same.

    Args:
        chain: rows from the one to the other; each must be the same as the next.
    """

    def __init__(self, chain: list[int]):
        self.chain = chain
        super().__init__(f"images {chain[0]} and {chain[-1]} are said to be different, but these are said to be the "
                         f"same: {' = '.join(map(str, chain))}")


class Constraints:
    """Pairs of N images that show the same individual for certain, and pairs that show different ones.

    Must-links are closed: what a chain of them joins is one component. A cannot-link holds between all images of the
    two components.

    Args:
        must: (2, M) rows that are the same.
        cannot: (2, C) rows that are different.
        num_images: N.
        same_group: (N,) integers; images of one group are the same too (the tracklets of a card), < 0 for none.

    Attributes:
        must, cannot: as given, those of ``same_group`` included.
        component: (N,) 0 ... K - 1; images without a must-link are components of one.

    Raises:
        ContradictionError: a cannot-link within a component.
        ValueError: rows outside 0 ... N - 1.
    """

    def __init__(self, must: Tensor, cannot: Tensor, num_images: int, same_group: Tensor | None = None):
        must, cannot = must.cpu().reshape(2, -1).long(), cannot.cpu().reshape(2, -1).long()
        if same_group is not None:
            must = torch.cat([must, chain_groups(same_group.cpu())], dim=1)
        for pairs in (must, cannot):
            if pairs.numel() and not 0 <= int(pairs.min()) <= int(pairs.max()) < num_images:
                raise ValueError(f"constraints name rows outside 0 ... {num_images - 1}")
        self.must, self.cannot, self.num_images = must, cannot, num_images
        self._links = csr_matrix((np.ones(must.shape[1], np.int8), must.numpy()), shape=(num_images, num_images))
        self.component = torch.from_numpy(connected_components(self._links, directed=False)[1]).long()
        inside = self.component[cannot[0]] == self.component[cannot[1]]
        if bool(inside.any()):
            raise ContradictionError(self.chain(*cannot[:, inside][:, 0].tolist()))

    def __len__(self) -> int:
        return self.must.shape[1] + self.cannot.shape[1]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.must.shape[1]} must-links, {self.cannot.shape[1]} cannot-links)"

    def chain(self, start: int, end: int) -> list[int]:
        """The shortest chain of must-links between two rows of one component, both included."""
        before = breadth_first_order(self._links, start, directed=False)[1]
        chain = [end]
        while chain[-1] != start:
            chain.append(int(before[chain[-1]]))
        return chain[::-1]

    def same(self, pairs: Tensor) -> Tensor:
        """(P,) whether pairs (2, P) of rows are the same for certain."""
        one, other = self.component.to(pairs.device)[pairs]
        return one == other

    def different(self, pairs: Tensor) -> Tensor:
        """(P,) whether pairs (2, P) of rows are different for certain."""
        return torch.isin(self._key(self.component.to(pairs.device)[pairs]), self._apart.to(pairs.device))

    def first(self, count: int) -> "Constraints":
        """What these say of the rows 0 ... count - 1, chains over the others included."""
        component = self.component[:count]
        inside = torch.full((self.num_images,), -1)  # of each component, a row among the first
        inside[component] = torch.arange(count)
        cannot = inside[self.component[self.cannot]]
        return Constraints(chain_groups(component), cannot[:, (cannot >= 0).all(0)], count)

    @cached_property
    def members(self) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (N,) by component, and of each component its first place there and its size (K,)."""
        size = torch.bincount(self.component)
        return self.component.argsort(stable=True), size.cumsum(0) - size, size

    @cached_property
    def _apart(self) -> Tensor:
        return self._key(self.component[self.cannot]).unique()

    def _key(self, components: Tensor) -> Tensor:
        return components.min(0).values * self.num_images + components.max(0).values


def chain_groups(group: Tensor) -> Tensor:
    """Must-links (2, M) that join the images of every group (N,) in a chain; < 0 is no group."""
    order = group.argsort(stable=True)
    order = order[group[order] >= 0]
    linked = group[order[1:]] == group[order[:-1]]
    return torch.stack([order[:-1][linked], order[1:][linked]])


def pairs_of(pairs: Sequence[tuple[int, int]]) -> Tensor:
    """(2, P) rows from a list of pairs."""
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
