"""FAISS indexes that give back the vectors they hold, and their exhaustive search on several threads."""
import re
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np

INDEX_TYPES = re.compile(r"Flat|SQfp16|HNSW\d{1,3}(_SQfp16)?")


def new_index(dim: int, index_type: str) -> faiss.Index:
    """An empty index for inner products.

    Raises:
        ValueError: not one of the types that this module keeps.
    """
    check_index_type(index_type)
    index = faiss.index_factory(dim, index_type, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True  # half precision has nothing to learn
    return index


def check_index_type(index_type: str) -> None:
    """Raise ValueError unless it is a FAISS factory string of a kind that is kept here."""
    if not INDEX_TYPES.fullmatch(index_type):
        raise ValueError(f"index_type is {index_type!r}; expected 'Flat', 'SQfp16', 'HNSW32' or 'HNSW32_SQfp16'")


def search_index(index: faiss.Index, features: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """As ``index.search``; a few queries share the threads by parts of the index, which FAISS gives one thread each."""
    threads = min(faiss.omp_get_max_threads(), index.ntotal // 4096)
    if isinstance(index, faiss.IndexHNSW) or len(features) >= threads:
        if isinstance(index, faiss.IndexHNSW):
            index.hnsw.efSearch = max(128, 2 * top)
        return index.search(features, top)
    # Where faiss.contrib.torch_utils is imported, its replacement of `search` takes no parameters.
    search = getattr(index, "search_numpy", index.search)
    bounds = np.linspace(0, index.ntotal, threads + 1).astype(int).tolist()

    def part(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        return search(features, top, params=faiss.SearchParameters(sel=faiss.IDSelectorRange(low, high)))

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(part, bounds[:-1], bounds[1:]))
    similarity, rows = (np.concatenate([pair[side] for pair in found], axis=1) for side in (0, 1))
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :top]
    return np.take_along_axis(similarity, order, 1), np.take_along_axis(rows, order, 1)
