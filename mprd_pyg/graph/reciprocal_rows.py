"""k-reciprocal encoding: sparse rows whose overlap says how much two nodes agree on their mutual neighbours."""
from collections.abc import Callable

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from mprd_pyg import processes
from mprd_pyg.graph import reciprocal_kernels as kernel
from mprd_pyg.graph.search.lists import camera_lists, nearest_lists
from mprd_pyg.graph.threads import in_threads
from mprd_pyg.sharded_rows import ShardedRows

SparseRows = csr_matrix
"""N rows over N columns, positive where they are not zero; columns ascend within a row, and each row sums to 1."""


def k_reciprocal_rows(x: Tensor | ShardedRows, k1: int = 30, k2: int = 6, index: str = "Flat") -> SparseRows:
    """k-reciprocal encoding (Zhong et al., CVPR 2017, Eq. 3 to 7 and 11).

    Args:
        x: (N, d) unit features.
        k1: neighbours among which mutual ones are sought; half as many for the expansion.
        k2: nearest rows over which a row is averaged, itself included; 1 averages nothing.
        index: of the search, see :class:`NearestSearch`.
    """
    if k1 < 1 or k2 < 1:
        raise ValueError(f"k1 and k2 must be at least 1, got {k1} and {k2}")
    lists = nearest_lists(x, max(k1, k2 - 1), index)
    return reciprocal_rows(x, lists[:, :k1], lists[:, :round(k1 / 2)], lists[:, :k2 - 1])


def camera_reciprocal_rows(x: Tensor | ShardedRows, camera: Tensor, k_own: int = 6, k_other: int = 6,
                           query_own: int = 2, query_other: int = 2, expand: bool = True,
                           index: str = "Flat") -> SparseRows:
    """Camera-aware k-reciprocal encoding: one's own camera and all others have lists of their own.

    The neighbours of i are the ``k_own`` nearest images of its camera and the ``k_other`` nearest of all others, so
    that the near images of one's own camera do not crowd out the others. Chen et al. (CVPR 2024) are
    ``k_own=5, k_other=20, query_own=1, query_other=4, expand=False``.

    Args:
        x: (N, d) unit features.
        camera: (N,) camera of each row.
        k_own: neighbours of the own camera.
        k_other: neighbours of all other cameras.
        query_own: rows of the own camera over which a row is averaged, besides itself.
        query_other: rows of other cameras over which it is averaged.
        expand: add the mutual neighbours of mutual neighbours, in lists of half length, by the two-thirds rule.
        index: of the searches, see :class:`NearestSearch`.
    """
    if min(k_own, k_other, query_own, query_other) < 0 or k_own + k_other < 1:
        raise ValueError(f"list lengths must not be negative and not all zero, got k_own={k_own}, k_other={k_other}, "
                         f"query_own={query_own}, query_other={query_other}")
    own, other = camera_lists(x, camera, max(k_own, query_own), max(k_other, query_other), index)

    def joined(first: int, second: int) -> Tensor:
        return torch.cat([own[:, :first], other[:, :second]], dim=1)
    half = joined(round(k_own / 2), round(k_other / 2)) if expand else own[:, :0]
    return reciprocal_rows(x, joined(k_own, k_other), half, joined(query_own, query_other))


def reciprocal_rows(x: Tensor | ShardedRows, near: Tensor, half: Tensor, query: Tensor) -> SparseRows:
    r"""The encoding of any neighbour lists, each (N, K) without the row itself, -1 where there is none.

    :math:`R(i) = \{i\} \cup \{j \in near(i) : i \in near(j)\}`. It is expanded by the mutual neighbours of each of its
    members c in ``half``, if more than two thirds of them lie in R(i). The row of i is the softmax of minus the
    squared distance :math:`2 - 2 s_{ij}` over the result, then its mean with the rows of ``query``.
    """
    near, half, query = (lists.contiguous().numpy() for lists in (near, half, query))
    length, column = _joined(kernel.encode, len(near), *_mutual_lists(near), *_mutual_lists(half))
    pointer, pairs = _pointer(length), np.stack([np.arange(len(near)).repeat(length), column], axis=1)
    value = _products(x, pairs, np.float64)
    in_threads(lambda start, stop: kernel.soften(pointer, value, start, stop), len(near))
    rows = csr_matrix((value, column, pointer), (len(near),) * 2)
    return averaged(rows, query) if query.shape[1] else rows


