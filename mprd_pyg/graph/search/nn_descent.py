"""Approximate neighbours of every row: cells compared by matrix products, then neighbours of neighbours."""
import logging
import threading
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mprd_pyg.graph.search.candidates import EMPTY, decode, encode, insert
from mprd_pyg.graph.search.cells import compare_cells, nearest_cells
from mprd_pyg.graph.search.exact import ExactSearch, Lists
from mprd_pyg.graph.search.faiss_search import complete
from mprd_pyg.graph.search.neighbours import Neighbours
from mprd_pyg.graph.threads import compiled, multiply_in_threads

log = logging.getLogger(__name__)


@compiled(fastmath=True, inline="always")
def product(x, y):
    """Inner product of two rows."""
    total = np.float32(0)
    for c in range(len(x)):
        total += x[c] * y[c]
    return total


@compiled
def reverse(lists, fresh, limit):
    """Who lists each node, at most ``limit``: (N + 1,) pointers and (E,) nodes, ``~node`` where not fresh."""
    count = np.zeros(len(lists) + 1, np.int64)
    for v in range(lists.shape[0]):
        for key in lists[v]:
            if key != EMPTY:
                u = np.int64(key & np.uint64(0xFFFFFFFF))
                count[u + 1] = min(count[u + 1] + 1, limit)
    ptr = np.cumsum(count)
    nodes, fill = np.empty(ptr[-1], np.int64), ptr[:-1].copy()
    for i in range(lists.shape[1]):  # the nearest first, so that a cap keeps these
        for v in range(lists.shape[0]):
            key = lists[v, i]
            if key != EMPTY:
                u = np.int64(key & np.uint64(0xFFFFFFFF))
                if fill[u] < ptr[u + 1]:
                    nodes[fill[u]] = v if fresh[v, i] else ~v
                    fill[u] += 1
    return ptr, nodes


@compiled
def descend(x, half, lists, fresh, ptr, back, first, last, seen, better):
    """Offer nodes ``first ... last - 1`` the neighbours of their neighbours, over paths with a fresh edge.

    Args:
        x: (N, d) rows; ``half`` (N,) half squared norms, or empty for the inner product.
        lists: (N, K) keys at the start of the round; ``fresh`` (N, K) those that the last round found.
        ptr, back: of :func:`reverse`.
        seen: (N,) int32 scratch of this thread, -1 before the first round: the last node that met each node
            (a meeting of an earlier round need not be repeated).
        better: (N, K) keys at the end of the round.
    """
    width = lists.shape[1]
    for v in range(first, last):
        seen[v] = v
        for i in range(width):
            better[v, i] = lists[v, i]
            if lists[v, i] != EMPTY:
                seen[np.int64(lists[v, i] & np.uint64(0xFFFFFFFF))] = v
        for e in range(width + ptr[v + 1] - ptr[v]):
            if e < width:
                if lists[v, e] == EMPTY:
                    continue
                u, new = np.int64(lists[v, e] & np.uint64(0xFFFFFFFF)), fresh[v, e]
            else:
                u = back[ptr[v] + e - width]
                new = u >= 0
                u = u if new else ~u
            for i in range(-1, width):
                if i < 0:
                    w = u  # who lists v is a candidate itself
                    if not new:
                        continue
                elif lists[u, i] == EMPTY or not (new or fresh[u, i]):
                    continue
                else:
                    w = np.int64(lists[u, i] & np.uint64(0xFFFFFFFF))
                if seen[w] == v:
                    continue
                seen[w] = v
                similarity = product(x[v], x[w])
                if len(half):
                    similarity = min(similarity - (half[v] + half[w]), np.float32(0))
                key = encode(similarity, w)
                if key < better[v, width - 1]:
                    insert(better[v], key)


@compiled
def compare(before, after, fresh):
    """Mark in ``fresh`` (N, K) which keys of ``after`` were not in ``before``; returns their number."""
    total = 0
    for v in range(before.shape[0]):
        p = 0
        for i in range(before.shape[1]):
            while p < before.shape[1] and before[v, p] < after[v, i]:
                p += 1
            fresh[v, i] = p == before.shape[1] or before[v, p] != after[v, i]
            total += fresh[v, i]
    return total


