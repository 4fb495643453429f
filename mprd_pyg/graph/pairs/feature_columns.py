"""How alike the features of two nodes and of their neighbours are, without the pair's own edge."""
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def feature_columns(x: Tensor, ptr: np.ndarray, neighbour: np.ndarray, pairs: Tensor, own: Tensor) -> Tensor:
    """The columns ``FEATURES`` of ``PairStatistics`` (4, P) for pairs (P, 2) from x (N, d), which may be sparse.

    ``own`` (P,) tells which pairs are edges: each end is then taken out of the other's sum of neighbours.
    """
    unit = F.normalize((x.to_dense() if x.is_sparse or x.is_sparse_csr else x).detach().float(), dim=1)
    adjacency = torch.sparse_csr_tensor(torch.from_numpy(ptr), torch.from_numpy(neighbour),
                                        torch.ones(len(neighbour), dtype=torch.double), (len(unit), len(unit)))
    # In double precision, so that what an end added to the other's sum is taken out without a trace.
    around, degree = adjacency.to(unit.device) @ unit.double(), torch.from_numpy(np.diff(ptr)).to(unit.device)
    parts, chunk = [], 1 + (1 << 20) // unit.shape[1]
    for part, edge in zip(pairs.split(chunk), own.split(chunk), strict=True):
        (i, j), edge = part.to(unit.device).T, edge.to(unit.device).long()
        unit_i, unit_j = unit[i].double(), unit[j].double()
        around_i, around_j = around[i] - edge[:, None] * unit_j, around[j] - edge[:, None] * unit_i
        smooth = torch.stack([(unit_i * around_j).sum(1) / (degree[j] - edge).clamp(min=1),
                              (unit_j * around_i).sum(1) / (degree[i] - edge).clamp(min=1)])
        sums = [total * (total.norm(dim=1, keepdim=True) > 1e-6) for total in (around_i + unit_i, around_j + unit_j)]
        parts.append(torch.stack([(unit_i * unit_j).sum(1), smooth.amin(0), smooth.amax(0),
                                  F.cosine_similarity(*sums)]))
    return torch.cat(parts, dim=1)
