"""Exact neighbour search on the host, at the speed of the matrix product."""
import itertools
import threading

import numpy as np
import torch
from torch import Tensor

from mprd_pyg.graph.search import candidates
from mprd_pyg.graph.search.neighbours import Neighbours
from mprd_pyg.graph.threads import multiply_in_threads

#: candidates above the threshold that a thread collects before it hands them over
POOL = 1 << 18


class Lists:
    """Candidate lists of Q queries: what :func:`candidates.absorb` writes, and the neighbours they end in.

    Args:
        count: Q.
        k: neighbours per query (the least number of them, with a threshold).
        threshold: similarity above which all are neighbours, :math:`k_i = max(k, 1 + #above)`; None keeps k.
        k_max: upper bound of :math:`k_i`.
        half: (Q,) and (N,) half squared norms of queries and database: the similarity is then minus the
            squared distance; None for the inner product.
    """

    def __init__(self, count: int, k: int, threshold: float | None = None, k_max: int | None = None,
                 half: tuple[np.ndarray, np.ndarray] | None = None):
        self.k, self.k_max, self.scale = k, k_max, 1.0 if half is None else 2.0
        self.half = half or (np.empty(0, np.float32), np.empty(0, np.float32))
        self.ragged = threshold is not None
        self.threshold = np.float32(np.inf if threshold is None else threshold / self.scale)
        self.lists = np.full((count, k), candidates.EMPTY)
        self.worst = np.full(count, -np.inf, np.float32)
        self.gate = np.full(count if self.ragged else 0, -np.inf, np.float32)
        self.above = np.zeros(count if self.ragged else 0, np.int64)
        self.kept, self.lock, self.held, self.room = [], threading.Lock(), 0, 4 * POOL
        self.local = threading.local()

    def absorb(self, block: Tensor, slots: np.ndarray, col0: int, both: bool, labels: np.ndarray,
               own: np.ndarray) -> None:
        """Read one block of products (R, C), which is overwritten."""
        block, start = block.numpy(), 0
        pool = getattr(self.local, "pool", None)
        if pool is None or len(pool[0]) < 2 * block.shape[1]:
            size = max(POOL, 2 * block.shape[1]) if self.ragged else 2 * block.shape[1]
            pool = self.local.pool = np.empty(size, np.int64), np.empty(size, np.uint64)
        while start < len(block):
            start, fill = candidates.absorb(block, start, slots, col0, both, labels, own, *self.half, self.lists,
                                            self.worst, self.threshold, self.gate, self.above, *pool, 0)
            if fill:
                with self.lock:
                    self.kept.append((pool[0][:fill].copy(), pool[1][:fill].copy()))
                    self.held += fill
                    if self.k_max is not None and self.held > self.room:
                        self._forget()

    def _forget(self) -> None:
        """Forget what lies beyond ``k_max`` and raise the gates, so that a cap also bounds the memory."""
        slots, rank, keys = self._best(self.kept, np.full(len(self.lists), self.k_max))
        full = rank == self.k_max - 1
        self.gate[slots[full]] = candidates.decode(keys[full])[0]
        self.kept, self.held, self.room = [(slots, keys)], len(slots), max(self.room, 2 * len(slots))

    @staticmethod
    def _best(kept, limit):
        slots, keys = (np.concatenate(part) for part in zip(*kept, strict=True))
        return candidates.best(slots, keys, limit)

    def neighbours(self) -> Neighbours:
        """What was found."""
        limit = np.full(len(self.lists), self.k)
        wanted = 1 + self.above
        if self.ragged:
            limit = np.clip(wanted, self.k, self.k_max)
        there = self.lists != candidates.EMPTY
        count, keys = there.sum(1), self.lists[there]
        if self.kept:
            listed = np.repeat(np.arange(len(count)), count), keys
            slots, _, keys = self._best([*self.kept, listed], limit)
            count = np.bincount(slots, minlength=len(limit))
        similarity, row = candidates.decode(keys)
        num_capped = 0 if self.k_max is None else int((wanted > self.k_max).sum())
        return Neighbours(*map(torch.from_numpy, (count, row, np.float32(self.scale) * similarity)), num_capped)


