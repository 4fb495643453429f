"""Group numbers that last: a group found anew keeps the number of the one that it was."""
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GroupChange:
    """Images whose group number is another than before.

    Attributes:
        before: their group, -1 for none.
        after: their group now, -1 for none.
        images: how many.
        gone: whether the group before has no images any more.
    """

    before: int
    after: int
    images: int
    gone: bool

    def __str__(self) -> str:
        images = f"{self.images} image{'s' * (self.images != 1)}"
        if self.before < 0:
            return f"{images} of no group joined group {self.after}"
        if self.after < 0:
            return f"{images} of group {self.before} left it and are in no group"
        if self.gone:
            return f"group {self.before} was merged into group {self.after} ({images})"
        return f"{images} of group {self.before} moved to group {self.after}"


def keep_numbers(before: np.ndarray, found: np.ndarray, first_free: int) -> tuple[np.ndarray, list[GroupChange], int]:
    """Number groups so that as few images as possible change their number.

    A group takes the number of the former group with which it shares most images, the larger share first; what is left
    is numbered from ``first_free`` on, the larger group first. A number is never given to another group again.

    Args:
        before: (B,) former numbers of the first B images, -1 for none; the others are new.
        found: (N,) groups in any numbering, < 0 for none.
        first_free: above all numbers that were ever given.

    Returns:
        the numbers (N,), what changed for the first B images, and the next free number.
    """
    there = found >= 0
    names, place = np.unique(found[there], return_inverse=True)
    size = np.bincount(place, minlength=len(names))
    number, taken = np.full(len(names), -1), set()
    both = np.flatnonzero(there[:len(before)] & (before >= 0))
    cells, shared = np.unique(np.stack([before[both], np.searchsorted(names, found[both])]), axis=1, return_counts=True)
    for old, new in cells[:, np.lexsort((cells[1], cells[0], -shared))].T.tolist():
        if number[new] < 0 and old not in taken:
            number[new] = old
            taken.add(old)
    fresh = np.flatnonzero(number < 0)
    number[fresh[np.argsort(-size[fresh], kind="stable")]] = first_free + np.arange(len(fresh))
    label = np.full(len(found), -1)
    label[there] = number[place]
    return label, _changes(before, label), first_free + len(fresh)


def _changes(before: np.ndarray, after: np.ndarray) -> list[GroupChange]:
    now = after[:len(before)]
    differ = before != now
    moves, count = np.unique(np.stack([before[differ], now[differ]]), axis=1, return_counts=True)
    gone = ~np.isin(moves[0], after)
    return [GroupChange(old, new, images, lost) for (old, new), images, lost in
            zip(moves.T.tolist(), count.tolist(), gone.tolist(), strict=True)]
