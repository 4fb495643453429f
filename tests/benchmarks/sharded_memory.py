"""Memory, traffic and time of a sharded feature memory, beside the replicated one and the formulas.

    export MALLOC_MMAP_THRESHOLD_=1000000                             # what is freed is given back at once
    python tests/benchmarks/sharded_memory.py                         # one process, replicated
    torchrun --nproc-per-node 4 tests/benchmarks/sharded_memory.py    # four, sharded

A step is InfoNCE over all N rows with its gradient, writing the batch's rows, and the search of the batch's rows. Bytes
are what the loopback device carried meanwhile, of all programs of this machine, so measure where nothing else sends;
packets' headers are in it. Memory is the growth of the process since before the bank was made, and at its largest
within a step.
"""
import argparse
import os
import re
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F

from mprd_pyg import processes
from mprd_pyg.graph import KNNGraph
from mprd_pyg.losses import MultiPositiveInfoNCE
from mprd_pyg.memory import FeatureMemory, ShardedMemory

LOOPBACK = Path("/sys/class/net/lo/statistics/tx_bytes")


def resident(kind: str) -> float:
    """MB of this process: ``VmRSS`` now, or ``VmHWM`` at its largest."""
    return int(re.search(rf"{kind}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6


def measured(work, repeat: int) -> tuple[float, float, float]:
    """Seconds of a call, MB that all processes sent in it, and MB of this process at its largest."""
    work()
    Path("/proc/self/clear_refs").write_text("5")  # the largest is measured from here on
    processes.wait_for_all()
    sent, start = int(LOOPBACK.read_text()), time.perf_counter()
    for _ in range(repeat):
        work()
    processes.wait_for_all()
    return ((time.perf_counter() - start) / repeat, (int(LOOPBACK.read_text()) - sent) / repeat / 1e6,
            resident("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
    count, (rows, dim, batch, k) = processes.count(), (args.rows, args.dim, args.batch, args.k)
    torch.set_num_threads(1)
    draw = torch.Generator().manual_seed(0)
    index = torch.randperm(rows, generator=draw)[:batch]
    x = F.normalize(torch.randn(batch, dim, generator=draw), dim=1).requires_grad_()
    positives = torch.stack([torch.randint(rows, (4 * batch,), generator=draw), index.repeat_interleave(4)])
    loss, knn = MultiPositiveInfoNCE(), KNNGraph(k, index="exact")
    # all code is loaded before memory is counted
    small = (ShardedMemory if count > 1 else FeatureMemory)(2 * batch, dim)
    small.put(torch.arange(2 * batch), torch.randn(2 * batch, 1, dim, generator=draw))
    knn(small.bank[0], rows=torch.arange(batch))
    loss(x, small.bank[0], torch.stack([positives[0] % batch, torch.arange(batch).repeat_interleave(4)]),
         torch.arange(batch)).backward()
    before = resident("VmRSS")
    memory = type(small)(rows, dim)
    for part in torch.arange(rows).split(1024):
        memory.put(part, torch.randn(len(part), 1, dim, generator=draw))
    held = memory.bank if count == 1 else memory.own
    steps = {"InfoNCE": lambda: loss(x, memory.bank[0], positives, index).backward(),
             "update": lambda: memory.update(index, x.detach().unsqueeze(1), 0.5),
             "search": lambda: knn(memory.bank[0], rows=index)}
    ring, peers = 2 * (count - 1) / count, count - 1
    expected = {"InfoNCE": ring * 4 * batch * (dim + 6), "update": 0.0,
                "search": ring * 4 * batch * dim + peers * batch * (8 + 12 * k)}
    if processes.is_first():
        print(f"{count} processes, N = {rows:,}, d = {dim}, B = {batch}, k = {k}: {held.nbytes / 1e6:,.1f} MB of the "
              f"bank in each, of {4 * rows * dim / 1e6:,.1f}; the process grew by {resident('VmRSS') - before:,.1f}")
        print("| step | s | MB sent by a process | by the formula | MB beyond the start, at its largest |")
        print("|---|---|---|---|---|")
    for name, work in steps.items():
        seconds, sent, largest = measured(work, args.repeat)
        largest = float(processes.all_reduce(torch.tensor(largest - before), "max"))
        if processes.is_first():
            print(f"| {name} | {seconds:.3f} | {sent / count:.3f} | {expected[name] / 1e6:.3f} | {largest:,.0f} |")
    if count > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
