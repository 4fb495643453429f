"""Compiled loops, threads that run them beside each other, and random integers that every device draws alike."""
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numba
import torch
from torch import Tensor


def compiled(function: Callable | None = None, **options) -> Callable:
    """Compile with numba; the machine code is kept on disk where some folder can be written, otherwise in memory.

    numba tries ``NUMBA_CACHE_DIR``, then ``__pycache__`` beside the file, then the user's cache folder, and raises at
    import where it may write to none of them (an installation that is read-only, without a home).
    """
    if function is None:
        return lambda function: compiled(function, **options)
    options = {"nogil": True, "error_model": "numpy", **options}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:
        return numba.njit(**options)(function)


def in_threads(work: Callable[[int, int], None], count: int, least: int = 1024) -> None:
    """Call ``work(start, stop)`` over pieces of 0 ... count in as many threads as torch may use.

    These threads are Python's, not numba's: numba's own pool must not be entered twice at a time, does not survive a
    fork (a ``DataLoader`` worker), and knows nothing of ``torch.set_num_threads``.

    Args:
        work: releases Python's lock, and writes to places of its own.
        count: how much there is to do.
        least: a piece smaller than this is not worth a thread.
    """
    threads = min(torch.get_num_threads(), count // least)
    if threads < 2:
        work(0, count)
        return
    pieces = min(threads * 4, count // least)  # more pieces than threads even out pieces of unlike cost
    bounds = [piece * count // pieces for piece in range(pieces + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, bounds[:-1], bounds[1:]))


def multiply_in_threads(task: Callable[[object, Tensor], None], items: Iterable, size: int) -> None:
    """Call ``task(item, buffer)`` for all items on as many threads as torch uses, one matrix product on each.

    Threads that each multiply and read their own block need no barrier between the two, which is what
    costs when a multi-threaded product alternates with a multi-threaded reader.

    Args:
        task: may use torch, which has one thread meanwhile.
        items: drawn one by one.
        size: floats in the buffer that each thread has for itself.
    """
    threads, items, lock, stop = torch.get_num_threads(), iter(items), threading.Lock(), threading.Event()

    def work():
        buffer = torch.empty(size, dtype=torch.float32)
        while not stop.is_set():
            with lock:
                item = next(items, None)
            if item is None:
                return
            task(item, buffer)

    if threads == 1:
        return work()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            try:
                for done in [pool.submit(work) for _ in range(threads)]:
                    done.result()
            finally:
                stop.set()
    finally:
        torch.set_num_threads(threads)
