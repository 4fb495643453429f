"""Starting a command in several processes, and their Lightning Fabric."""
import hashlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy

from mprd_pyg import __version__, process_group, processes

PER_CALL = ("config", "resume", "out", "devices", "progress")  # options that say nothing of the result


def launch(module: str, argv: Sequence[str], count: int) -> int:
    """Run ``python -m MODULE ARGV`` in several processes of this machine, as ``torchrun`` does; returns the status.

    Args:
        module: the command.
        argv: its arguments.
        count: number of processes.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    config = LaunchConfig(1, 1, count, run_id=f"{os.getpid()}", rdzv_backend="c10d", rdzv_endpoint="localhost:0",
                          max_restarts=0, monitor_interval=0.2)
    try:
        elastic_launch(config, sys.executable)("-m", module, *argv)
    except SignalException:
        return 130
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            sys.stderr.write(f"process {rank} of {count} was killed ({failure.signal_name()})\n")
        return failure.exitcode if failure.exitcode > 0 else 2
    return 0


def make_fabric(parser: ArgumentParser, cfg: Namespace, explain: Callable[[str], str]) -> Fabric:
    """The Fabric of a command, in all processes that ``torchrun`` started, which are joined first.

    Args:
        parser: that made ``cfg``.
        cfg: resolved options, with ``accelerator`` and, unless all is in single precision, ``precision``.
        explain: see :func:`mprd_pyg.process_group.join`.

    Raises:
        ValueError: more processes than devices, or what :func:`mprd_pyg.process_group.join` refuses.
    """
    count, precision = process_group.started_together(), cfg.get("precision", "32-true")
    if count == 1:
        return Fabric(accelerator=cfg.accelerator, devices=1, precision=precision)
    warnings.filterwarnings("ignore", message=".*broadcast_buffers.*")
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    # Buffers are sent at the end of a phase: a forward pass without gradient then takes one process alone.
    strategy = DDPStrategy(broadcast_buffers=False)
    try:
        fabric = Fabric(accelerator=cfg.accelerator, devices=here, num_nodes=count // here, strategy=strategy,
                        precision=precision)
    except Exception as error:  # of several kinds, by what Lightning finds wrong
        raise ValueError(f"{here} processes cannot run on this machine's devices ({error}): start as many as it has, "
                         f"or give --accelerator cpu") from error
    cuda = fabric.device.type == "cuda"
    about = {"code": code_hash(), "version of torch": torch.__version__, "options": options_hash(parser, cfg)}
    process_group.join("cpu:gloo,cuda:nccl" if cuda else "gloo", about, explain)
    fabric.launch()
    if not processes.is_first():
        cfg.progress = False
        logging.getLogger().setLevel(logging.ERROR)
        warnings.simplefilter("ignore")
    return fabric


def code_hash() -> str:
    """Of all Python files of the project."""
    root, found = Path(__file__).parents[2], hashlib.sha256(__version__.encode())
    for package in ("mprd_pyg", "paul", "pipelines"):
        for path in sorted((root / package).rglob("*.py")):
            found.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return found.hexdigest()[:12]


def options_hash(parser: ArgumentParser, cfg: Namespace) -> str:
    """Of the options that all processes must share."""
    kept = cfg.clone()
    for key in PER_CALL:
        kept.pop(key, None)
    return hashlib.sha256(parser.dump(kept, skip_unset=False).encode()).hexdigest()[:12]
