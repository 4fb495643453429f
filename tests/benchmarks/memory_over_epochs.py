"""Resident memory at the end of each epoch of a tiny run, and its slope: what a long run would lose.

    python tests/benchmarks/memory_over_epochs.py [--pipeline mprd] [--epochs 200] [--trim] [--objects] [options ...]

Further options are those of the pipeline.
"""
import argparse
import ctypes
import gc
import sys
import tempfile
import tracemalloc
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np

from mprd_pyg.data import write_synthetic
from mprd_pyg.training import Trainer
from pipelines.command_line import cli

COMMON = ["--progress", "false", "--accelerator", "cpu", "--data.card", "synthetic", "--data.height", "48",
          "--data.width", "24"]
OPTIONS = {
    "mprd": ["--config", "mprd/tiny.yaml"],
    "paul": ["--pretrain", "false", "--ablation", "false", "--network.init_args.last_stage", "1"]}
WARM = 10  # epochs until caches, pools and compiled kernels are there


def resident():
    """kB of this process in memory, and how much of it is its own and not that of mapped files."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return [int(fields[name].split()[0]) for name in ("VmRSS", "RssAnon")]


def main():
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipeline", default="mprd")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--trim", action="store_true", help="give what is free back to the system before each look")
    parser.add_argument("--objects", action="store_true", help="what was allocated after the tenth epoch and stays")
    options, more = parser.parse_known_args()
    pipeline = import_module(f"pipelines.{options.pipeline}")
    seen, objects, log = [], [], Trainer._log

    def look(self, record, writer):
        log(self, record, writer)
        if options.trim:
            gc.collect()
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        seen.append(resident())
        if options.objects and len(seen) in (WARM, options.epochs):
            tracemalloc.start(12) if len(seen) == WARM else None
            gc.collect()
            objects.append((Counter(type(item).__name__ for item in gc.get_objects()), tracemalloc.take_snapshot()))

    Trainer._log = look
    with tempfile.TemporaryDirectory() as folder:
        root = write_synthetic(Path(folder) / "data", identities=(5, 4), cameras=2, images_per_camera=2, height=48,
                               width=24, distractors=0, junk=0)
        status = cli.main(pipeline.make_parser(), pipeline.run, [
            *OPTIONS.get(options.pipeline, []), *COMMON, "--data.root", str(root), "--out", str(Path(folder) / "out"),
            "--method.epochs", str(options.epochs), *more])
    memory = np.array(seen)
    for epoch in range(0, len(memory), 10):
        print(f"epoch {epoch + 1:4d}: {memory[epoch, 0]:12,} kB, {memory[epoch, 1]:12,} kB its own")
    for first in (WARM, len(memory) // 2):
        slopes = np.polyfit(np.arange(first, len(memory)), memory[first:], 1)[0]
        print(f"{options.pipeline}, from epoch {first + 1} to {len(memory)}: {slopes[0]:.1f} kB an epoch, "
              f"{slopes[1]:.1f} its own")
    if options.objects:
        print((objects[1][0] - objects[0][0]).most_common(15))
        for entry in objects[1][1].compare_to(objects[0][1], "traceback")[:12]:
            print(entry.size_diff, entry.count_diff, *entry.traceback.format()[-8:], sep="\n  ")
    return status


if __name__ == "__main__":
    sys.exit(main())
