"""The processes among which the search of a kNN graph is divided: started here, or by torchrun."""
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed
import torch.multiprocessing

from mprd_pyg.graph.search.knn_parts import KNNParts

START, FINISH = timedelta(minutes=5), timedelta(days=30)


def rank_and_world_size(processes: int) -> tuple[int, int]:
    """Those that torchrun gave, or 0 and 1.

    Raises:
        ValueError: fewer than one process, or a number of them both here and by torchrun.
    """
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    if processes < 1:
        raise ValueError(f"--processes must be at least 1, got {processes}")
    if world_size > 1 and processes > 1:
        raise ValueError(f"torchrun started {world_size} processes: leave out --processes {processes}")
    return int(os.environ.get("RANK", 0)), world_size


@contextmanager
def waiting_for_all() -> Iterator[None]:
    """Leave the block when every process that torchrun started has come to its end; an error if one was lost."""
    torch.distributed.init_process_group("gloo", timeout=START)
    yield
    torch.distributed.monitored_barrier(timeout=FINISH)
    torch.distributed.destroy_process_group()


def search_in_processes(parts: KNNParts, processes: int, progress: bool) -> None:
    """Search all parts in so many processes, which end with this one.

    Raises:
        ValueError: what one of them raised, or that one was killed.
    """
    if processes == 1:
        parts.search(progress=progress)
        return
    context = torch.multiprocessing.spawn(_search, (parts, processes, progress), processes, join=False, daemon=True)
    try:
        while not context.join():
            pass
    except torch.multiprocessing.ProcessRaisedException as error:
        kind, _, message = str(error).strip().splitlines()[-1].partition(": ")
        raise (ValueError(message) if kind == "ValueError" else error) from None
    except torch.multiprocessing.ProcessExitedException as error:
        raise ValueError(f"a process was killed ({error.signal_name or error.exit_code}), for want of memory perhaps: "
                         f"lower --memory or --processes, and run the command again; finished parts are kept") from None


def _search(rank: int, parts: KNNParts, processes: int, progress: bool) -> None:
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // processes))
    parts.search(rank, processes, progress)