def averaged(rows: SparseRows, query: np.ndarray) -> SparseRows:
    """The mean of each row and the rows of its ``query`` (N, K), where -1 stands for none."""
    taken = np.concatenate([np.arange(len(query))[:, None], query], axis=1)
    count = (taken >= 0).sum(1)
    mean = csr_matrix((np.ones(count.sum()), taken[taken >= 0], _pointer(count)), rows.shape) @ rows
    mean.data /= count.repeat(np.diff(mean.indptr))
    mean.sort_indices()
    return mean


def neighbour_probability_rows(x: Tensor | ShardedRows, k: int = 30, scale: float = 0.5,
                               index: str = "Flat") -> SparseRows:
    r"""Rows proportional to :math:`\exp(-d^2_{ij} / scale)` over i and its k nearest (Liu, FC-ES, 2024).

    Args:
        x: (N, d) unit features; :math:`d^2 = 2 - 2 s`.
        k: neighbours.
        scale: of the squared distance.
        index: of the search, see :class:`NearestSearch`.
    """
    if k < 1 or scale <= 0:
        raise ValueError(f"k must be at least 1 and scale positive, got {k} and {scale}")
    lists = nearest_lists(x, k, index)
    column = torch.cat([torch.arange(len(lists)).unsqueeze(1), lists], dim=1)
    there = column >= 0
    row = torch.arange(len(lists)).unsqueeze(1).expand_as(column)
    weight = torch.zeros(column.shape, dtype=torch.float64)
    similarity = pair_similarity(x, torch.stack([row[there], column[there]], dim=1)).double()
    weight[there] = (-(2 - 2 * similarity) / scale).exp()
    order = torch.where(there, column, len(lists)).argsort(dim=1)
    column, weight = column.gather(1, order), (weight / weight.sum(1, keepdim=True)).gather(1, order)
    kept = column >= 0
    return csr_matrix((weight[kept].numpy(), column[kept].numpy(), _pointer(kept.sum(1).numpy())), (len(lists),) * 2)


def jaccard(rows: SparseRows, pairs: Tensor) -> Tensor:
    r"""Generalised Jaccard similarity :math:`\sum_c \min(V_{ic}, V_{jc}) / \sum_c \max(V_{ic}, V_{jc})`.

    Pairs (P, 2) of the rows i and j of V -> (P,) float64 in [0, 1].
    """
    return _pairs(rows, pairs, False)


def jaccard_neighbours(rows: SparseRows, asked: Tensor | None = None, least: float = 0.0) -> tuple[Tensor, Tensor,
                                                                                                   Tensor]:
    """All rows that share a column with the rows ``asked`` (R,), all rows by default.

    Args:
        rows: V.
        asked: (R,) the rows.
        least: pairs of a lower similarity are left out.

    Returns:
        row (E,) i, other (E,) j and their :func:`jaccard` (E,) > 0, in the order of ``asked``, then by j; j = i is
        left out.
    """
    return _neighbours(rows, asked, least, False)


def edge_probability(rows: SparseRows, pairs: Tensor) -> Tensor:
    r"""Neighbour-based edge probability :math:`\frac12 \sum_c (p_{ic} + p_{jc})` over the columns that both rows have.

    Pairs (P, 2) of the rows i and j of p, of :func:`neighbour_probability_rows` -> (P,) float64.
    """
    return _pairs(rows, pairs, True)


def edge_probability_neighbours(rows: SparseRows, asked: Tensor | None = None, least: float = 0.0) -> tuple[
        Tensor, Tensor, Tensor]:
    """As :func:`jaccard_neighbours`, with :func:`edge_probability` instead."""
    return _neighbours(rows, asked, least, True)


