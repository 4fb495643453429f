"""Compiled loops over pairs: what the neighbours of both nodes say about the pair, without the pair's own edge.

``ptr`` and ``neighbour`` are sorted lists without self-loops or repeats, undirected but for the last function.
Every function works on the pairs ``start ... stop - 1`` and writes only what belongs to them.
"""
import numpy as np

from mprd_pyg.graph.threads import compiled


@compiled
def neighbourhood_columns(ptr, neighbour, pairs, own, start, stop, out):
    """``common_neighbours ... preferential_attachment`` of :data:`NEIGHBOURHOOD`, into out (P, 10)."""
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        d_i, d_j = ptr[i + 1] - ptr[i] - own[p], ptr[j + 1] - ptr[j] - own[p]
        short, long = (i, j) if d_i <= d_j else (j, i)
        at, end, common, adamic_adar, allocation = ptr[long], ptr[long + 1], 0, 0.0, 0.0
        for e in range(ptr[short], ptr[short + 1]):
            at += np.searchsorted(neighbour[at:end], neighbour[e])
            if at == end:
                break
            if neighbour[at] == neighbour[e]:
                degree = ptr[neighbour[e] + 1] - ptr[neighbour[e]]
                common += 1
                adamic_adar += 1 / np.log(degree)
                allocation += 1 / degree
        low, high = min(d_i, d_j), max(d_i, d_j)
        out[p, 0], out[p, 1], out[p, 2] = common, common / max(d_i + d_j - common, 1), adamic_adar
        out[p, 3], out[p, 4] = allocation, common / max(np.sqrt(d_i * d_j), 1)
        out[p, 5], out[p, 6] = common / max(low, 1), common / max(high, 1)
        out[p, 7], out[p, 8], out[p, 9] = low, high, d_i * d_j


@compiled
def three_step_columns(ptr, neighbour, pairs, own, volume, start, stop, mark, out):
    """``walks_3`` and ``damped_walks_3`` into out (P, 2); ``mark`` (N,) is zero before and after.

    A walk i, a, b, j without the edge (i, j) is a link between a neighbour of i and one of j.
    """
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        if volume[j] < volume[i]:
            i, j = j, i
        count, damped = 0, 0.0
        for e in range(ptr[j], ptr[j + 1]):
            mark[neighbour[e]] = 1
        mark[i] = 0
        for e in range(ptr[i], ptr[i + 1]):
            a = neighbour[e]
            if a == j:
                continue
            found = 0.0
            for f in range(ptr[a], ptr[a + 1]):
                b = neighbour[f]
                if mark[b]:
                    count += 1
                    found += 1 / np.sqrt(ptr[b + 1] - ptr[b])
            damped += found / np.sqrt(ptr[a + 1] - ptr[a])
        for e in range(ptr[j], ptr[j + 1]):
            mark[neighbour[e]] = 0
        out[p, 0], out[p, 1] = count, damped


@compiled
def similarity_columns(ptr, neighbour, similarity, pairs, start, stop, out):
    """The columns :data:`SIMILARITY` from directed lists with cosines, into out (P, 7)."""
    for p in range(start, stop):
        i, j = pairs[p, 0], pairs[p, 1]
        own, least, found, rank_low, rank_high, density = -2.0, 1.0, 0, 0, 0, np.zeros(2)
        total = np.zeros(2)
        for side in range(2):
            node, other = (i, j) if side == 0 else (j, i)
            begin, end = ptr[node], ptr[node + 1]
            at = begin + np.searchsorted(neighbour[begin:end], other)
            mine = at < end and neighbour[at] == other
            rank, added, lowest = 1, 0.0, -1.0 if begin == end else 1.0
            for e in range(begin, end):
                rank += not mine or similarity[e] > similarity[at]
                lowest = min(lowest, similarity[e])
                if neighbour[e] != other:
                    added += similarity[e]
                    total[side] += np.exp((similarity[e] - 1) * 4)
            density[side] = added / max(end - begin - mine, 1)
            least, found = min(least, lowest), found + mine
            if mine:
                own = max(own, similarity[at])
            rank_low, rank_high = (rank, rank) if side == 0 else (min(rank_low, rank), max(rank_high, rank))
        a, b, shared = ptr[i], ptr[j], 0.0
        while a < ptr[i + 1] and b < ptr[j + 1]:
            if neighbour[a] == neighbour[b]:
                shared += np.exp((similarity[a] - 1) * 4) / total[0] + np.exp((similarity[b] - 1) * 4) / total[1]
            step = neighbour[a] <= neighbour[b]
            b += neighbour[b] <= neighbour[a]
            a += step
        out[p, 0] = own if found else least
        out[p, 1], out[p, 2], out[p, 3] = rank_low, rank_high, found == 2
        out[p, 4], out[p, 5], out[p, 6] = density.min(), density.max(), shared / 2
