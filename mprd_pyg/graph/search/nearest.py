"""Nearest-neighbour search behind one small interface: exact or by an index, on the host or on the device."""
import logging

import faiss.contrib.torch_utils  # noqa: F401  (lets FAISS read torch tensors)
import numpy as np
import torch
from torch import Tensor

from mprd_pyg.graph.search.device import DeviceSearch
from mprd_pyg.graph.search.exact import ExactSearch, Neighbours
from mprd_pyg.graph.search.indexes import METRICS, IndexedSearch, check_index, resolve
from mprd_pyg.graph.search.nn_descent import NNDescent

__all__ = ["METRICS", "NearestSearch"]
log = logging.getLogger(__name__)


class NearestSearch:
    """Finds the most similar database rows of each query.

    Args:
        database: (N, d) float features; for ``"cosine"`` they must be unit vectors.
        metric: ``"cosine"`` (similarity: inner product) or ``"l2"`` (similarity: negative squared distance).
        index: ``"exact"`` (or ``"Flat"``), ``"hnsw"``, ``"ivfpq"``, ``"nndescent"``, a FAISS factory string
            (``"HNSW32"``, ``"IVF256,PQ32"`` ...), or ``"auto"``: exact below 100,000 rows and always on a
            device, ``"nndescent"`` from there on, where it was measured to take a third of the time of the exact
            search (they break even near 25,000 rows of 256). An index is trained and filled when a search is
            worth it: fewer than N / 16 queries are searched exactly, which is faster and misses nothing.
            ``"nndescent"`` finds the neighbours of the database's own rows; any other query is searched exactly.
        block: rows per block of an exact search, which bounds its memory.
        k: neighbours that will be asked for (an index may be laid out for it).

    Features on a device are searched there, without a copy to the host: exactly, or by the kinds of FAISS index that
    its GPU build serves, where that is installed (IVF kinds by factory string).
    """

    #: queries per database row from which an index is built
    WORTH = 1 / 16

    def __init__(self, database: Tensor, metric: str = "cosine", index: str = "Flat", block: int = 1024, k: int = 8):
        check_index(index, metric)
        self.database = database.detach().contiguous().float()
        self.metric, self.block, self.k = metric, block, k
        on_device = database.device.type != "cpu"
        self.index = resolve(index, len(database), on_device)
        kind = DeviceSearch if on_device else ExactSearch
        self.exact = kind(self.database, metric, block)
        self._indexed = None

    @property
    def approximate(self) -> bool:
        """Whether an index was built, so that neighbours may have been missed."""
        return self._indexed is not None

    def __call__(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Search: queries (Q, d) -> similarity (Q, k) and rows (Q, k), best first; row -1 where none."""
        found = self.neighbours(queries, None, k)
        return padded(found, k)

    def neighbours(self, queries: Tensor | None, own: Tensor | None, k: int, threshold: float | None = None,
                   most: int | None = None) -> Neighbours:
        """Neighbours of each query, best first; among equal similarities the lower row first.

        Args:
            queries: (Q, d); None for all rows of the database, each of which leaves itself out.
            own: (Q,) the database row that each query must leave out; None for none.
            k: neighbours per query (the least number of them, with a threshold).
            threshold: all rows more similar than this are neighbours, and one further row
                (:math:`k_i = max(k, 1 + #above)`).
            most: upper bound of :math:`k_i`.
        """
        count = len(self.database) if queries is None else len(queries)
        search = self._search(count, queries is None)
        if queries is None:
            return search.itself(k, threshold, most)
        queries = queries.detach().contiguous().float()
        if own is None:
            own = torch.full((count,), -1, device=self.database.device)
        return search.neighbours(queries, own.to(self.database.device), k, threshold, most)

    def _search(self, count: int, itself: bool) -> ExactSearch | DeviceSearch | IndexedSearch | NNDescent:
        graph = self.index == "nndescent"
        if self.index == "exact" or (graph and not itself) or count < self.WORTH * len(self.database):
            return self.exact
        if self._indexed is None:
            kind = NNDescent if graph else IndexedSearch
            self._indexed = kind(self.exact, self.metric, *(() if graph else (self.index,)), self.k)
        return self._indexed

    def recall(self, found: Neighbours, k: int, sample: int, seed: int = 0) -> float:
        """Share of the exact k nearest among the first k ``found`` for all rows, on a seeded sample of rows."""
        total = len(self.database)
        some = np.sort(np.random.default_rng(seed).choice(total, min(sample, total), replace=False))
        some = torch.from_numpy(some).to(self.database.device)
        exact = padded(self.exact.neighbours(self.database[some], some, k), k)[1]
        start = (found.count.cumsum(0) - found.count)[some]
        mine = found.row[(start.unsqueeze(1) + torch.arange(k, device=some.device)).clamp(max=len(found.row) - 1)]
        return float((exact.unsqueeze(2) == mine.unsqueeze(1)).any(2).float().mean())

    def _on_device(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        none = torch.full((len(queries),), -1, device=queries.device)
        return padded(DeviceSearch(self.database, self.metric, self.block).neighbours(queries, none, k), k)


def padded(found: Neighbours, k: int) -> tuple[Tensor, Tensor]:
    """Similarity and row (Q, k) of ragged neighbours; -inf and -1 where there are fewer than k."""
    rank = torch.arange(k, device=found.count.device)
    there = rank < found.count.unsqueeze(1)
    similarity = torch.full(there.shape, -torch.inf, device=found.count.device)
    row = torch.full(there.shape, -1, device=found.count.device)
    if int(found.count.max() if len(found.count) else 0) > k:
        raise ValueError(f"more than {k} neighbours were found for a query")
    similarity[there], row[there] = found.similarity, found.row
    return similarity, row
