"""Rows cut into cells by k-means, and compared cell by cell with matrix products."""
import threading

import faiss
import numpy as np
import torch
from torch import Tensor

from mprd_pyg.graph.search.exact import Lists
from mprd_pyg.graph.threads import multiply_in_threads


def nearest_cells(database: Tensor, number: int, probes: int, generator: np.random.Generator) -> np.ndarray:
    """The ``probes`` nearest of ``number`` k-means cells of each row (N, d): (N, probes) integers, nearest first.

    The means are those of 64 rows per cell, drawn by ``generator``.
    """
    total, dim = database.shape
    sample = torch.from_numpy(generator.choice(total, min(64 * number, total), replace=False))
    means = faiss.Kmeans(dim, number, niter=6, max_points_per_centroid=64, min_points_per_centroid=1, seed=1)
    means.train(database[sample].numpy())
    kind = np.uint16 if number < 1 << 16 else np.int32
    return np.concatenate([faiss.knn(part.numpy(), means.centroids, probes)[1].astype(kind)
                           for part in database.split(131_072)])


def compare_cells(x: Tensor, nearest: np.ndarray, first: int, last: int, number: int, found: Lists,
                  block: int = 1024) -> None:
    """Offer each row the rows of its cells ``first ... last - 1``, and these the row.

    Args:
        x: (N, d) rows, sorted by cell.
        nearest: (N, P) cells of each row, nearest first; the first is its own.
        number: how many cells there are.
        found: lists of all rows.
    """
    own, visited = nearest[:, 0], nearest[:, first:last].ravel()
    bounds = np.concatenate([[0], np.bincount(own, minlength=number).cumsum()]).tolist()
    visits = np.concatenate([[0], np.bincount(visited, minlength=number).cumsum()]).tolist()
    visitor = np.argsort(visited, kind="stable")
    visitor //= last - first
    identity, lock = np.arange(len(x)), threading.Lock()

    def task(item, buffer):
        cell, start = item
        rows = visitor[start:min(start + block, visits[cell + 1])]
        queries = x[torch.from_numpy(rows)]
        for left in range(bounds[cell], bounds[cell + 1], block):
            right = min(left + block, bounds[cell + 1])
            products = torch.mm(queries, x[left:right].T,
                                out=buffer[:len(rows) * (right - left)].view(len(rows), right - left))
            with lock:  # a row may visit two cells at the same time; reading is a tenth of the product
                found.absorb(products, rows, left, True, identity, identity)

    multiply_in_threads(task, ((cell, start) for cell in range(number)
                               for start in range(visits[cell], visits[cell + 1], block)), block ** 2)
