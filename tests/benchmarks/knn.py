"""Speed of the kNN graph beside faiss.knn, FAISS's indexes and the bare matrix product, all in one run.

    python tests/benchmarks/knn.py --rows 13000 --dim 2048
    python tests/benchmarks/knn.py --growth growth.png --sizes 10000 30000 100000 300000 1000000
    python tests/benchmarks/knn.py --one auto --rows 1000000 --dim 256

Features are unit vectors like those of a re-identification network: 20 images of each identity, a Gaussian of total
standard deviation ``--spread`` around the identity's random direction (1.0: two images of a person have a cosine of
about 0.5; 1.5: about 0.3, where strangers among a million come as near). Times are CPU seconds of the process, which
hold on a busy machine too, and wall seconds. pynndescent is measured beside them where it is installed. ``--growth``
measures each size in a process of its own, and draws time and peak memory, with a table beside the picture (``.csv``
and ``.md``).
"""
import argparse
import importlib.util
import json
import logging
import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import faiss  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from measure import identities  # noqa: E402

from mprd_pyg.graph import KNNGraph  # noqa: E402

BLOCK = 1024


def timed(function, repeat: int = 1):
    """Least CPU seconds of ``repeat`` runs, least wall seconds, and the last result."""
    cpu = wall = float("inf")
    for _ in range(repeat):
        before, start = time.process_time(), time.perf_counter()
        result = function()
        cpu, wall = min(cpu, time.process_time() - before), min(wall, time.perf_counter() - start)
    return cpu, wall, result


def bare_product(x: torch.Tensor) -> None:
    """The whole similarity matrix in blocks, each thrown away."""
    out = torch.empty(BLOCK * BLOCK)
    for rows in x.split(BLOCK):
        for columns in x.split(BLOCK):
            torch.mm(rows, columns.T, out=out[:len(rows) * len(columns)].view(len(rows), len(columns)))


def topk(x: torch.Tensor, k: int) -> None:
    """Blocks of the product, each followed by ``torch.topk``."""
    for rows in x.split(BLOCK):
        (rows @ x.T).topk(k + 1)


def pynndescent(x: torch.Tensor, k: int) -> torch.Tensor:
    """Neighbours by the package pynndescent, (N, k), the row itself left out; it is no dependency of this project."""
    from pynndescent import NNDescent
    row = torch.from_numpy(NNDescent(x.numpy(), metric="dot", n_neighbors=30, n_jobs=torch.get_num_threads(),
                                     random_state=0).neighbor_graph[0]).long()
    other = row != torch.arange(len(x)).unsqueeze(1)
    return row[other & (other.cumsum(1) <= k)].view(len(x), k)


def recall_of(row: torch.Tensor, x: torch.Tensor, sample: int = 500) -> float:
    """Share of the true k nearest of a sample of rows that are among ``row`` (N, k)."""
    some = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:sample]
    truth = KNNGraph(k=row.shape[1])(x, rows=some).edge_index[0].view(len(some), -1)
    return float((truth.unsqueeze(2) == row[some].unsqueeze(1)).any(2).float().mean())


def compare(args) -> None:
    """Print the table of one size."""
    rows, dim, k = args.rows, args.dim, args.k
    x, _ = identities(rows, dim, args.spread)
    small, data = x[:3000], x.numpy()
    for metric in ("cosine", "l2"):  # compile before anything is timed
        KNNGraph(k=k, metric=metric, threshold=0.5, index="exact")(small)
    KNNGraph(k=k, index="nndescent", recall_sample=0)(small)
    print(f"N = {rows:,}, d = {dim}, k = {k}, spread {args.spread}, {torch.get_num_threads()} threads\n")
    print("| | CPU s | wall s | GFLOP per CPU s (2 N² d) | of faiss.knn | recall |")
    print("|---|---|---|---|---|---|")
    base = {}

    def row(name, function, repeat=args.repeat):
        cpu, wall, result = timed(function, repeat)
        base.setdefault("faiss", cpu)
        recall = ""
        if isinstance(result, torch.Tensor):
            recall = f"{recall_of(result, x):.4f}"
        elif "recall" in (result or ()):
            recall = f"{result.recall:.4f}"
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {2 * rows ** 2 * dim / cpu / 1e9:.0f} "
              f"| {base['faiss'] / cpu:.2f} x | {recall} |", flush=True)

    def graph(**options):
        text = ", ".join(f"{name}={value!r}" for name, value in options.items())
        row(f"KNNGraph({text})", lambda: KNNGraph(**options)(x), 1 if options["index"] in args.indexes else args.repeat)

    row("faiss.knn, inner product", lambda: faiss.knn(data, data, k + 1, faiss.METRIC_INNER_PRODUCT) and None)
    row("faiss.knn, L2", lambda: faiss.knn(data, data, k + 1, faiss.METRIC_L2) and None)
    row(f"torch.mm in blocks of {BLOCK} x {BLOCK}", lambda: bare_product(x))
    row("torch.mm + torch.topk", lambda: topk(x, k))
    for options in ({}, {"metric": "l2"}, {"threshold": args.threshold}):
        for index in ("Flat", "exact"):
            graph(k=k, index=index, **options)
    for index in args.indexes:
        graph(k=k, index=index)
    if importlib.util.find_spec("pynndescent"):
        pynndescent(small, k)
        row("pynndescent", lambda: pynndescent(x, k), 1)


