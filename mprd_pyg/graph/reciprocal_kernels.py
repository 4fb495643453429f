"""Compiled loops of k-reciprocal encoding: over the nodes or pairs ``start ... stop - 1``, for several threads.

Sparse rows are ``ptr``, ``column`` and ``value``, as in a SciPy ``csr_matrix``.
"""
import numpy as np

from mprd_pyg.graph.threads import compiled


@compiled
def mutual(lists, start, stop, size, member):
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
def _dot(x, i, y, j):
    """Inner product of row i of x and row j of y, in lanes that the processor adds side by side."""
    lanes, whole, total = np.zeros(16, np.float32), x.shape[1] // 16 * 16, 0.0
    for t in range(0, whole, 16):
        for lane in range(16):
            lanes[lane] += x[i, t + lane] * y[j, t + lane]
    for t in range(whole, x.shape[1]):
        total += x[i, t] * y[j, t]
    for lane in range(16):
        total += lanes[lane]
    return total


@compiled
def products(x, y, pairs, start, stop, out):
    """Inner products of the rows of pairs (P, 2), of x and of y, into out (P,)."""
    for p in range(start, stop):
        out[p] = _dot(x, pairs[p, 0], y, pairs[p, 1])


@compiled
def encode(start, stop, size, member, half_size, half_member):
    """R*(i): length (stop - start,) and columns, row after row."""
    length, fill = np.empty(stop - start, np.int64), 0
    column = np.empty(1024, np.int64)
    inside, added = np.full(len(size), -1, np.int64), np.full(len(size), -1, np.int64)
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
        length[i - start] = fill - first
    return length, column[:fill].copy()


@compiled
def soften(ptr, value, start, stop):
    """Similarities (E,) into the softmax of minus the squared distances, row by row."""
    for i in range(start, stop):
        total = 0.0
        for e in range(ptr[i], ptr[i + 1]):
            value[e] = np.exp(2.0 * value[e] - 2.0)
            total += value[e]
        for e in range(ptr[i], ptr[i + 1]):
            value[e] /= total


@compiled
def _score(common, mean):
    """From what two rows of sum 1 have in common: Jaccard's quotient, or with ``mean`` the sum itself."""
    return min(common if mean else common / (2.0 - common), 1.0)


@compiled
def shared(ptr, column, value, pairs, start, stop, mean, out):
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
def all_shared(start, stop, asked, ptr, column, value, in_ptr, in_row, in_value, mean, least):
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
