"""Compiled loops over pairs: sizes and contents of pair subgraphs, one after the other into flat arrays.

Every function works on the pairs ``start ... stop - 1`` and writes only what belongs to them, so that several threads
can share the arrays. ``ptr`` and ``neighbour`` are :class:`NeighbourLists`, sorted, without self-loops or repeats.
"""
import numpy as np

from mprd_pyg.graph.threads import compiled


@compiled
def star_sizes(ptr, neighbour, pairs, start, stop, nodes, edges):
    """Nodes and (directed) edges of the double stars of Eq. 4, into nodes (P,) and edges (P,)."""
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        a, b, a_end, b_end = ptr[i], ptr[j], ptr[i + 1], ptr[j + 1]
        links, common = 0, 0
        for e in range(a, a_end):
            links += neighbour[e] != j
        for e in range(b, b_end):
            links += neighbour[e] != i
        while a < a_end and b < b_end:
            common += neighbour[a] == neighbour[b]  # no list holds its own node, so that no root is in common
            a, b = a + (neighbour[a] <= neighbour[b]), b + (neighbour[b] <= neighbour[a])
        nodes[p], edges[p] = 2 + links - common, 2 * links


@compiled
def star_fill(ptr, neighbour, pairs, node_ptr, edge_ptr, start, stop, n_id, z, owner, tail, head, root_index):
    """The double stars of Eq. 4 with their labels: root 1, common neighbour 2, other neighbour 0."""
    end_mark = len(ptr)
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        a, b, a_end, b_end = ptr[i], ptr[j], ptr[i + 1], ptr[j + 1]
        first, at = node_ptr[p], node_ptr[p]
        root, last_root = min(i, j), max(i, j)
        while True:  # merge NN(i), NN(j) and the roots; z holds for now whose neighbour a node is: 1 of i, 2 of j
            of_i = neighbour[a] if a < a_end else end_mark
            of_j = neighbour[b] if b < b_end else end_mark
            node = min(of_i, of_j, root)
            if node == end_mark:
                break
            a, b = a + (of_i == node), b + (of_j == node)
            side = (of_i == node) + 2 * (of_j == node)
            if node == root:
                side = 4 if node == i else 8
                root_index[p, 0 if node == i else 1] = at
                root = last_root if root != last_root else end_mark
            n_id[at], z[at], owner[at] = node, side, p
            at += 1
        e, low, high = edge_ptr[p], min(root_index[p, 0], root_index[p, 1]), max(root_index[p, 0], root_index[p, 1])
        low_side = 1 if low == root_index[p, 0] else 2
        for b in range(first, at):
            if z[b] >= 4:
                mine = z[b] // 4
                for a in range(first, at):
                    if z[a] < 4 and z[a] & mine:
                        tail[e], head[e] = a, b
                        e += 1
            else:
                if z[b] & low_side:
                    tail[e], head[e] = low, b
                    e += 1
                if z[b] & (3 - low_side):
                    tail[e], head[e] = high, b
                    e += 1
        for a in range(first, at):
            z[a] = 1 if z[a] >= 4 else 2 * (z[a] == 3)


@compiled
def _collect(ptr, neighbour, i, j, hops, mark, nodes):
    """Walk from both roots: found nodes into ``nodes``, 1 + their steps into ``mark`` (N,), zero before."""
    nodes[0], nodes[1], mark[i], mark[j] = i, j, 1, 1
    first, count = 0, 2
    for hop in range(hops):
        last = count
        for at in range(first, last):
            for e in range(ptr[nodes[at]], ptr[nodes[at] + 1]):
                if mark[neighbour[e]] == 0:
                    mark[neighbour[e]] = hop + 2
                    nodes[count] = neighbour[e]
                    count += 1
        first = last
    return count


