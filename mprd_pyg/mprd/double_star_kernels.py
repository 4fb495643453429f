"""Compiled loops of :mod:`mprd_pyg.mprd.double_star`; ``ptr`` and ``neighbour`` are sorted neighbour lists.

Each works on the items ``start ... stop - 1`` and writes only what belongs to them, so that threads can share arrays.
"""
import numpy as np

from mprd_pyg.graph.threads import compiled


@compiled
def count_common(ptr, neighbour, pairs, start, stop, common):
    """Common neighbours of each pair into common (P,)."""
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        a, b, a_end, b_end = ptr[i], ptr[j], ptr[i + 1], ptr[j + 1]
        common[p] = 0
        while a < a_end and b < b_end:
            common[p] += neighbour[a] == neighbour[b]
            a, b = a + (neighbour[a] <= neighbour[b]), b + (neighbour[b] <= neighbour[a])


@compiled
def list_parts(ptr, neighbour, pairs, common_ptr, start, stop, exclusive, triangle):
    """Mark the list entries that are an exclusive leaf of some pair; key the common leaves by their triangle.

    Args: exclusive (S,) bool, one per entry of ``neighbour``; triangle (T,) keys, from ``common_ptr`` (P + 1,) on.
    """
    total = len(ptr) - 1
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        a, b, a_end, b_end, t = ptr[i], ptr[j], ptr[i + 1], ptr[j + 1], common_ptr[p]
        while a < a_end or b < b_end:
            of_i = neighbour[a] if a < a_end else total
            of_j = neighbour[b] if b < b_end else total
            if of_i == of_j:
                low, high = min(i, j, of_i), max(i, j, of_i)
                triangle[t] = (low * total + (i + j + of_i - low - high)) * total + high
                t, a, b = t + 1, a + 1, b + 1
            elif of_i < of_j:
                if of_i != j:
                    exclusive[a] = True
                a += 1
            else:
                if of_j != i:
                    exclusive[b] = True
                b += 1


@compiled
def first_of_leaves(projected, node, scale, shift, start, stop, out):
    """First layer's output of leaves: ReLU(scale * sum of the projections of node (L, 2 or 3) + shift)."""
    for r in range(start, stop):
        x, y, into = projected[node[r, 0]], projected[node[r, 1]], out[r - start]
        if node.shape[1] == 3:
            w = projected[node[r, 2]]
            for h in range(len(shift)):
                into[h] = max(scale * (x[h] + y[h] + w[h]) + shift[h], 0)
        else:
            for h in range(len(shift)):
                into[h] = max(scale * (x[h] + y[h]) + shift[h], 0)


@compiled
def sum_neighbours(ptr, neighbour, projected, nodes, start, stop, out):
    """Sum of the neighbours' projections of each of ``nodes``, into its row of ``out``."""
    for r in range(start, stop):
        into = out[r]
        into[:] = 0
        for e in range(ptr[nodes[r]], ptr[nodes[r] + 1]):
            x = projected[neighbour[e]]
            for h in range(len(into)):
                into[h] += x[h]


@compiled
def first_of_roots(ptr, neighbour, projected, sums, sum_row, pairs, common, theta, bias, first, start, stop, out):
    """First layer's output of the roots i and j of pair p into the rows 2 (p - first) and 2 (p - first) + 1.

    Args: theta (3, hidden), of the labels 0, 1 and 2; ``sums`` at ``sum_row`` is the sum over all neighbours.
    """
    for p in range(start, stop):
        for side in range(2):
            root, partner = pairs[p, side], pairs[p, 1 - side]
            begin, end = ptr[root], ptr[root + 1]
            e = begin + np.searchsorted(neighbour[begin:end], partner)
            listed = e < end and neighbour[e] == partner  # the link itself is cut
            degree = end - begin - listed
            minus, scale = projected.dtype.type(listed), projected.dtype.type(1) / projected.dtype.type(degree + 1)
            shared, own = projected.dtype.type(common[p]), projected.dtype.type(degree - common[p])
            x, y, z = projected[root], projected[partner], sums[sum_row[root]]
            into = out[2 * (p - first) + side]
            for h in range(len(bias)):
                total = x[h] + z[h] - minus * y[h] + theta[1, h] + shared * theta[2, h] + own * theta[0, h]
                into[h] = max(scale * total + bias[h], 0)


@compiled
def _take(row, total, largest):
    for h in range(len(row)):
        total[h] += row[h]
        largest[h] = row[h] if row[h] > largest[h] else largest[h]


@compiled
def pool_second(ptr, neighbour, pairs, common_ptr, rows, leaf_row, triangle_row, roots, bias, first, start, stop, out):
    """Second layer and global max pooling of pair p into row p - first.

    Args: rows: the leaves' first outputs times the second Theta; leaf_row (S,) that of an exclusive leaf's list entry,
    triangle_row (T,) that of a common leaf; roots: the same of the roots, two rows per pair.
    """
    hidden, total = len(bias), len(ptr) - 1
    sums, largest = np.empty((3, hidden), rows.dtype), np.empty((3, hidden), rows.dtype)
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        a, b, a_end, b_end, t = ptr[i], ptr[j], ptr[i + 1], ptr[j + 1], common_ptr[p]
        sums[:], largest[:] = 0, -np.inf
        links_i, links_j = 0, 0
        while a < a_end or b < b_end:
            of_i = neighbour[a] if a < a_end else total
            of_j = neighbour[b] if b < b_end else total
            if of_i == of_j:
                _take(rows[triangle_row[t]], sums[2], largest[2])
                t, a, b, links_i, links_j = t + 1, a + 1, b + 1, links_i + 1, links_j + 1
            elif of_i < of_j:
                if of_i != j:
                    _take(rows[leaf_row[a]], sums[0], largest[0])
                    links_i += 1
                a += 1
            else:
                if of_j != i:
                    _take(rows[leaf_row[b]], sums[1], largest[1])
                    links_j += 1
                b += 1
        one = rows.dtype.type(1)
        scale_i, scale_j = one / rows.dtype.type(links_i + 1), one / rows.dtype.type(links_j + 1)
        half, third = one / rows.dtype.type(2), one / rows.dtype.type(3)
        x, y, into = roots[2 * (p - first)], roots[2 * (p - first) + 1], out[p - first]
        for h in range(hidden):
            best = max(scale_i * (x[h] + sums[0, h] + sums[2, h]), scale_j * (y[h] + sums[1, h] + sums[2, h]))
            best = max(best, half * (x[h] + largest[0, h]), half * (y[h] + largest[1, h]))
            best = max(best, third * (x[h] + y[h] + largest[2, h]))
            into[h] = max(best + bias[h], 0)
