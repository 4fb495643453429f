"""Time and memory of the ranking scores, beside the slow per-query rule in the same run.

    python tests/benchmarks/ranking.py --queries 3368 --gallery 15913 --dim 512
    python tests/benchmarks/ranking.py --msmt17 --dim 128

Prints one Markdown table. The slow rule (argsort per query, then torchreid's and Market-1501's loops) runs on
``--slow-queries`` queries spread over all; its time is scaled up to all of them, and its scores must agree.
"""

import argparse
import re
import threading
import time
from pathlib import Path

import numpy as np
import torch

from mprd_pyg.evaluation import evaluate_ranking


def slow_rule(similarity, q_id, g_ids, q_camera, g_cameras):
    """Return both average precisions of one query, in plain Python."""
    order = np.argsort(-similarity, kind="stable")
    kept = order[((g_ids[order] != q_id) | (g_cameras[order] != q_camera)) & (g_ids[order] >= 0)]
    good = g_ids[kept] == q_id
    if not good.any():
        return np.nan, np.nan
    hits, total, rectangle, trapezoid, old = 0, good.sum(), 0.0, 0.0, 1.0
    for rank, flag in enumerate(good.tolist(), 1):
        hits += flag
        precision = hits / rank
        if flag:
            rectangle += precision / total
            trapezoid += (old + precision) / 2 / total
        old = precision
    return rectangle, trapezoid


class PeakMemory:
    """Peak resident memory of a ``with`` block beyond what was there before, in MiB (Linux)."""

    def __enter__(self):
        self.before = self.peak = self._resident()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()

    @property
    def mib(self) -> float:
        """Peak minus start."""
        return (self.peak - self.before) / 1024

    def _watch(self):
        while not self.done.wait(0.005):
            self.peak = max(self.peak, self._resident())

    @staticmethod
    def _resident() -> int:
        return int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def main():
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15913)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--ids", type=int, default=750)
    parser.add_argument("--cameras", type=int, default=6)
    parser.add_argument("--block", type=int, default=256)
    parser.add_argument("--collapsed", action="store_true", help="two distinct features: everything ties")
    parser.add_argument("--slow-queries", type=int, default=40)
    parser.add_argument("--msmt17", action="store_true", help="11,659 x 82,161, 3,060 identities, 15 cameras")
    args = parser.parse_args()
    if args.msmt17:
        args.queries, args.gallery, args.ids, args.cameras = 11_659, 82_161, 3_060, 15

    rng = np.random.default_rng(0)
    ids = [rng.integers(low, args.ids + 1, n) for low, n in ((1, args.queries), (0, args.gallery))]
    cameras = [rng.integers(0, args.cameras, n) for n in (args.queries, args.gallery)]
    people = torch.randn(args.ids + 1, args.dim, generator=torch.Generator().manual_seed(0))
    features = [people[i] + 4 * torch.randn(len(i), args.dim) for i in ids]
    if args.collapsed:
        features = [x.sign()[:, :1].expand(-1, args.dim).contiguous() for x in features]
    features = [torch.nn.functional.normalize(x) for x in features]

    def product():
        for part in features[0].split(args.block):
            part @ features[1].T

    product()
    start = time.perf_counter()
    product()
    multiplied = time.perf_counter() - start
    with PeakMemory() as memory:
        start = time.perf_counter()
        result = evaluate_ranking(*features, *ids, *cameras, block=args.block)
        ranked = time.perf_counter() - start

    some = np.linspace(0, args.queries - 1, min(args.slow_queries, args.queries)).astype(int)
    similarity = (features[0][some] @ features[1].T).numpy()
    start = time.perf_counter()
    pairs = zip(similarity, some, strict=True)
    slow = [slow_rule(s, ids[0][q], ids[1], cameras[0][q], cameras[1]) for s, q in pairs]
    slowly = (time.perf_counter() - start) * args.queries / max(len(some), 1)
    fast = np.stack([result.average_precision, result.average_precision_trapz], 1)[some]

    threads = torch.get_num_threads()
    print(f"{args.queries} x {args.gallery}, d={args.dim}, block={args.block}, {threads} threads\n")
    print("| | |\n|---|---|")
    print(f"| matrix product alone | {multiplied:.2f} s |")
    print(f"| evaluate_ranking | {ranked:.2f} s |")
    print(f"| beyond the matrix product | {ranked - multiplied:.2f} s |")
    print(f"| per-query Python, similarities given, from {len(some)} queries | {slowly:.1f} s |")
    print(f"| largest difference of an average precision | {np.nanmax(np.abs(fast - np.array(slow))):.1e} |")
    print(f"| peak memory beyond the features | {memory.mib:.0f} MiB |")
    print("| " + " · ".join(f"{k} {v:.4g}" for k, v in result.summary().items()) + " | |")


if __name__ == "__main__":
    main()
