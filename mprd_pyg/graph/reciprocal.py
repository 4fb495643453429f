"""k-reciprocal encoding: sparse rows whose overlap says how much two nodes agree on their mutual neighbours."""
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from mprd_pyg.graph.search.nearest import NearestSearch, padded
from mprd_pyg.graph.threads import compiled, in_threads


@dataclass(frozen=True)
class SparseRows:
    """N rows over N columns, on the host, positive where they are not zero. Columns ascend within a row.

    Args:
        ptr: (N + 1,) where each row starts.
        column: (E,) the columns, row by row.
        value: (E,) float64; each row sums to 1.
    """

    ptr: Tensor
    column: Tensor
    value: Tensor

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.ptr) - 1

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``ptr``, ``column`` and ``value`` for compiled loops."""
        return self.ptr.numpy(), self.column.numpy(), self.value.numpy()

    @cached_property
    def inverted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The inverted index: ``ptr`` (N + 1,), the rows that hold each column, ascending, and their values."""
        ptr, column, value = self.arrays
        by_column = csr_matrix((value, column, ptr), shape=(self.num_rows, self.num_rows)).tocsc()
        return by_column.indptr.astype(np.int64), by_column.indices.astype(np.int64), by_column.data


def k_reciprocal_rows(x: Tensor, k1: int = 30, k2: int = 6, index: str = "Flat") -> SparseRows:
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


def camera_reciprocal_rows(x: Tensor, camera: Tensor, k_own: int = 6, k_other: int = 6, query_own: int = 2,
                           query_other: int = 2, expand: bool = True, index: str = "Flat") -> SparseRows:
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


def reciprocal_rows(x: Tensor, near: Tensor, half: Tensor, query: Tensor) -> SparseRows:
    r"""The encoding of any neighbour lists, each (N, K) without the row itself, -1 where there is none.

    :math:`R(i) = \{i\} \cup \{j \in near(i) : i \in near(j)\}`. It is expanded by the mutual neighbours of each of its
    members c in ``half``, if more than two thirds of them lie in R(i). The row of i is the softmax of minus the
    squared distance :math:`2 - 2 s_{ij}` over the result, then its mean with the rows of ``query``.
    """
    near, half, query = (lists.contiguous().numpy() for lists in (near, half, query))
    features = x.detach().float().cpu().contiguous().numpy()
    encoded = _joined(_encode, len(features), features, *_mutual_lists(near), *_mutual_lists(half))
    if query.shape[1]:
        encoded = _joined(_average, len(features), query, _pointer(encoded[0]), *encoded[1:])
    length, column, value = encoded
    return SparseRows(*map(torch.from_numpy, (_pointer(length), column, value)))


def neighbour_probability_rows(x: Tensor, k: int = 30, scale: float = 0.5, index: str = "Flat") -> SparseRows:
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
    return SparseRows(torch.from_numpy(_pointer(there.sum(1).numpy())), column[column >= 0], weight[column >= 0])


def jaccard(rows: SparseRows, pairs: Tensor) -> Tensor:
    r"""Generalised Jaccard similarity :math:`\sum_c \min(V_{ic}, V_{jc}) / \sum_c \max(V_{ic}, V_{jc})`.

    Args:
        rows: V.
        pairs: (P, 2) rows i and j.

    Returns:
        (P,) float64 in [0, 1].
    """
    return _pairs(rows, pairs, False)


def jaccard_neighbours(rows: SparseRows, asked: Tensor | None = None, least: float = 0.0) -> tuple[Tensor, Tensor,
                                                                                                   Tensor]:
    """All rows that share a column with the rows ``asked`` (R,), all rows by default.

    Args:
        rows: V.
        asked: (R,) the rows i.
        least: pairs of a lower similarity are left out.

    Returns:
        row (E,) i, other (E,) j and their :func:`jaccard` (E,) > 0, in the order of ``asked``, then by j; j = i is
        left out.
    """
    return _neighbours(rows, asked, least, False)


def edge_probability(rows: SparseRows, pairs: Tensor) -> Tensor:
    r"""Neighbour-based edge probability :math:`\frac12 \sum_c (p_{ic} + p_{jc})` over the columns that both rows have.

    Args:
        rows: p, see :func:`neighbour_probability_rows`.
        pairs: (P, 2) rows i and j.
    """
    return _pairs(rows, pairs, True)


def edge_probability_neighbours(rows: SparseRows, asked: Tensor | None = None, least: float = 0.0) -> tuple[
        Tensor, Tensor, Tensor]:
    """As :func:`jaccard_neighbours`, with :func:`edge_probability` instead."""
    return _neighbours(rows, asked, least, True)


