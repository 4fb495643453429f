"""Approximate neighbour search by FAISS: kinds by name, with parameters that follow from N and d."""
import difflib
import logging
import math

import faiss
import torch
from torch import Tensor

from mprd_pyg.graph.search.device import DeviceSearch
from mprd_pyg.graph.search.exact import ExactSearch, Neighbours

METRICS = {"cosine": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
NAMES = ("auto", "exact", "Flat", "hnsw", "ivfpq", "nndescent")
#: strings of faiss.index_factory that a mistyped one may have meant
FAISS_NAMES = ("HNSW32", "HNSW32,Flat", "IVF256,Flat", "IVF256,PQ32", "IVF1024,PQ32x4fs,RFlat", "PQ32", "SQ8", "NSG32",
               "LSH")
#: rows from which ``"auto"`` is approximate
AUTO_ROWS = 100_000
log = logging.getLogger(__name__)


def check_index(index: str, metric: str) -> None:
    """Refuse an index that FAISS cannot build or that cannot serve the metric, naming what was probably meant."""
    if index in NAMES:
        return
    made, error = try_factory(index, METRICS[metric])
    if made is None and try_factory(index, faiss.METRIC_L2)[0] is None:
        near = difflib.get_close_matches(index.lower(), [name.lower() for name in NAMES + FAISS_NAMES], 3, 0.4)
        near = [name for name in NAMES + FAISS_NAMES if name.lower() in near]
        raise ValueError(f"there is no index {index!r}: use one of {', '.join(NAMES)}, or a string of "
                         f"faiss.index_factory such as 'HNSW32'"
                         + (f"; did you mean {' or '.join(map(repr, near))}?" if near else "")) from error
    if made is None or made.metric_type != METRICS[metric]:
        raise ValueError(f"the index {index!r} cannot serve metric={metric!r}: it only compares by its own "
                         f"distance. Use 'exact', 'hnsw', 'ivfpq' or 'nndescent', which serve both metrics")


def try_factory(index: str, metric: int) -> tuple[faiss.Index | None, RuntimeError | None]:
    """The index for a size that most product quantisers divide, or FAISS's objection."""
    try:
        return faiss.index_factory(7680, index, metric), None
    except RuntimeError as error:
        return None, error


def resolve(index: str, rows: int, on_device: bool = False) -> str:
    """The kind of index that a name stands for, for so many rows on the host or on a device."""
    if index == "auto":
        return "exact" if rows < AUTO_ROWS or on_device else "nndescent"
    if on_device and index == "nndescent":
        raise ValueError("the index 'nndescent' searches on the host: pass the features with .cpu(), or use "
                         "index='exact', which searches on the device")
    return "exact" if index == "Flat" else index


def make_index(index: str, rows: int, dim: int, metric: str, k: int) -> faiss.Index:
    """An empty FAISS index.

    ``"hnsw"``: 16 links per node, breadth 80 while building, max(64, 2 k) while searching.
    ``"ivfpq"``: 4 sqrt(N) cells, 4-bit product codes of two dimensions each, the best 10 k of which are
    compared exactly; a sixteenth of the cells (at least 16) are probed.
    """
    if index == "hnsw":
        made = faiss.IndexHNSWFlat(dim, 16, METRICS[metric])
        made.hnsw.efConstruction, made.hnsw.efSearch = 80, max(64, 2 * k)
        return made
    if index == "ivfpq":
        cells = max(1, min(int(4 * math.sqrt(rows)), rows // 39))
        parts = max(m for m in range(1, max(dim // 2, 1) + 1) if dim % m == 0)
        if rows < 1000:  # too few rows to train 16 centroids per part and cells worth the name
            return faiss.index_factory(dim, "Flat", METRICS[metric])
        made = faiss.index_factory(dim, f"IVF{cells},PQ{parts}x4fs,RFlat", METRICS[metric])
        made.k_factor = 10
        faiss.extract_index_ivf(made).nprobe = min(cells, max(16, cells // 16))
        return made
    try:
        return faiss.index_factory(dim, index, METRICS[metric])
    except RuntimeError as error:
        raise ValueError(f"FAISS cannot build the index {index!r} for {dim} dimensions: {error.args[0]}") from error


def to_gpu(made: faiss.Index, index: str, device: torch.device) -> faiss.Index:
    """The index on the device, where this FAISS can: its GPU build serves flat and IVF kinds."""
    try:
        if not faiss.get_num_gpus():
            raise RuntimeError("this FAISS sees no GPU")
        there = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), device.index or 0, made)
        if "Gpu" not in type(there).__name__:
            raise RuntimeError("it has no form for the GPU")
    except RuntimeError as error:
        raise ValueError(f"the index {index!r} cannot search on the device ({error.args[0].splitlines()[-1]}): pass "
                         f"the features with .cpu(), or use index='exact', which searches on the device") from error
    return there


class IndexedSearch:
    """Neighbours from a FAISS index; what it leaves open is searched exactly.

    Args:
        exact: the exact search over the same database.
        metric: ``"cosine"`` or ``"l2"``.
        index: ``"hnsw"``, ``"ivfpq"`` or a factory string.
        k: neighbours that will be asked for.
    """

    #: results asked of the index where a threshold may make all of them neighbours
    WIDTH = 64
    BATCH = 65_536

    def __init__(self, exact: ExactSearch | DeviceSearch, metric: str, index: str, k: int):
        self.exact, self.metric, self.name = exact, metric, index
        database = exact.database
        self.index = make_index(index, len(database), database.shape[1], metric, k)
        if database.device.type != "cpu":
            self.index = to_gpu(self.index, index, database.device)
        self.index.train(database)
        for first in range(0, len(database), self.BATCH):  # in parts, between which Ctrl-C is heard
            self.index.add(database[first:first + self.BATCH])
            if len(database) > 2 * self.BATCH:
                log.info("index %s: %s of %s rows", index, f"{self.index.ntotal:,}", f"{len(database):,}")

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """(Q, d) -> similarity (Q, k) and rows (Q, k), best first; row -1 where none was found."""
        parts = [self.index.search(part.contiguous(), k) for part in queries.split(self.BATCH)]
        value, row = (torch.cat(part) for part in zip(*parts, strict=True))
        return (value if self.metric == "cosine" else -value), row

    def itself(self, k: int, threshold: float | None = None, most: int | None = None) -> Neighbours:
        """The neighbours of every row, itself left out."""
        database = self.exact.database
        return self.neighbours(database, torch.arange(len(database), device=database.device), k, threshold, most)

    def neighbours(self, queries: Tensor, own: Tensor, k: int, threshold: float | None = None,
                   most: int | None = None) -> Neighbours:
        """The neighbours of queries (Q, d), each without the database row ``own`` (Q,); -1 for none."""
        width = k + 1 if threshold is None else max(self.WIDTH, k + 2)
        similarity, row = self.search(queries, min(width, len(self.exact.database)))
        return complete(similarity, row, queries, own, self.exact, k, threshold, most)


def complete(similarity: Tensor, row: Tensor, queries: Tensor, own: Tensor, exact: ExactSearch | DeviceSearch,
             k: int, threshold: float | None, most: int | None) -> Neighbours:
    """Neighbours from an index's answer (Q, W); the queries that it leaves open are searched exactly.

    Open are those for which the index found fewer than k distinct rows other than the query's own, and
    those all of whose answers lie above the threshold, so that further ones may.
    """
    twin = torch.zeros_like(row, dtype=torch.bool)
    by_row = row.sort(dim=1, stable=True)
    twin.scatter_(1, by_row.indices[:, 1:], by_row.values[:, 1:] == by_row.values[:, :-1])
    other = (row >= 0) & ~twin & (row != own.unsqueeze(1))
    limit, above = torch.full_like(own, k), torch.zeros_like(own)
    if threshold is not None:
        above = 1 + (other & (similarity > threshold)).sum(1)
        limit = above.clamp(min=k, max=most)
    done = other.sum(1) >= limit
    left = (~done).nonzero().flatten()
    keep = other & done.unsqueeze(1) & (other.cumsum(1) <= limit.unsqueeze(1))
    capped = 0 if most is None or threshold is None else int((above[done] > most).sum())
    count, found = keep.sum(1), Neighbours(keep.sum(1), row[keep], similarity[keep], capped)
    if not len(left):
        return found
    log.info("%s of %s queries were left open by the index and searched exactly", f"{len(left):,}", f"{len(row):,}")
    rest = exact.neighbours(queries[left], own[left], k, threshold, most)
    count[left] = rest.count
    order = torch.cat([torch.repeat_interleave(found.count), left[torch.repeat_interleave(rest.count)]])
    order = order.argsort(stable=True)
    return Neighbours(count, torch.cat([found.row, rest.row])[order],
                      torch.cat([found.similarity, rest.similarity])[order], capped + rest.capped)
