"""Nearest-neighbour search behind one small interface: exact or by an index, on the host or on the device."""
import numpy as np
import torch
from torch import Tensor

from mprd_pyg.graph.search.device import DeviceSearch
from mprd_pyg.graph.search.exact import ExactSearch
from mprd_pyg.graph.search.faiss_search import FaissSearch
from mprd_pyg.graph.search.indexes import check_index, resolve
from mprd_pyg.graph.search.neighbours import Neighbours
from mprd_pyg.graph.search.nn_descent import NNDescent


class NearestSearch:
    """Finds the most similar database rows of each query.

    Args:
        database: (N, d) float features; for ``"cosine"`` they must be unit vectors.
        metric: ``"cosine"`` (similarity: inner product) or ``"l2"`` (similarity: negative squared distance).
        index: ``"Flat"``, which is FAISS's brute force; ``"exact"``, our own; ``"hnsw"``, ``"ivfpq"``, ``"nndescent"``
            or a FAISS factory string (``"HNSW32"``, ``"IVF256,PQ32"`` ...), which may miss neighbours; or ``"auto"``:
            what was fastest in ``tests/benchmarks/knn.py``, on the host ``"exact"`` below 100,000 rows and
            ``"nndescent"`` from there on, on a device ``"Flat"``. Fewer than N / 16 queries are not worth an index:
            they are searched as by ``"Flat"``, and so is by ``"nndescent"`` whatever is not all rows of the database.
        block: rows per block of an exact search, which bounds its memory.
        k: neighbours that will be asked for (an index may be laid out for it).

    Features on a device are searched there, without a copy to the host, by the kinds that FAISS's GPU build serves
    where it is installed (``"Flat"``, and IVF kinds by factory string), and always by ``"exact"``, which then stands
    in for ``"Flat"``.
    """

    #: queries per database row from which an index is built
    WORTH = 1 / 16

    def __init__(self, database: Tensor, metric: str = "cosine", index: str = "Flat", block: int = 1024, k: int = 8):
        check_index(index, metric)
        self.database = database.detach().contiguous().float()
        self.metric, self.k = metric, k
        self.index = resolve(index, len(database), database.device)
        self.exact = (ExactSearch if database.device.type == "cpu" else DeviceSearch)(self.database, metric, block)
        exact = "exact" in (self.index, resolve("Flat", len(database), database.device))
        self.brute_force = self.exact if exact else FaissSearch(self.exact, metric, "Flat", k)
        self._indexed = None

    @property
    def approximate(self) -> bool:
        """Whether an index was built, so that neighbours may have been missed."""
        return self._indexed is not None

    def __call__(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Search: queries (Q, d) -> similarity (Q, k) and rows (Q, k), best first; row -1 where none."""
        return self.neighbours(queries, None, k).padded(k)

    def neighbours(self, queries: Tensor | None, own: Tensor | None, k: int, threshold: float | None = None,
                   k_max: int | None = None) -> Neighbours:
        """Neighbours of each query, best first; among equal similarities the lower row first.

        Args:
            queries: (Q, d); None for all rows of the database, each of which leaves itself out.
            own: (Q,) the database row that each query must leave out; None for none.
            k: neighbours per query (the least number of them, with a threshold).
            threshold: all rows more similar than this are neighbours, and one further row
                (:math:`k_i = max(k, 1 + #above)`).
            k_max: upper bound of :math:`k_i`.
        """
        count = len(self.database if queries is None else queries)
        search = self._search(count, queries is None)
        if queries is None and hasattr(search, "all_rows"):
            return search.all_rows(k, threshold, k_max)
        device = self.database.device
        if own is None:
            own = torch.full((count,), -1) if queries is not None else torch.arange(count)
        queries = self.database if queries is None else queries.detach().contiguous().float()
        return search.neighbours(queries, own.to(device), k, threshold, k_max)

    def _search(self, count: int, all_rows: bool) -> ExactSearch | DeviceSearch | FaissSearch | NNDescent:
        descent = self.index == "nndescent"
        if self.index in ("exact", "Flat") or count < self.WORTH * len(self.database) or (descent and not all_rows):
            return self.brute_force
        if self._indexed is None:
            self._indexed = NNDescent(self.exact, self.metric, self.k) if descent else \
                FaissSearch(self.exact, self.metric, self.index, self.k)
        return self._indexed

    def recall(self, found: Neighbours, k: int, sample: int, seed: int = 0) -> float:
        """Share of the exact k nearest among the first k ``found`` for all rows, on a seeded sample of rows."""
        total = len(self.database)
        some = np.sort(np.random.default_rng(seed).choice(total, min(sample, total), replace=False))
        some = torch.from_numpy(some).to(self.database.device)
        exact = self.exact.neighbours(self.database[some], some, k).padded(k)[1]
        start = (found.count.cumsum(0) - found.count)[some]
        mine = found.row[(start.unsqueeze(1) + torch.arange(k, device=some.device)).clamp(max=len(found.row) - 1)]
        return float((exact.unsqueeze(2) == mine.unsqueeze(1)).any(2).float().mean())
