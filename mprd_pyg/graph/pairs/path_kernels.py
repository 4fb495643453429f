"""Compiled loops over pairs: distances and numbers of walks in the undirected graph without the pair's own edge."""
import numpy as np

from mprd_pyg.graph.threads import compiled


@compiled
def inverse_distances(ptr, neighbour, pairs, start, stop, mark, queue, out):
    """1 / shortest path, 0 where there is none, into out (P,); two searches meet between i and j.

    ``mark`` (N,) is zero before and after, ``queue`` (2, N) needs no values.
    """
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        mark[i], mark[j], queue[0, 0], queue[1, 0] = 1, 2, i, j
        first, last = np.zeros(2, np.int64), np.ones(2, np.int64)
        distance, met = 0, False
        while not met and first[0] < last[0] and first[1] < last[1]:
            side = 0 if last[0] - first[0] <= last[1] - first[1] else 1  # the side with fewer nodes to leave
            distance += 1
            begin, end = first[side], last[side]
            for at in range(begin, end):
                u = queue[side, at]
                for e in range(ptr[u], ptr[u + 1]):
                    v = neighbour[e]
                    if (u == i and v == j) or (u == j and v == i):
                        continue
                    if mark[v] == 2 - side:  # balls that did not touch until now: the path is shortest
                        met = True
                        break
                    if mark[v] == 0:
                        mark[v] = side + 1
                        queue[side, last[side]] = v
                        last[side] += 1
                if met:
                    break
            first[side] = end
        out[p] = 1 / distance if met else 0.0
        for side in range(2):
            for at in range(last[side]):
                mark[queue[side, at]] = 0


@compiled
def _spread(ptr, neighbour, source, i, j, weight_i, weight_j, weight, steps, count, part, nodes, size):
    """Walks of 0 ... steps from ``source`` to every node: numbers and damped sums; rows are numbers of steps."""
    count[0, source], part[0, source], nodes[0, 0], size[0] = 1, 1, source, 1
    for step in range(steps):
        size[step + 1] = 0
        for at in range(size[step]):
            u = nodes[step, at]
            w_u = weight_i if u == i else weight_j if u == j else weight[u]
            for e in range(ptr[u], ptr[u + 1]):
                v = neighbour[e]
                if (u == i and v == j) or (u == j and v == i):
                    continue
                if count[step + 1, v] == 0:
                    nodes[step + 1, size[step + 1]] = v
                    size[step + 1] += 1
                count[step + 1, v] += count[step, u]
                part[step + 1, v] += part[step, u] * w_u * (weight_i if v == i else weight_j if v == j else weight[v])


@compiled
def walk_columns(ptr, neighbour, pairs, own, lengths, start, stop, count, part, nodes, out):
    """Numbers (A^l)_ij and damped sums (D^-1/2 A D^-1/2)^l_ij of walks of each length, into out (P, 2 x lengths).

    A walk of l steps is one of ceil(l / 2) steps from i and one of floor(l / 2) from j that end at the same node.

    Args:
        ptr, neighbour: undirected lists.
        pairs: (P, 2).
        own: (P,) whether the pair is an edge, which no walk may take.
        lengths: (L,) ascending.
        start, stop: pairs to work on.
        count, part: (2, H + 1, N) with H = ceil(longest / 2); zero before and after.
        nodes: (2, H + 1, N) needs no values.
        out: (P, 2 L), the numbers first.
    """
    longest, size = lengths[-1], np.zeros((2, count.shape[1]), np.int64)
    weight = np.empty(len(ptr) - 1)
    for u in range(len(weight)):
        weight[u] = 1 / np.sqrt(max(ptr[u + 1] - ptr[u], 1))
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        w_i = 1 / np.sqrt(max(ptr[i + 1] - ptr[i] - own[p], 1))
        w_j = 1 / np.sqrt(max(ptr[j + 1] - ptr[j] - own[p], 1))
        steps = (longest + 1) // 2, longest // 2
        _spread(ptr, neighbour, i, i, j, w_i, w_j, weight, steps[0], count[0], part[0], nodes[0], size[0])
        _spread(ptr, neighbour, j, i, j, w_i, w_j, weight, steps[1], count[1], part[1], nodes[1], size[1])
        for place in range(len(lengths)):
            near, far = (lengths[place] + 1) // 2, lengths[place] // 2
            walks, damped = 0.0, 0.0
            for at in range(size[1, far]):
                node = nodes[1, far, at]
                walks += count[1, far, node] * count[0, near, node]
                damped += part[1, far, node] * part[0, near, node]
            out[p, place], out[p, len(lengths) + place] = walks, damped
        for side in range(2):
            for step in range(steps[side] + 1):
                for at in range(size[side, step]):
                    count[side, step, nodes[side, step, at]] = 0
                    part[side, step, nodes[side, step, at]] = 0
