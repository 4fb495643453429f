"""Time and memory of pipelines.knn by the number of rows: python tests/benchmarks/scale.py --out FOLDER.

Each size and number of processes is a command of its own, whose CPU seconds (all processes together) and largest
process are measured. The command on 1,000 rows comes first: that is what starting takes, and it is subtracted. Sizes
given by ``--one-part`` are measured on one part of ``PART`` rows, whose seconds count as many times as there are parts.
Lines are added to ``scale.csv`` in the folder and the picture ``scale.png`` is drawn from all of them; the dashed lines
are the formulas, through the largest size measured whole.

    python tests/benchmarks/scale.py --out FOLDER --sizes 10000 30000 100000 --processes 1 2
    python tests/benchmarks/scale.py --out FOLDER --sizes --one-part 1000000
"""
import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from measure import identities

from mprd_pyg.graph.search.embedding_file import EmbeddingFile
from mprd_pyg.graph.search.knn_parts import KNNParts

START, PART = 1000, 4096


def matrix(folder: Path, rows: int, dim: int) -> Path:
    """A file of generated features, made where it is missing."""
    path = folder / f"x{rows}x{dim}.npy"
    if not path.exists():
        np.save(path, identities(rows, dim, 1.0)[0].numpy())
    return path


def measured(command: list[str]) -> dict[str, float]:
    """Wall and CPU seconds of a command with its processes, and MiB of the largest of them."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return {"wall_s": round(time.perf_counter() - start, 1), "cpu_s": round(used.ru_utime + used.ru_stime, 1),
            "mib": round(used.ru_maxrss / 1024)}


def whole(args: argparse.Namespace, rows: int, processes: int) -> dict[str, float]:
    """The command's figures."""
    out = args.out / "graph.pt"
    out.unlink(missing_ok=True)
    file = str(matrix(args.out, rows, args.dim))
    return measured(["-m", "pipelines.knn", file, "--k", str(args.k), "--out", str(out), "--processes",
                     str(processes), "--memory", str(args.memory), "--progress", "false"])


def parts_of(args: argparse.Namespace, rows: int) -> KNNParts:
    """The search of a size."""
    return KNNParts(EmbeddingFile(matrix(args.out, rows, args.dim)), args.out / "parts", args.k,
                    memory=int(args.memory * 2**30), part_rows=PART)


def draw(lines: pd.DataFrame, picture: Path) -> None:
    """Seconds and memory by rows, with the formulas."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines = lines[lines["rows"] > START]
    dim = int(lines["dim"].iloc[0])
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for (processes, memory), part in lines.groupby(["processes", "memory"]):
        for axis, column in zip(axes, ("search_cpu_s", "mib"), strict=True):
            axis.plot(part["rows"], part[column], "o-", label=f"{processes} process{'es' * (processes > 1)}, "
                                                              f"--memory {memory:g}")
    rows = np.geomspace(lines["rows"].min(), 1_000_000)
    largest = lines[lines["parts"] == "all"].sort_values("rows").iloc[-1]
    axes[0].plot(rows, largest["search_cpu_s"] * (rows / largest["rows"]) ** 2, "k--", lw=0.8, label="2 N² d")
    axes[1].plot(rows, lines["mib"].min() + rows * dim * 4 / 2**20, "k--", lw=0.8, label="libraries + 4 N d bytes")
    for axis, label in zip(axes, ("CPU seconds of the search", "MiB of the largest process"), strict=True):
        axis.set(xlabel="N", ylabel=label, xscale="log")
        axis.grid(alpha=0.3, which="both")
        axis.legend(fontsize=7)
    axes[0].set_yscale("log")
    figure.suptitle(f"pipelines.knn, exact, d = {dim}")
    figure.savefig(picture, dpi=110)


def main() -> None:
    """Parse, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 30_000, 100_000])
    parser.add_argument("--one-part", type=int, nargs="*", default=[])
    parser.add_argument("--search-part", type=int, help="search one part of so many rows and end")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--memory", type=float, default=2.0)
    args = parser.parse_args()
    if args.search_part:
        parts = parts_of(args, args.search_part)
        parts.search(0, len(parts.bounds) - 1)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    table = args.out / "scale.csv"

    def add(rows: int, processes: int, figures: dict[str, float], number: int = 0, start: float = 0.0) -> None:
        search = (figures["cpu_s"] - start) * max(number, 1)
        line = {"rows": rows, "dim": args.dim, "processes": processes, "memory": args.memory, **figures,
                "parts": f"1 of {number}" if number else "all", "search_cpu_s": round(search, 1),
                "gflop_per_cpu_s": round(2 * rows ** 2 * args.dim / search / 1e9, 1)}
        print(line, flush=True)
        pd.DataFrame([line]).to_csv(table, mode="a", header=not table.exists(), index=False)

    for processes in args.processes if args.sizes else []:
        start = whole(args, START, processes)
        for rows in args.sizes:
            add(rows, processes, whole(args, rows, processes), start=start["cpu_s"])
    start = whole(args, START, 1) if args.one_part else {}
    for rows in args.one_part:
        parts = parts_of(args, rows)
        figures = measured([__file__, "--out", str(args.out), "--search-part", str(rows), "--dim", str(args.dim), "--k",
                            str(args.k), "--memory", str(args.memory)])
        parts.remove()
        add(rows, 1, figures, len(parts.bounds) - 1, start["cpu_s"])
    draw(pd.read_csv(table), args.out / "scale.png")


if __name__ == "__main__":
    main()
