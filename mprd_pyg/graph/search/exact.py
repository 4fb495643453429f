"""Exact neighbour search on the host, at the speed of the matrix product."""
import itertools
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mprd_pyg.graph.search import candidates as kernel

POOL = 1 << 18


@dataclass
class Neighbours:
    """Neighbours of Q queries, ragged, best first; among equal similarities the lower row first.

    Args:
        count: (Q,) neighbours of each query.
        row: (E,) database rows, query by query.
        similarity: (E,) their similarities.
        capped: number of queries cut short by ``most``.
    """

    count: Tensor
    row: Tensor
    similarity: Tensor
    capped: int = 0


def share(task: Callable[[object, np.ndarray], None], items: Iterable, size: int) -> None:
    """Run ``task(item, buffer)`` for all items on as many threads as torch uses, one matrix product on each.

    Threads that each multiply and read their own block need no barrier between the two, which is what
    costs when a multi-threaded product alternates with a multi-threaded reader.
    """
    threads, items, lock, stop = torch.get_num_threads(), iter(items), threading.Lock(), threading.Event()

    def work():
        buffer = torch.empty(size)
        while not stop.is_set():
            with lock:
                item = next(items, None)
            if item is None:
                return
            task(item, buffer)

    if threads == 1:
        return work()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for done in [pool.submit(work) for _ in range(threads)]:
                    done.result()
            finally:
                stop.set()
    finally:
        torch.set_num_threads(threads)


class Lists:
    """Candidate lists of Q queries: what :func:`candidates.absorb` writes, and the neighbours they end in.

    Args:
        count: Q.
        k: neighbours per query (the least number of them, with a threshold).
        threshold: similarity above which all are neighbours, :math:`k_i = max(k, 1 + #above)`; None keeps k.
        most: upper bound of :math:`k_i`.
        half: (Q,) and (N,) half squared norms of queries and database: the similarity is then minus the
            squared distance; None for the inner product.
    """

    def __init__(self, count: int, k: int, threshold: float | None = None, most: int | None = None,
                 half: tuple[np.ndarray, np.ndarray] | None = None):
        self.k, self.most, self.scale = k, most, 1.0 if half is None else 2.0
        self.half = half or (np.empty(0, np.float32), np.empty(0, np.float32))
        self.ragged = threshold is not None
        self.threshold = np.float32(np.inf if threshold is None else threshold / self.scale)
        self.lists = np.full((count, k), kernel.EMPTY)
        self.worst = np.full(count, -np.inf, np.float32)
        self.gate = np.full(count if self.ragged else 0, -np.inf, np.float32)
        self.above = np.zeros(count if self.ragged else 0, np.int64)
        self.kept, self.lock, self.held, self.limit = [], threading.Lock(), 0, 4 * POOL
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
            start, fill = kernel.absorb(block, start, slots, col0, both, labels, own, *self.half, self.lists,
                                        self.worst, self.threshold, self.gate, self.above, *pool, 0)
            if fill:
                with self.lock:
                    self.kept.append((pool[0][:fill].copy(), pool[1][:fill].copy()))
                    self.held += fill
                    if self.most is not None and self.held > self.limit:
                        self._cut()

    def _cut(self) -> None:
        """Forget what lies beyond ``most`` and raise the gates, so that a cap also bounds the memory."""
        ptr, keys = self._grouped()
        kept = np.minimum(np.diff(ptr), self.most)
        full = np.flatnonzero(np.diff(ptr) >= self.most)
        self.gate[full] = kernel.decode(keys[ptr[full] + self.most - 1])[0]
        slots = np.repeat(np.arange(len(kept)), kept)
        first = np.cumsum(kept) - kept
        self.kept = [(slots, keys[np.arange(len(slots)) - first[slots] + ptr[slots]])]
        self.held, self.limit = len(slots), max(self.limit, 2 * len(slots))

    def _grouped(self) -> tuple[np.ndarray, np.ndarray]:
        slots, keys = zip(*self.kept, strict=True) if self.kept else ([np.empty(0, np.int64)], [np.empty(0, np.uint64)])
        return kernel.group(np.concatenate(slots), np.concatenate(keys), len(self.lists))

    def neighbours(self) -> Neighbours:
        """What was found."""
        limit, capped = np.full(len(self.lists), self.k), 0
        if self.ragged:
            limit = np.maximum(limit, 1 + self.above)
            if self.most is not None:
                capped = int((self.above + 1 > self.most).sum())
                limit = np.minimum(limit, self.most)
        if self.kept:
            count, keys = kernel.merge(*self._grouped(), self.lists, limit)
        else:
            count, keys = (self.lists != kernel.EMPTY).sum(1), self.lists[self.lists != kernel.EMPTY]
        similarity, row = kernel.decode(keys)
        return Neighbours(*map(torch.from_numpy, (count, row, np.float32(self.scale) * similarity)), capped)