class ExactSearch:
    """Blocks of the similarity matrix, each computed once and read while it is in the cache.

    The neighbours of the database's own rows use that the matrix is symmetric: each block above the
    diagonal serves its rows and its columns, which halves the products. Memory beyond the features is one
    block per thread and the lists.

    ``tests/benchmarks/knn.py``, k = 10, CPU s against ``faiss.knn``: 0.6 and 1.0 to 1.5 for 13,000 rows of 256, 4.1 and
    8.1 for 13,000 of 2,048, 38 and 56 for 100,000 of 256.

    Args:
        database: (N, d) float32 on the host.
        metric: ``"cosine"`` (inner product) or ``"l2"``.
        block: rows and columns of a block.
    """

    def __init__(self, database: Tensor, metric: str, block: int = 1024):
        self.database, self.block = database, block
        self.half = half_norms(database) if metric == "l2" else None

    def all_rows(self, k: int, threshold: float | None = None, k_max: int | None = None) -> Neighbours:
        """The neighbours of every row, itself left out."""
        x, total = self.database, len(self.database)
        found = Lists(total, k, threshold, k_max, None if self.half is None else (self.half, self.half))
        bounds = even_bounds(total, self.block)
        number, identity = len(bounds) - 1, np.arange(total)
        locks = [threading.Lock() for _ in range(number)]

        def task(pair, buffer):
            a, b = sorted(pair)
            rows, columns = bounds[a + 1] - bounds[a], bounds[b + 1] - bounds[b]
            block = torch.mm(x[bounds[a]:bounds[a + 1]], x[bounds[b]:bounds[b + 1]].T,
                             out=buffer[:rows * columns].view(rows, columns))
            with locks[a]:  # lower first: no two threads wait for each other
                if a == b:
                    found.absorb(block, identity[bounds[a]:bounds[a + 1]], bounds[a], False, identity, identity)
                else:
                    with locks[b]:
                        found.absorb(block, identity[bounds[a]:bounds[a + 1]], bounds[b], True, identity, identity)

        # In rounds at a growing distance from the diagonal, so that threads seldom want the same rows.
        pairs = ((i, (i + step) % number) for step in range(number // 2 + 1) for i in range(number)
                 if 2 * step != number or i < step)
        multiply_in_threads(task, pairs, self.block ** 2)
        return found.neighbours()

    def neighbours(self, queries: Tensor, own: Tensor, k: int, threshold: float | None = None,
                   k_max: int | None = None) -> Neighbours:
        """The neighbours of queries (Q, d), each without the database row ``own`` (Q,); -1 for none."""
        half = None if self.half is None else (half_norms(queries), self.half)
        found = Lists(len(queries), k, threshold, k_max, half)
        compare_blocks(queries, self.database, np.arange(len(self.database)), own.numpy(), found, self.block)
        return found.neighbours()


def compare_blocks(queries: Tensor, database: Tensor, labels: np.ndarray, own: np.ndarray, found: Lists,
                   block: int = 1024) -> None:
    """Offer each query all rows of a database, or of a part of one.

    Args:
        queries: (Q, d).
        database: (N, d).
        labels: (N,) index by which a row is known.
        own: (Q,) place in ``database`` that each query leaves out; negative for none.
        found: the lists of the queries; its half norms, if it has some, are those of these rows.
        block: rows and columns of a block.
    """
    count, slots = len(queries), np.arange(len(queries))
    if count < 8:  # fewer rows go through another kernel, which rounds in another order
        queries = torch.cat([queries, queries.new_zeros(8 - count, queries.shape[1])])
    panels = even_bounds(len(queries), max(block, 8))
    size = max(block, 8) ** 2
    bounds = even_bounds(len(database), max(block, size // int(np.diff(panels).max())))

    def task(panel, buffer):
        rows = panel[1] - panel[0]
        for left, right in itertools.pairwise(bounds):
            product = torch.mm(queries[panel[0]:panel[1]], database[left:right].T,
                               out=buffer[:rows * (right - left)].view(rows, right - left))
            found.absorb(product[:count], slots[panel[0]:panel[1]], left, False, labels, own)

    if len(panels) > 2:
        multiply_in_threads(task, itertools.pairwise(panels), size)
    else:
        task(panels, torch.empty(size, dtype=torch.float32))


def half_norms(x: Tensor, first: int = 0) -> np.ndarray:
    """(N,) half the squared norms; an error numbers the rows from ``first``."""
    half = torch.cat([part.pow(2).sum(1) for part in x.split(65_536)]).div_(2)  # no second matrix of N x d
    if not bool(torch.isfinite(half).all()):
        bad = first + int((~torch.isfinite(half)).nonzero()[0])
        raise ValueError(f"the squared norm of row {bad} is beyond float32: scale the features down")
    return half.numpy()


def even_bounds(total: int, size: int) -> list[int]:
    """Cut 0 ... total into equal parts of at most ``size``: no part is so small that it rounds differently."""
    number = max(1, -(-total // size))
    return [total * i // number for i in range(number + 1)]