@compiled
def _links(both_ptr, both, way, i, j, u, walked, mark, nodes, count, found):
    """The nodes of the subgraph that u has an edge with, into ``found``, in the order of ``both`` or of ``nodes``.

    ``walked`` (0: any edge) keeps the edges read from a node less than ``walked`` steps away: ``mark <= walked``.
    """
    begin, end, size = both_ptr[u], both_ptr[u + 1], 0
    by_node = end - begin > 32 * count  # a hub: look the few nodes up in its long list
    for place in range(count if by_node else end - begin):
        if by_node:
            v = nodes[place]
            e = begin + np.searchsorted(both[begin:end], v)
            if e == end or both[e] != v:
                continue
        else:
            e = begin + place
            v = both[e]
            if mark[v] == 0:
                continue
        if walked and not ((way[e] & 1 and mark[u] <= walked) or (way[e] & 2 and mark[v] <= walked)):
            continue
        if (u != i and u != j) or (v != i and v != j):  # the link asked for would leak the label
            found[size] = v
            size += 1
    return size


@compiled
def walk_sizes(ptr, neighbour, both_ptr, both, way, hops, walked, pairs, start, stop, mark, nodes, edges):
    """Nodes and (directed) edges of general pair subgraphs; ``mark`` (N,) int32 is zero before and after."""
    found, other = np.empty(len(mark) + 1, np.int64), np.empty(len(mark), np.int64)
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        count = _collect(ptr, neighbour, i, j, hops, mark, found)
        nodes[p], edges[p] = count, 0
        for at in range(count):
            edges[p] += _links(both_ptr, both, way, i, j, found[at], walked, mark, found, count, other)
        for at in range(count):
            mark[found[at]] = 0


@compiled
def walk_fill(ptr, neighbour, both_ptr, both, way, hops, walked, pairs, node_ptr, edge_ptr, start, stop, mark, local,
              n_id, z, owner, tail, head, root_index):
    """General pair subgraphs with their double-radius labels; ``mark`` (N,) int32 is zero before and after."""
    total = len(mark)
    found, other, queue = np.empty(total + 1, np.int64), np.empty(total, np.int64), np.empty(total, np.int64)
    begin, from_i, from_j = np.empty(total + 1, np.int64), np.empty(total, np.int64), np.empty(total, np.int64)
    for p in range(start, stop):
        i, j, base = pairs[p, 0], pairs[p, 1], node_ptr[p]
        count = _collect(ptr, neighbour, i, j, hops, mark, found)
        found[:count].sort()
        for at in range(count):
            local[found[at]] = at
            n_id[base + at], owner[base + at] = found[at], p
        root_index[p, 0], root_index[p, 1] = base + local[i], base + local[j]
        e = edge_ptr[p]
        for at in range(count):
            begin[at] = e
            size = _links(both_ptr, both, way, i, j, found[at], walked, mark, found, count, other)
            for place in range(size):
                tail[e], head[e] = base + local[other[place]], base + at
                e += 1
        begin[count] = e
        for at in range(count):
            mark[found[at]] = 0
        _distances(tail, begin, base, count, local[i], local[j], from_i, queue)
        _distances(tail, begin, base, count, local[j], local[i], from_j, queue)
        for at in range(count):
            z[base + at] = 0
            if at == local[i] or at == local[j]:
                z[base + at] = 1
            elif from_i[at] >= 0 and from_j[at] >= 0:
                d = from_i[at] + from_j[at]
                z[base + at] = 1 + min(from_i[at], from_j[at]) + (d // 2) * (d // 2 + d % 2 - 1)


@compiled
def _distances(tail, begin, base, count, source, removed, distance, queue):
    """Breadth-first distances (count,) from ``source`` with ``removed`` taken out; -1 where out of reach."""
    distance[:count] = -1
    distance[source], queue[0] = 0, source
    first, last = 0, 1
    while first < last:
        u = queue[first]
        first += 1
        for e in range(begin[u], begin[u + 1]):
            v = tail[e] - base
            if v != removed and distance[v] < 0:
                distance[v] = distance[u] + 1
                queue[last] = v
                last += 1
