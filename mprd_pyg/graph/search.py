"""Nearest-neighbour search behind one small interface: FAISS on the host, blocks on the device."""
import faiss
import faiss.contrib.torch_utils  # noqa: F401  (lets FAISS read torch tensors)
import torch
from torch import Tensor

METRICS = {"cosine": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}


class NearestSearch:
    """Finds the most similar database rows of each query.

    Args:
        database: (N, d) float features; for ``"cosine"`` they must be unit vectors.
        metric: ``"cosine"`` (similarity: inner product) or ``"l2"`` (similarity: negative squared distance).
        index: a FAISS factory string. ``"Flat"`` is exact and copies nothing; any other one
            (``"HNSW32"``, ``"IVF256,PQ32"`` ...) is trained and filled here.
        block: queries per block of the device search, which bounds its memory to block x N.

    Features on a CUDA device are searched there, exactly, without a copy to the host.
    """

    def __init__(self, database: Tensor, metric: str = "cosine", index: str = "Flat", block: int = 1024):
        self.database = database.detach().contiguous().float()
        self.metric, self.block, self.index = metric, block, None
        if index != "Flat":
            if database.is_cuda:
                raise ValueError(f"the approximate index {index!r} searches on the host: pass the features "
                                 f"with .cpu(), or use index='Flat', which searches on the device")
            try:
                self.index = faiss.index_factory(database.shape[1], index, METRICS[metric])
            except RuntimeError as error:
                raise ValueError(f"FAISS knows no index {index!r} for {database.shape[1]} dimensions; use 'Flat' "
                                 f"or a string of faiss.index_factory such as 'HNSW32'") from error
            self.index.train(self.database)
            self.index.add(self.database)

    def __call__(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Search: queries (Q, d) -> similarity (Q, k) and rows (Q, k), best first; row -1 where none."""
        queries = queries.detach().contiguous().float()
        if self.database.is_cuda:
            return self._on_device(queries, k)
        if self.index is not None:
            value, rows = self.index.search(queries, k)
        else:
            value, rows = faiss.knn(queries, self.database, k, metric=METRICS[self.metric])
        return (value if self.metric == "cosine" else -value), rows

    def _on_device(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        values, rows = [], []
        for part in queries.split(self.block):
            similarity = part @ self.database.T
            if self.metric == "l2":
                similarity = 2 * similarity - part.pow(2).sum(1, True) - self.database.pow(2).sum(1)
            value, row = similarity.topk(k, dim=1)
            values.append(value)
            rows.append(row)
        return torch.cat(values), torch.cat(rows)
