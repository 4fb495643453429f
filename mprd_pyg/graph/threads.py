"""Compiled loops that run beside each other without Python's lock."""
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import torch


def compiled(function: Callable) -> Callable:
    """Compile with numba; the machine code is kept on disk where some folder can be written, otherwise in memory.

    numba tries ``NUMBA_CACHE_DIR``, then ``__pycache__`` beside the file, then the user's cache folder, and raises at
    import where it may write to none of them (an installation that is read-only, without a home).
    """
    options = {"nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)


def in_threads(work: Callable[[int, int], None], count: int, least: int = 1024, parts_per_thread: int = 4) -> None:
    """Call ``work(start, stop)`` over pieces of 0 ... count in as many threads as torch may use.

    These threads are Python's, not numba's: numba's own pool must not be entered twice at a time, does not survive a
    fork (a ``DataLoader`` worker), and knows nothing of ``torch.set_num_threads``.

    Args:
        work: releases Python's lock, and writes to places of its own.
        count: how much there is to do.
        least: a piece smaller than this is not worth a thread.
        parts_per_thread: more pieces than threads even out pieces of unlike cost.
    """
    threads = min(torch.get_num_threads(), count // least)
    if threads < 2:
        work(0, count)
        return
    pieces = min(threads * parts_per_thread, count // least)
    bounds = [piece * count // pieces for piece in range(pieces + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, bounds[:-1], bounds[1:]))
