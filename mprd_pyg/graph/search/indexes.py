"""Approximate neighbour search by FAISS: kinds by name, with parameters that follow from N and d."""
import difflib
import logging
import math

import faiss
import torch
from torch import Tensor

from mprd_pyg.graph.search.flat import METRICS, faiss_searches_on, gpu_resources

NAMES = ("auto", "exact", "Flat", "hnsw", "ivfpq", "nndescent")
#: strings of faiss.index_factory that a mistyped one may have meant
FAISS_NAMES = ("HNSW32", "HNSW32,Flat", "IVF256,Flat", "IVF256,PQ32", "IVF1024,PQ32x4fs,RFlat", "PQ32", "SQ8", "NSG32",
               "LSH")
#: rows from which ``"auto"`` is approximate
AUTO_ROWS = 100_000
#: rows that an index takes up at once, between which Ctrl-C is heard
BATCH = 65_536
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


def resolve(index: str, rows: int, device: torch.device) -> str:
    """The kind of search that a name stands for, for so many rows on the host or on a device."""
    on_device = device.type != "cpu"
    if index == "auto":
        index = "Flat" if on_device else "exact" if rows < AUTO_ROWS else "nndescent"
    if index == "Flat" and not faiss_searches_on(device):
        return "exact"
    if on_device and index == "nndescent":
        raise ValueError("the index 'nndescent' searches on the host: pass the features with .cpu(), or use "
                         "index='exact', which searches on the device")
    return index


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
        if not faiss_searches_on(device):
            raise RuntimeError("this FAISS sees no GPU")
        there = faiss.index_cpu_to_gpu(gpu_resources(), device.index or 0, made)
        if "Gpu" not in type(there).__name__:
            raise RuntimeError("it has no form for the GPU")
    except RuntimeError as error:
        raise ValueError(f"the index {index!r} cannot search on the device ({error.args[0].splitlines()[-1]}): pass "
                         f"the features with .cpu(), or use index='exact', which searches on the device") from error
    return there


def filled_index(database: Tensor, index: str, metric: str, k: int) -> faiss.Index:
    """The index of the rows (N, d), on their device."""
    made = make_index(index, len(database), database.shape[1], metric, k)
    if database.device.type != "cpu":
        made = to_gpu(made, index, database.device)
    made.train(database)
    for part in database.split(BATCH):
        made.add(part)
        if len(database) > 2 * BATCH:
            log.info("index %s: %s of %s rows", index, f"{made.ntotal:,}", f"{len(database):,}")
    return made