class NNDescent:
    """Approximate K nearest rows of every row.

    The rows are cut into cells by k-means; each row is compared with the rows of its nearest cells, block by
    block (the products run at matrix speed, and each serves both sides), a group of cells at a time until
    ``start_recall`` of a sample's true neighbours is found. The rest is found through neighbours of neighbours
    (Dong et al., WWW 2011), over paths with an edge that is still fresh, which needs that many to start
    from. The result does not depend on the number of threads.

    ``tests/benchmarks/knn.py``, 100,000 rows of 256, k = 10: 15 CPU s at recall 0.9996; FAISS's HNSW 83 CPU s (0.9994)
    and IVF-PQ 31 (0.992), pynndescent 20 (0.9996), ``faiss.knn`` 56, our exact search 38.

    Args:
        exact: the exact search over the rows.
        metric: ``"cosine"`` (inner product) or ``"l2"``.
        k: neighbours that will be asked for; max(16, k + 6) are kept.
        cell: mean rows per cell.
        probes: cells per group.
        max_probes: cells that a row is compared with at most.
        start_recall: recall on ``sample`` rows, drawn with ``seed``, at which the descent begins.
        rounds: at most so many rounds of descent; fewer once under 0.5 % of the neighbours change in one.
        sample: rows on which the recall of the start is measured.
        seed: of the samples.
    """

    def __init__(self, exact: ExactSearch, metric: str, k: int, cell: int = 512, probes: int = 8,
                 max_probes: int = 96, start_recall: float = 0.75, rounds: int = 5, sample: int = 300, seed: int = 0):
        total, self.exact, self.metric = len(exact.database), exact, metric
        generator = np.random.default_rng(seed)
        cells = max(1, total // cell)
        nearest = nearest_cells(exact.database, cells, min(max_probes, cells), generator)
        self.place = torch.from_numpy(np.argsort(nearest[:, 0], kind="stable"))
        nearest = nearest[self.place.numpy()]
        x = exact.database[self.place]
        half = None if exact.half is None else exact.half[self.place.numpy()]
        some = np.sort(generator.choice(total, min(sample, total), replace=False))
        truth = exact.neighbours(x[some], self.place[some], min(k, total - 1)).row.view(len(some), -1)
        found = Lists(total, min(max(16, k + 6), total), half=None if half is None else (half, half))
        for first in range(0, nearest.shape[1], probes):
            compare_cells(x, nearest, first, min(first + probes, nearest.shape[1]), cells, found)
            row = self._row(decode(found.lists[some])[1])
            recall = float((truth.unsqueeze(2) == row[:, :truth.shape[1]].unsqueeze(1)).any(2).float().mean())
            log.info("nndescent: %s rows, %d of %s cells each: recall %.3f", f"{total:,}",
                     min(first + probes, nearest.shape[1]), f"{cells:,}", recall)
            if recall >= start_recall:
                break
        self.lists = self._descend(x.numpy(), np.empty(0, np.float32) if half is None else half, found.lists, rounds)

    def all_rows(self, k: int, threshold: float | None = None, k_max: int | None = None) -> Neighbours:
        """The neighbours of every row; what the lists leave open is searched exactly."""
        own = torch.arange(len(self.exact.database))
        found = complete(*self.table(), self.exact.database, own, self.exact, k, threshold, k_max)
        return replace(found, built_by="nndescent")

    def table(self) -> tuple[Tensor, Tensor]:
        """Similarity and row (N, K), best first; -inf and -1 where none."""
        similarity, row = decode(self.lists)
        back = self.place.argsort()
        return torch.from_numpy(similarity)[back] * (2 if self.metric == "l2" else 1), self._row(row)[back]

    def _row(self, place: np.ndarray) -> Tensor:
        place = torch.from_numpy(place)
        return torch.where(place >= 0, self.place[place], -1)

    @staticmethod
    def _descend(x, half, lists, rounds):
        fresh, scratch = lists != EMPTY, threading.local()
        for number in range(rounds):
            better, (ptr, back) = np.empty_like(lists), reverse(lists, fresh, lists.shape[1])

            def task(first, _, better=better, lists=lists, ptr=ptr, back=back):
                if getattr(scratch, "seen", None) is None:
                    scratch.seen = np.full(len(x), -1, np.int32)
                descend(x, half, lists, fresh, ptr, back, first, min(first + 4096, len(x)), scratch.seen, better)

            multiply_in_threads(task, range(0, len(x), 4096), 0)
            changed = compare(lists, better, fresh) / lists.size
            log.info("nndescent: round %d changed %.2f %% of the neighbours", number + 1, 100 * changed)
            lists = better
            if changed < 0.005:
                break
        return lists