def nearest_lists(x: Tensor, k: int, index: str = "Flat") -> Tensor:
    """The k nearest others of each row: (N, k) on the host, nearest first, -1 where there are fewer."""
    lists = torch.full((len(x), k), -1)
    found = min(k, len(x) - 1)
    if found > 0:
        search = NearestSearch(x, index=index, k=found)
        lists[:, :found] = padded(search.neighbours(None, None, found), found)[1].cpu()
    return lists


def camera_lists(x: Tensor, camera: Tensor, k_own: int, k_other: int, index: str = "Flat") -> tuple[Tensor, Tensor]:
    """The nearest of the own camera (N, k_own) and of all others (N, k_other), as :func:`nearest_lists`."""
    if len(camera) != len(x):
        raise ValueError(f"one camera per row is needed: {len(x)} rows, {len(camera)} cameras")
    own, other = torch.full((len(x), k_own), -1), torch.full((len(x), k_other), -1)
    camera = camera.to(x.device)
    for name in camera.unique():
        mine, rest = (camera == name).nonzero().flatten(), (camera != name).nonzero().flatten()
        place = mine.cpu()
        own[place] = _named(nearest_lists(x[mine], k_own, index), place)
        found = min(k_other, len(rest))
        if found > 0:
            nearest = NearestSearch(x[rest], index=index, k=found)(x[mine], found)[1].cpu()
            other[place, :found] = _named(nearest, rest.cpu())
    return own, other


def pair_similarity(x: Tensor, pairs: Tensor) -> Tensor:
    """Inner products of pairs (P, 2) of the rows of x (N, d) -> (P,) float32 on the host, nothing gathered."""
    features, pairs = x.detach().float().cpu().contiguous().numpy(), pairs.cpu().contiguous().numpy()
    out = np.empty(len(pairs), np.float32)
    in_threads(lambda start, stop: _products(features, pairs, start, stop, out), len(pairs))
    return torch.from_numpy(out)


# -- from tensors to compiled loops and back ---------------------------------------------------------------------------

def _named(place: Tensor, rows: Tensor) -> Tensor:
    return torch.where(place < 0, -1, rows[place.clamp(min=0)])


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
    in_threads(lambda start, stop: _mutual(lists, start, stop, size, member), len(lists))
    return size, member


def _pairs(rows: SparseRows, pairs: Tensor, mean: bool) -> Tensor:
    if pairs.numel() and (int(pairs.min()) < 0 or int(pairs.max()) >= rows.num_rows):
        raise ValueError(f"pairs must lie in 0 ... {rows.num_rows - 1}, got {int(pairs.min())} ... {int(pairs.max())}")
    out, pairs = np.empty(len(pairs)), pairs.cpu().contiguous().numpy()
    in_threads(lambda start, stop: _shared(*rows.arrays, pairs, start, stop, mean, out), len(pairs))
    return torch.from_numpy(out)


def _neighbours(rows: SparseRows, asked: Tensor | None, least: float, mean: bool) -> tuple[Tensor, Tensor, Tensor]:
    asked = np.arange(rows.num_rows) if asked is None else asked.cpu().contiguous().numpy()
    length, other, value = _joined(_all_shared, len(asked), asked, *rows.arrays, *rows.inverted, mean, float(least))
    return torch.from_numpy(np.repeat(asked, length)), torch.from_numpy(other), torch.from_numpy(value)


# -- compiled loops ----------------------------------------------------------------------------------------------------

@compiled
def _mutual(lists, start, stop, size, member):
    """R(i) into member (N, K + 1) and size (N,): i, then those of its list in whose list it is."""
    for i in range(start, stop):
        member[i, 0], size[i] = i, 1
        for a in range(lists.shape[1]):
            j = lists[i, a]
            if j < 0:
                continue
            for b in range(lists.shape[1]):
                if lists[j, b] == i:
                    member[i, size[i]] = j
                    size[i] += 1
                    break


@compiled
def _grown(array, size):
    """The array, or a copy of twice the length where ``size`` does not fit."""
    if size <= len(array):
        return array
    longer = np.empty(max(size, 2 * len(array)), array.dtype)
    longer[:len(array)] = array
    return longer


@compiled
def _dot(x, i, j):
    """Inner product of two rows, in lanes that the processor adds side by side."""
    lanes, whole, total = np.zeros(16, np.float32), x.shape[1] // 16 * 16, 0.0
    for t in range(0, whole, 16):
        for lane in range(16):
            lanes[lane] += x[i, t + lane] * x[j, t + lane]
    for t in range(whole, x.shape[1]):
        total += x[i, t] * x[j, t]
    for lane in range(16):
        total += lanes[lane]
    return total


@compiled
def _products(x, pairs, start, stop, out):
    for p in range(start, stop):
        out[p] = _dot(x, pairs[p, 0], pairs[p, 1])