def one(args) -> None:
    """Build one graph and print what it took as JSON; memory is the peak of the whole process."""
    x, _ = identities(args.rows, args.dim, args.spread)
    KNNGraph(k=args.k, index=args.one, recall_sample=0)(x[:3000])
    KNNGraph(k=args.k, index="nndescent", recall_sample=0)(x[:3000])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cpu, wall, graph = timed(lambda: KNNGraph(k=args.k, index=args.one)(x))  # the measurement of recall included
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"index": args.one, "built_by": graph.built_by, "rows": args.rows, "dim": args.dim, "k": args.k,
                      "spread": args.spread, "threads": torch.get_num_threads(), "cpu_s": round(cpu, 2),
                      "wall_s": round(wall, 2), "mib": round(peak / 1024), "mib_before": round(before / 1024),
                      "recall": graph.get("recall", 1.0)}))


def write_tables(table: pd.DataFrame, picture: Path) -> None:
    """The measured lines as CSV, and as a Markdown table, beside the picture."""
    table.to_csv(picture.with_suffix(".csv"), index=False)
    lines = ["| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|"]
    lines += ["| " + " | ".join(map(str, values)) + " |" for values in table.itertuples(index=False)]
    picture.with_suffix(".md").write_text("\n".join(lines) + "\n")


def growth(args) -> None:
    """Measure all sizes and kinds, each in its own process, and draw them."""
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    lines = []
    for index in ["Flat", "exact", *args.indexes]:
        for rows in args.sizes:
            if index != args.last and rows > args.max_rows:
                continue
            command = [sys.executable, __file__, "--one", index, "--rows", str(rows), "--dim", str(args.dim), "--k",
                       str(args.k), "--spread", str(args.spread)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            lines.append(json.loads(done.stdout.splitlines()[-1]))
            print(lines[-1], flush=True)
            table = pd.DataFrame(lines)
            write_tables(table, Path(args.growth))
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for axis, column, label in zip(axes, ("cpu_s", "mib"), ("CPU seconds", "peak MiB, features included"), strict=True):
        for index, part in table.groupby("index", sort=False):
            axis.loglog(part["rows"], part[column], "o-", label=index)
        axis.set(xlabel="N", ylabel=label)
        axis.grid(alpha=0.3, which="both")
    axes[0].legend()
    figure.suptitle(f"kNN graph, d = {args.dim}, k = {args.k}")
    figure.savefig(args.growth, dpi=150)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=13_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--spread", type=float, default=1.0)
    parser.add_argument("--threshold", type=float, default=0.6)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--indexes", nargs="*", default=["hnsw", "ivfpq", "nndescent"])
    parser.add_argument("--one", help="build one graph with this index and print JSON")
    parser.add_argument("--growth", help="picture to draw")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 30_000, 100_000, 300_000, 1_000_000])
    parser.add_argument("--last", default="nndescent", help="the kind of index that is also measured beyond --max-rows")
    parser.add_argument("--max-rows", type=int, default=100_000, help="largest size of the other kinds")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    (one if args.one else growth if args.growth else compare)(args)


if __name__ == "__main__":
    main()