class ExactSearch:
    """Blocks of the similarity matrix, each computed once and read while it is in the cache.

    The neighbours of the database's own rows use that the matrix is symmetric: each block above the
    diagonal serves its rows and its columns, which halves the products. Memory beyond the features is one
    block per thread and the lists.

    Args:
        database: (N, d) float32 on the host.
        metric: ``"cosine"`` (inner product) or ``"l2"``.
        block: rows and columns of a block.
    """

    def __init__(self, database: Tensor, metric: str, block: int = 1024):
        self.database, self.block = database, block
        self.half = half_norms(database) if metric == "l2" else None

    def itself(self, k: int, threshold: float | None = None, most: int | None = None) -> Neighbours:
        """The neighbours of every row, itself left out."""
        x, total = self.database, len(self.database)
        found = Lists(total, k, threshold, most, None if self.half is None else (self.half, self.half))
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
        share(task, pairs, self.block ** 2)
        return found.neighbours()

    def neighbours(self, queries: Tensor, own: Tensor, k: int, threshold: float | None = None,
                   most: int | None = None) -> Neighbours:
        """The neighbours of queries (Q, d), each without the database row ``own`` (Q,); -1 for none."""
        x, count, total, own = self.database, len(queries), len(self.database), own.numpy()
        if count < 8:  # fewer rows go through another kernel, which rounds in another order
            queries = torch.cat([queries, queries.new_zeros(8 - count, queries.shape[1])])
        half = None if self.half is None else (half_norms(queries), self.half)
        found, identity = Lists(count, k, threshold, most, half), np.arange(total)
        slots = np.arange(count)
        panels = even_bounds(len(queries), max(self.block, 8))
        size = max(self.block, 8) ** 2
        bounds = even_bounds(total, max(self.block, size // int(np.diff(panels).max())))

        def task(panel, buffer):
            rows = panel[1] - panel[0]
            for left, right in itertools.pairwise(bounds):
                block = torch.mm(queries[panel[0]:panel[1]], x[left:right].T,
                                 out=buffer[:rows * (right - left)].view(rows, right - left))
                found.absorb(block[:count], slots[panel[0]:panel[1]], left, False, identity, own)

        if len(panels) > 2:
            share(task, itertools.pairwise(panels), size)
        else:
            task(panels, torch.empty(size))
        return found.neighbours()


def half_norms(x: Tensor) -> np.ndarray:
    """(N,) half the squared norms."""
    half = torch.cat([part.pow(2).sum(1) for part in x.split(65_536)]).div_(2)  # no second matrix of N x d
    if not bool(torch.isfinite(half).all()):
        bad = int((~torch.isfinite(half)).nonzero()[0])
        raise ValueError(f"the squared norm of row {bad} is beyond float32: scale the features down")
    return half.numpy()


def even_bounds(total: int, size: int) -> list[int]:
    """Cut 0 ... total into equal parts of at most ``size``: no part is so small that it rounds differently."""
    number = max(1, -(-total // size))
    return [total * i // number for i in range(number + 1)]