@compiled
def _encode(start, stop, x, size, member, half_size, half_member):
    """R*(i) and its weights: length (stop - start,), columns and values, row after row."""
    length, fill = np.empty(stop - start, np.int64), 0
    column, value = np.empty(1024, np.int64), np.empty(1024)
    inside, added = np.full(len(x), -1, np.int64), np.full(len(x), -1, np.int64)
    for i in range(start, stop):
        first = fill
        column = _grown(column, fill + size[i] * (1 + half_member.shape[1]))
        for a in range(size[i]):
            column[fill] = member[i, a]
            inside[member[i, a]] = added[member[i, a]] = i
            fill += 1
        for a in range(size[i]):
            c, common = member[i, a], 0
            for b in range(half_size[c]):
                common += inside[half_member[c, b]] == i
            if 3 * common > 2 * half_size[c]:
                for b in range(half_size[c]):
                    if added[half_member[c, b]] != i:
                        column[fill] = half_member[c, b]
                        added[half_member[c, b]] = i
                        fill += 1
        column[first:fill].sort()
        value, total = _grown(value, fill), 0.0
        for e in range(first, fill):
            value[e] = np.exp(2.0 * _dot(x, i, column[e]) - 2.0)
            total += value[e]
        for e in range(first, fill):
            value[e] /= total
        length[i - start] = fill - first
    return length, column[:fill].copy(), value[:fill].copy()


@compiled
def _average(start, stop, query, ptr, column, value):
    """The mean of each row and the rows of its ``query``, as :func:`_encode` returns it."""
    length, fill, total = np.empty(stop - start, np.int64), 0, len(ptr) - 1
    out_column, out_value = np.empty(1024, np.int64), np.empty(1024)
    seen, weight = np.full(total, -1, np.int64), np.empty(total)
    for i in range(start, stop):
        first, count = fill, 0
        for a in range(-1, query.shape[1]):
            row = i if a < 0 else query[i, a]
            if row < 0:
                continue
            count += 1
            out_column = _grown(out_column, fill + ptr[row + 1] - ptr[row])
            for e in range(ptr[row], ptr[row + 1]):
                c = column[e]
                if seen[c] != i:
                    seen[c], weight[c], out_column[fill] = i, 0.0, c
                    fill += 1
                weight[c] += value[e]
        out_column[first:fill].sort()
        out_value = _grown(out_value, fill)
        for e in range(first, fill):
            out_value[e] = weight[out_column[e]] / count
        length[i - start] = fill - first
    return length, out_column[:fill].copy(), out_value[:fill].copy()


@compiled
def _score(common, mean):
    """From what two rows of sum 1 have in common: Jaccard's quotient, or with ``mean`` the sum itself."""
    return min(common if mean else common / (2.0 - common), 1.0)


@compiled
def _shared(ptr, column, value, pairs, start, stop, mean, out):
    """Jaccard (or, with ``mean``, edge probability) of pairs: both rows are walked together."""
    for p in range(start, stop):
        a, b, total = ptr[pairs[p, 0]], ptr[pairs[p, 1]], 0.0
        a_end, b_end = ptr[pairs[p, 0] + 1], ptr[pairs[p, 1] + 1]
        while a < a_end and b < b_end:
            if column[a] == column[b]:
                total += (value[a] + value[b]) / 2 if mean else min(value[a], value[b])
                a, b = a + 1, b + 1
            elif column[a] < column[b]:
                a += 1
            else:
                b += 1
        out[p] = _score(total, mean)


@compiled
def _all_shared(start, stop, asked, ptr, column, value, in_ptr, in_row, in_value, mean, least):
    """The same for every row that shares a column with ``asked``: how many each, the rows, and the values."""
    length, fill, total = np.empty(stop - start, np.int64), 0, len(ptr) - 1
    other, result = np.empty(1024, np.int64), np.empty(1024)
    weight, found = np.zeros(total), np.empty(total, np.int64)
    for r in range(start, stop):
        i, first, count = asked[r], fill, 0
        for e in range(ptr[i], ptr[i + 1]):
            v = value[e]
            for f in range(in_ptr[column[e]], in_ptr[column[e] + 1]):
                j = in_row[f]
                if weight[j] == 0.0:
                    found[count] = j
                    count += 1
                weight[j] += (v + in_value[f]) / 2 if mean else min(v, in_value[f])
        other = _grown(other, fill + count)
        for a in range(count):
            j = found[a]
            if j != i and _score(weight[j], mean) >= least:
                other[fill], fill = j, fill + 1
            else:
                weight[j] = 0.0
        other[first:fill].sort()
        result = _grown(result, fill)
        for e in range(first, fill):
            result[e] = _score(weight[other[e]], mean)
            weight[other[e]] = 0.0
        length[r - start] = fill - first
    return length, other[:fill].copy(), result[:fill].copy()