def pair_similarity(x: Tensor | ShardedRows, pairs: Tensor) -> Tensor:
    """Inner products of pairs (P, 2) of the rows of x (N, d) -> (P,) float32 on the host, nothing gathered."""
    return torch.from_numpy(_products(x, pairs.cpu().numpy(), np.float32))


# -- from tensors to compiled loops and back ---------------------------------------------------------------------------

def _products(x: Tensor | ShardedRows, pairs: np.ndarray, dtype: type) -> np.ndarray:
    """Inner products (P,) of pairs (P, 2) of rows; of sharded ones, by the process that holds the second."""
    if isinstance(x, ShardedRows):
        return _sharded_products(x, torch.from_numpy(pairs), dtype)
    out, features = np.empty(len(pairs), dtype), _features(x)
    pairs = np.ascontiguousarray(pairs)
    in_threads(lambda start, stop: kernel.products(features, features, pairs, start, stop, out), len(pairs))
    return out


def _sharded_products(x: ShardedRows, pairs: Tensor, dtype: type, block: int = 1 << 16) -> np.ndarray:
    """Some pairs at a time, sorted by their first rows, which are fetched: each about once."""
    out = np.zeros(len(pairs), dtype)
    for chosen in pairs[:, 0].argsort(stable=True).split(block):
        first, place = pairs[chosen, 0].unique(return_inverse=True)
        fetched = _features(x[first])
        for part in x.parts:
            here = (pairs[chosen, 1] >= part.first) & (pairs[chosen, 1] < part.first + part.own.shape[0])
            second, other = pairs[chosen[here], 1].unique(return_inverse=True)
            own, at = _features(part.read(second.to(x.device))), torch.stack([place[here], other], dim=1).numpy()
            found = np.empty(len(at), dtype)
            kernel.products(fetched, own, at, 0, len(at), found)
            out[chosen[here].numpy()] = found
    return processes.all_reduce(torch.from_numpy(out)).numpy()


def _features(x: Tensor) -> np.ndarray:
    return x.detach().float().cpu().contiguous().numpy()


def _arrays(rows: SparseRows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rows.indptr, rows.indices, rows.data


def _pointer(length: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(length)])


def _joined(loop: Callable, count: int, *arguments) -> list[np.ndarray]:
    """Run ``loop(start, stop, *arguments)`` over 0 ... count in threads, and join the arrays that the pieces return."""
    parts = {}

    def work(start: int, stop: int) -> None:
        parts[start] = loop(start, stop, *arguments)
    in_threads(work, count, least=256)
    return [np.concatenate(arrays) for arrays in zip(*(parts[start] for start in sorted(parts)), strict=True)]


def _mutual_lists(lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size, member = np.empty(len(lists), np.int64), np.empty((len(lists), lists.shape[1] + 1), np.int64)
    in_threads(lambda start, stop: kernel.mutual(lists, start, stop, size, member), len(lists))
    return size, member


def _pairs(rows: SparseRows, pairs: Tensor, mean: bool) -> Tensor:
    if pairs.numel() and (int(pairs.min()) < 0 or int(pairs.max()) >= rows.shape[0]):
        raise ValueError(f"pairs must lie in 0 ... {rows.shape[0] - 1}, got {int(pairs.min())} ... {int(pairs.max())}")
    out, pairs = np.empty(len(pairs)), pairs.cpu().contiguous().numpy()
    in_threads(lambda start, stop: kernel.shared(*_arrays(rows), pairs, start, stop, mean, out), len(pairs))
    return torch.from_numpy(out)


def _neighbours(rows: SparseRows, asked: Tensor | None, least: float, mean: bool) -> tuple[Tensor, Tensor, Tensor]:
    asked = np.arange(rows.shape[0]) if asked is None else asked.cpu().contiguous().numpy()
    length, other, value = _joined(kernel.all_shared, len(asked), asked, *_arrays(rows), *_arrays(rows.tocsc()), mean,
                                   float(least))
    return torch.from_numpy(np.repeat(asked, length)), torch.from_numpy(other), torch.from_numpy(value)
