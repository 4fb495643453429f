"""A matrix whose rows are shared out over the processes, and what is asked of all its rows.

Whatever sends must be called by all processes with the same arguments, and gives the same answer on each.
"""
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mprd_pyg import processes

Change = Callable[[Tensor, Any], Tensor]
"""Rows (..., n, d) and an index of their numbers -> the changed rows; each row by itself."""

BLOCK = 1 << 12  # own rows that are changed and compared at once, so that no second matrix of them is held


@dataclass(frozen=True)
class Part:
    """Consecutive rows that this process holds.

    Args:
        first: number of the first.
        own: (..., n, d).
        changes: made to rows as they are read, each with the number that row 0 has in its own count.
    """

    first: int
    own: Tensor
    changes: tuple[tuple[Change, int], ...] = ()

    def read(self, number: Tensor) -> Tensor:
        """The rows of these numbers, which must be of this part."""
        rows = self.own[..., number - self.first, :]
        for change, zero in self.changes:
            rows = change(rows, number - zero)
        return rows


class ShardedRows:
    """A matrix (N, d), or M of them (M, N, d), of which each process holds its share of the rows.

    Args:
        parts: what this process holds, in the order of the rows.
        total: N.
    """

    def __init__(self, parts: tuple[Part, ...], total: int):
        self.parts, self.total = parts, total

    @classmethod
    def share(cls, own: Tensor, total: int) -> "ShardedRows":
        """Of N rows those that :func:`mprd_pyg.processes.share` gives to this process: (..., n, d)."""
        return cls((Part(processes.share(range(total)).start, own),), total)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, d) or (M, N, d)."""
        return (*self.parts[0].own.shape[:-2], self.total, self.parts[0].own.shape[-1])

    @property
    def device(self) -> torch.device:
        """Of the own rows."""
        return self.parts[0].own.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the own rows."""
        return self.parts[0].own.dtype

    def dim(self) -> int:
        """2 or 3."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator["ShardedRows"]:
        return (self[m] for m in range(len(self)))

    def __getitem__(self, key: int | slice | Tensor) -> "ShardedRows | Tensor":
        """Of (M, N, d) one branch; of (N, d) the first rows, or the rows (R,), which their holders send to all."""
        if isinstance(key, int):
            return ShardedRows(tuple(replace(part, own=part.own[key]) for part in self.parts), self.total)
        if isinstance(key, slice):
            return ShardedRows(tuple(replace(part, own=part.own[:key.stop - part.first]) for part in self.parts
                                     if part.first < key.stop), min(key.stop, self.total))
        number, place = key.to(self.device).unique(return_inverse=True)
        own = [(number >= part.first) & (number < part.first + part.own.shape[-2]) for part in self.parts]
        rows = torch.cat([part.read(number[here]) for part, here in zip(self.parts, own, strict=True)])
        out = rows.new_zeros(len(number), rows.shape[1])
        out[torch.cat([here.nonzero().flatten() for here in own])] = rows
        return processes.all_reduce(out)[place]  # every row is one process's, and 0 on the others

    def map(self, change: Change) -> "ShardedRows":
        """The same rows, changed as they are read."""
        return ShardedRows(tuple(replace(part, changes=(*part.changes, (change, 0))) for part in self.parts),
                           self.total)

    def append(self, rows: "Tensor | ShardedRows") -> "ShardedRows":
        """With further rows at the end; of a matrix that all processes have, the last process holds them."""
        if isinstance(rows, Tensor):
            last = processes.rank() == processes.count() - 1
            more = (Part(self.total, rows),) if last else ()
            return ShardedRows((*self.parts, *more), self.total + rows.shape[-2])
        more = tuple(Part(part.first + self.total, part.own, tuple(
            (change, zero + self.total) for change, zero in part.changes)) for part in rows.parts)
        return ShardedRows((*self.parts, *more), self.total + rows.total)

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """The own rows, block by block: the number of the first, and the rows."""
        for part in self.parts:
            for number in torch.arange(part.first, part.first + part.own.shape[-2], device=self.device).split(BLOCK):
                if len(number):
                    yield int(number[0]), part.read(number)

    def group_sums(self, group: Tensor, total: Tensor) -> Tensor:
        """Add the rows to those of ``total`` (G, d) that ``group`` (N,) says, in the order of the rows."""
        def add(total: Tensor) -> None:
            for first, rows in self.blocks():
                total.index_add_(0, group[first:first + len(rows)], rows)
        return processes.in_turn(total, add)


def changed(x: Tensor | ShardedRows, change: Change) -> Tensor | ShardedRows:
    """A matrix, or what stands for it, with its rows changed."""
    return x.map(change) if isinstance(x, ShardedRows) else change(x, slice(None))


def joined(x: Tensor | ShardedRows, rows: Tensor | ShardedRows) -> Tensor | ShardedRows:
    """``x`` with further rows at its end."""
    return x.append(rows) if isinstance(x, ShardedRows) else torch.cat([x, rows], dim=-2)


def group_sums(x: Tensor | ShardedRows, group: Tensor, count: int) -> Tensor:
    """The sums (G, d) of the rows (N, d) of each group (N,), added up in their order; -1 is of no group."""
    group = group % (count + 1)
    total = torch.zeros(count + 1, x.shape[1], dtype=x.dtype, device=x.device)
    if isinstance(x, ShardedRows):
        return x.group_sums(group, total)[:count]
    return total.index_add_(0, group, x)[:count]


class Columns:
    """One column for each row of a bank, of which this process may hold a part, and what is asked of all of them.

    Every answer has the gradient of what all processes together compute, see :func:`mprd_pyg.processes.shared`.

    Args:
        bank: (N, d) or (M, N, d).

    Attributes:
        total: N.
        count: n, the rows at hand: all, or this process's.
    """

    def __init__(self, bank: Tensor | ShardedRows):
        sharded = isinstance(bank, ShardedRows)
        self.bank, self.total, self.first, self.count = bank, bank.shape[-2], 0, bank.shape[-2]
        self.split = sharded and processes.count() > 1
        if sharded:
            part, = bank.parts
            self.first, self.count = part.first, part.own.shape[-2]

    @property
    def own(self) -> Tensor:
        """(..., n, d) the rows at hand."""
        return self.bank if isinstance(self.bank, Tensor) else self.bank.parts[0].own

    def compare(self, x: Tensor) -> Tensor:
        """Inner products of features (B, d) with the rows at hand (n, d): (B, n)."""
        x = self.spread(x)
        if isinstance(self.bank, Tensor) or not self.bank.parts[0].changes:
            return x @ self.own.T
        return torch.cat([x @ rows.T for _, rows in self.bank.blocks()], dim=1)

    def spread(self, x: Tensor) -> Tensor:
        """What all processes have alike, for use with the columns at hand: its gradient is the sum of theirs."""
        return processes.shared(x) if self.split else x

    def put(self, t: Tensor, row: tuple[Tensor, ...], column: Tensor, value: Any) -> Tensor:
        """Write into columns (E,) of all N, of ``t`` (..., n): those at hand."""
        if self.split:
            here = (column >= self.first) & (column < self.first + t.shape[-1])
            row, column = tuple(part[here] for part in row), column[here] - self.first
            value = value[here] if isinstance(value, Tensor) and value.dim() else value
        t[(*row, column)] = value
        return t

    def take(self, t: Tensor, column: Tensor) -> Tensor:
        """Columns (C,) of all N, of ``t`` (B, n): (B, C), without gradient."""
        if not self.split:
            return t[:, column]
        out, here = t.new_zeros(len(t), len(column)), (column >= self.first) & (column < self.first + t.shape[1])
        out[:, here] = t[:, column[here] - self.first]
        return processes.all_reduce(out)

    def pick(self, t: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """The values (E,) of ``t`` (B, n) in these rows and columns of all N, without gradient."""
        if not self.split:
            return t[row, column]
        out, here = t.new_zeros(len(column)), (column >= self.first) & (column < self.first + t.shape[1])
        out[here] = t[row[here], column[here] - self.first]
        return processes.all_reduce(out)

    def sum(self, t: Tensor) -> Tensor:
        """Over all N columns: (..., n) -> (...)."""
        return processes.add_up(t.sum(-1)) if self.split else t.sum(-1)

    def any(self, t: Tensor) -> Tensor:
        """Whether one of all N columns is true: (..., n) -> (..., 1)."""
        t = t.any(-1, keepdim=True)
        return processes.all_reduce(t.float(), "max") > 0 if self.split else t

    def max(self, t: Tensor) -> Tensor:
        """Over all N columns, without gradient: (..., n) -> (..., 1)."""
        t = t.detach().amax(-1, keepdim=True)
        return processes.all_reduce(t, "max") if self.split else t

    def logsumexp(self, t: Tensor) -> Tensor:
        """Over all N columns: (..., n) -> (..., 1)."""
        if not self.split:
            return t.logsumexp(-1, keepdim=True)
        largest = self.max(t).clamp(min=torch.finfo(t.dtype).min)  # columns of minus infinity count nothing
        return largest + self.sum((t - largest).exp()).log().unsqueeze(-1)

    def softmax(self, t: Tensor) -> Tensor:
        """Over all N columns: (..., n) -> (..., n)."""
        return self.log_softmax(t).exp() if self.split else t.softmax(-1)

    def log_softmax(self, t: Tensor) -> Tensor:
        """Over all N columns: (..., n) -> (..., n)."""
        return t - self.spread(self.logsumexp(t)) if self.split else t.log_softmax(-1)

    def topk(self, t: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k largest of all N columns, best first: values (..., k) and columns (..., k)."""
        value, column = self._own_topk(t, k)
        if not self.split:
            return value, column
        value, place = processes.join_columns(value).topk(k, dim=-1)
        return value, processes.join_columns(column + self.first).gather(-1, place)

    def largest(self, t: Tensor, k: int) -> Tensor:
        """The values (..., k) of :meth:`topk` alone."""
        value, _ = self._own_topk(t, k)
        return processes.join_columns(value).topk(k, dim=-1).values if self.split else value

    def _own_topk(self, t: Tensor, k: int) -> tuple[Tensor, Tensor]:
        if not self.split:
            return t.topk(k, dim=-1)
        widest = -(-self.total // processes.count())
        return F.pad(t, (0, widest - t.shape[-1]), value=-torch.inf).topk(min(k, widest), dim=-1)
