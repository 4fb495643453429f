"""Compiled best-so-far lists: reads blocks of a similarity matrix once and keeps what can still be a neighbour.

A candidate is one uint64 key: the similarity's bits, descending, above the row index. The smaller key is the better
candidate, and among equal similarities the lower index wins: every order of reading gives the same lists.
"""
import numpy as np

from mprd_pyg.graph.threads import compiled

EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
#: columns compared at once before any of them is looked at
CHUNK = 64


@compiled(inline="always")
def encode(similarity, index):
    """Key of one candidate."""
    bits = np.float32(similarity + np.float32(0)).view(np.uint32)  # + 0 makes -0 and 0 tie
    ascending = ~bits if bits >> np.uint32(31) else bits | np.uint32(0x80000000)
    return (np.uint64(~ascending & np.uint32(0xFFFFFFFF)) << np.uint64(32)) | np.uint64(index)


@compiled(inline="always")
def decode_similarity(key):
    """Similarity of one key; -inf for an empty place."""
    if key == EMPTY:
        return np.float32(-np.inf)
    ascending = ~np.uint32(key >> np.uint64(32)) & np.uint32(0xFFFFFFFF)
    bits = ascending ^ np.uint32(0x80000000) if ascending >> np.uint32(31) else ~ascending & np.uint32(0xFFFFFFFF)
    return np.uint32(bits).view(np.float32)


def decode(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keys of any shape -> float32 similarities and int64 rows; -inf and -1 for an empty place."""
    ascending = ~(keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ascending >> np.uint32(31), ascending ^ np.uint32(0x80000000), ~ascending)
    row = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    empty = keys == EMPTY
    row[empty] = -1
    similarity = bits.view(np.float32)
    similarity[empty] = -np.inf
    return similarity, row


@compiled(inline="always")
def insert(places, key):
    """Put ``key`` into the ascending ``places`` (k,), whose last falls out; not twice."""
    p = places.shape[0] - 1
    while p > 0 and places[p - 1] > key:
        p -= 1
    if p > 0 and places[p - 1] == key:
        return
    for q in range(places.shape[0] - 1, p, -1):
        places[q] = places[q - 1]
    places[p] = key


@compiled(inline="always")
def offer(slot, similarity, label, lists, worst, threshold, gate, above, pool_slot, pool_key, fill):
    """Give one slot one candidate; returns how full the pool is."""
    if similarity > threshold:
        above[slot] += 1
        if similarity >= gate[slot]:
            pool_slot[fill] = slot
            pool_key[fill] = encode(similarity, label)
            return fill + 1
        return fill
    key = encode(similarity, label)
    if key < lists[slot, -1]:
        insert(lists[slot], key)
        worst[slot] = decode_similarity(lists[slot, -1])
    return fill


@compiled
def absorb(block, start, slots, col0, both, labels, own, half_row, half_col, lists, worst, threshold, gate, above,
           pool_slot, pool_key, fill):
    """Offer a block of similarities to its rows, and with ``both`` to its columns too.

    Args:
        block: (R, C) products of the queries ``slots`` (R,) and the database places ``col0 ...``; overwritten.
        start: first row of the block to read.
        labels: (N,) index by which a database place is known.
        own: (Q,) database place of each query's own row, never offered; -1 for none.
        half_row, half_col: (Q,) and (N,) half squared norms (the block then becomes minus half the squared
            distance), or empty.
        lists: (Q, k) keys of the best at or below ``threshold``; ``worst`` (Q,) the similarity of the last.
        gate: (Q,) least similarity above the threshold that is still kept; ``above`` (Q,) counts all above.
        pool_slot, pool_key: (P,) what lay above the threshold, of which ``fill`` entries are taken.

    Returns:
        the row at which the pool ran full (R: all are read) and its fill.
    """
    rows, columns = block.shape
    for r in range(start, rows):
        if fill + 2 * columns > len(pool_slot):
            return r, fill
        row = block[r]
        slot = slots[r]
        if len(half_row):
            h, other = half_row[slot], half_col[col0:col0 + columns]
            for c in range(np.uint32(columns)):
                row[c] -= h + other[c]
        mine = own[slot] - col0
        if 0 <= mine < columns and own[slot] >= 0:
            row[mine] = np.nan
        bar = worst[slot]
        for b in range(0, columns, CHUNK):
            hits = np.int32(0)
            if b + CHUNK <= columns:
                part = row[b:b + CHUNK]
                if both:
                    bars = worst[col0 + b:col0 + b + CHUNK]
                    for c in range(np.uint32(CHUNK)):
                        hits |= np.int32((part[c] >= bar) | (part[c] >= bars[c]))
                else:
                    for c in range(np.uint32(CHUNK)):
                        hits |= np.int32(part[c] >= bar)
                if hits == 0:
                    continue
            for c in range(b, min(b + CHUNK, columns)):
                similarity = row[c]
                if len(half_row) and similarity > 0:
                    similarity = np.float32(0)  # a squared distance below 0 is rounding
                if similarity >= bar:
                    fill = offer(slot, similarity, labels[col0 + c], lists, worst, threshold, gate, above, pool_slot,
                                 pool_key, fill)
                    bar = worst[slot]
                if both and similarity >= worst[col0 + c]:
                    fill = offer(col0 + c, similarity, labels[slot], lists, worst, threshold, gate, above, pool_slot,
                                 pool_key, fill)
    return rows, fill


def best(slots: np.ndarray, keys: np.ndarray, limit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ``limit`` (Q,) best keys of each slot: slots, ranks and keys, slot by slot, best first."""
    order = np.lexsort((keys, slots))
    slots, keys = slots[order], keys[order]
    count = np.bincount(slots, minlength=len(limit))
    rank = np.arange(len(slots)) - np.repeat(count.cumsum() - count, count)
    keep = rank < limit[slots]
    return slots[keep], rank[keep], keys[keep]
