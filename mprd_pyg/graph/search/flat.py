"""FAISS's brute force, without an index and without a copy of the database."""
import functools

import faiss
import faiss.contrib.torch_utils  # noqa: F401  (lets FAISS read torch tensors)
import torch
from torch import Tensor

METRICS = {"cosine": faiss.METRIC_INNER_PRODUCT, "l2": faiss.METRIC_L2}
#: results per query that FAISS can select on a device
MAX_GPU_K = 2048


@functools.cache
def gpu_resources() -> "faiss.StandardGpuResources":
    """FAISS's scratch memory on the devices, kept from search to search."""
    return faiss.StandardGpuResources()


def faiss_searches_on(device: torch.device) -> bool:
    """Whether this FAISS searches there: on the host always, on CUDA with its GPU build."""
    return device.type == "cpu" or (device.type == "cuda" and faiss.get_num_gpus() > 0)


class FlatSearch:
    """``faiss.knn`` on the host, ``faiss.knn_gpu`` on a device.

    Args:
        database: (N, d) float32.
        metric: ``"cosine"`` (inner product) or ``"l2"``.
    """

    def __init__(self, database: Tensor, metric: str):
        self.database, self.metric = database, METRICS[metric]
        self.name = "faiss.knn" if database.device.type == "cpu" else "faiss.knn_gpu"

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """(Q, d) -> inner product or squared distance (Q, k) and rows (Q, k), best first."""
        if self.name == "faiss.knn_gpu":
            return faiss.knn_gpu(gpu_resources(), queries, self.database, min(k, MAX_GPU_K), metric=self.metric,
                                 device=self.database.device.index)
        value, row = faiss.knn(queries.numpy(), self.database.numpy(), k, self.metric)
        return torch.from_numpy(value), torch.from_numpy(row)
