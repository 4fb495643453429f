"""Nearest neighbours as lists of one length: of all rows, or of the own camera and of all others."""
import itertools
import threading

import numpy as np
import torch
from torch import Tensor

from mprd_pyg.graph.search.exact import Lists, even_bounds
from mprd_pyg.graph.search.nearest import NearestSearch
from mprd_pyg.graph.search.sharded import ShardedSearch
from mprd_pyg.graph.threads import multiply_in_threads
from mprd_pyg.sharded_rows import ShardedRows


def nearest_lists(x: Tensor | ShardedRows, k: int, index: str = "Flat") -> Tensor:
    """The k nearest others of each row of unit features (N, d): (N, k) on the host, nearest first, -1 where fewer."""
    lists = torch.full((len(x), k), -1)
    found = min(k, len(x) - 1)
    if found > 0:
        search = ShardedSearch(x, index=index) if isinstance(x, ShardedRows) else \
            NearestSearch(x, index=index, k=found)
        lists[:, :found] = search.neighbours(None, None, found).padded(found)[1].cpu()
    return lists


def camera_lists(x: Tensor | ShardedRows, camera: Tensor, k_own: int, k_other: int,
                 index: str = "Flat") -> tuple[Tensor, Tensor]:
    """The nearest of the own camera (N, k_own) and of all others (N, k_other), as :func:`nearest_lists`.

    Args:
        x: (N, d) unit features.
        camera: (N,) camera of each row.
        k_own: length of the first list.
        k_other: length of the second.
        index: of the searches, see :class:`NearestSearch`; an exact one on the host is one pass for both lists.
    """
    if len(camera) != len(x):
        raise ValueError(f"one camera per row is needed: {len(x)} rows, {len(camera)} cameras")
    if isinstance(x, ShardedRows):
        search, camera = ShardedSearch(x, index=index), camera.to(x.device)
        found = [search.neighbours(None, None, max(k, 1), camera=camera, same=same)
                 for k, same in ((k_own, True), (k_other, False))]
        return tuple(lists.padded(max(k, 1))[1][:, :k].cpu() for lists, k in zip(found, (k_own, k_other), strict=True))
    if index in ("Flat", "exact") and x.device.type == "cpu":
        return _in_one_pass(x.detach().float(), camera.cpu(), k_own, k_other)
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


def _named(place: Tensor, rows: Tensor) -> Tensor:
    return torch.where(place < 0, -1, rows[place.clamp(min=0)])


def _in_one_pass(x: Tensor, camera: Tensor, k_own: int, k_other: int, size: int = 1024) -> tuple[Tensor, Tensor]:
    """Each block of products of two cameras' rows is computed once, and serves the rows of both."""
    order = camera.argsort(stable=True)
    x, names = x[order], order.numpy()
    own, other = Lists(len(x), max(k_own, 1)), Lists(len(x), max(k_other, 1))
    blocks, start = [], 0
    for number, count in enumerate(camera[order].unique_consecutive(return_counts=True)[1].tolist()):
        blocks += [(number, start + a, start + b) for a, b in itertools.pairwise(even_bounds(count, size))]
        start += count
    locks, place = [threading.Lock() for _ in blocks], np.arange(len(x))

    def task(pair: tuple[int, int], buffer: Tensor) -> None:
        (first, a, a_end), (second, b, b_end) = (blocks[i] for i in pair)
        product = torch.mm(x[a:a_end], x[b:b_end].T, out=buffer[:(a_end - a) * (b_end - b)].view(a_end - a, b_end - b))
        lists = own if first == second else other
        with locks[pair[0]]:  # lower first: no two threads wait for each other
            if pair[0] == pair[1]:
                lists.absorb(product, place[a:a_end], b, False, names, place)
            else:
                with locks[pair[1]]:
                    lists.absorb(product, place[a:a_end], b, True, names, place)
    steps = ((i, i + step) for step in range(len(blocks)) for i in range(len(blocks) - step))
    multiply_in_threads(task, steps, size ** 2)
    back = order.argsort()
    return tuple(lists.neighbours().padded(max(k, 1))[1][back, :k]
                 for lists, k in ((own, k_own), (other, k_other)))
