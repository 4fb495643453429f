"""Personalised PageRank of pairs by local pushes, in the undirected graph without each pair's own edge."""
import numpy as np

from mprd_pyg.graph.threads import compiled, in_threads


def pair_pagerank(ptr: np.ndarray, neighbour: np.ndarray, pairs: np.ndarray, own: np.ndarray, damping: float = 0.85,
                  error: float = 1e-4) -> np.ndarray:
    r"""PageRank of one node, personalised to the other, per link: :math:`\pi_i(j) / d_j = \pi_j(i) / d_i`.

    In an undirected graph the two are equal, so that one push from i gives both ways. Pushes (Andersen, Chung & Lang,
    FOCS 2006) stop when no node holds more than ``error`` per link of its own; what is then missing at j is
    :math:`\sum_u r_u \pi_u(j) \le error \sum_u d_u \pi_u(j) = error \, d_j \sum_u \pi_j(u) = error \, d_j`.

    Args:
        ptr, neighbour: undirected lists.
        pairs: (P, 2).
        own: (P,) whether the pair is an edge. Such a pair has a push of its own, without the edge; the others share
            one per node i.
        damping: probability of going on at each step.
        error: bound of what the values returned are too small by; the work grows as its inverse.

    Returns:
        (P,); 0 where a node has no other link.
    """
    order, out = np.lexsort((pairs[:, 0], own)), np.zeros(len(pairs))
    nodes = len(ptr) - 1

    def work(start, stop):
        scratch = np.zeros((2, nodes)), np.zeros(nodes, np.bool_), np.empty(nodes, np.int64), np.empty(nodes, np.int64)
        _pushes(ptr, neighbour, pairs, own, order, damping, error, start, stop, *scratch, out)
    in_threads(work, len(pairs), least=64)
    return out


@compiled
def _pushes(ptr, neighbour, pairs, own, order, damping, error, start, stop, mass, waiting, queue, touched, out):
    """``mass`` (2, N) holds the PageRank found and the residual; it and ``waiting`` (N,) are zero before."""
    last, count = -1, 0
    for place in range(start, stop):
        p = order[place]
        i, j = pairs[p, 0], pairs[p, 1]
        d_i, d_j = ptr[i + 1] - ptr[i] - own[p], ptr[j + 1] - ptr[j] - own[p]
        if d_i == 0 or d_j == 0:
            continue
        if own[p] or i != last:
            for at in range(count):
                mass[0, touched[at]] = mass[1, touched[at]] = 0
            last = -1 if own[p] else i
            count = _push(ptr, neighbour, i, i if own[p] else -1, j, damping, error, mass[0], mass[1], waiting, queue,
                          touched)
        out[p] = mass[0, j] / d_j


@compiled
def _push(ptr, neighbour, source, i, j, damping, error, rank, residual, waiting, queue, touched):
    """Push from ``source`` without the edge (i, j), i = -1 for none; returns how many nodes were ``touched``."""
    total, count, first, held = len(rank), 1, 0, 1
    residual[source], touched[0], queue[0], waiting[source] = 1, source, source, True
    while held:
        u = queue[first]
        first, held = (first + 1) % total, held - 1
        waiting[u] = False
        cut = i >= 0 and u in (i, j)
        degree = ptr[u + 1] - ptr[u] - cut
        pushed = residual[u]
        rank[u] += (1 - damping) * pushed
        residual[u] = 0
        share = damping * pushed / degree
        for e in range(ptr[u], ptr[u + 1]):
            v = neighbour[e]
            if cut and v in (i, j):
                continue
            if rank[v] == 0 and residual[v] == 0:
                touched[count] = v
                count += 1
            residual[v] += share
            limit = ptr[v + 1] - ptr[v] - (i >= 0 and v in (i, j))
            if not waiting[v] and residual[v] > error * limit:
                waiting[v] = True
                queue[(first + held) % total] = v
                held += 1
    return count
