"""Cost of one PAUL step beside the bare network: python tests/benchmarks/paul_step.py [rows] [height] [width].

Baseline: forward and backward of the same PatchNet (ResNet-50) on the same 80 images with a trivial loss.
"""
import sys
import time

import torch
from lightning_fabric import Fabric

from paul import PAUL, PatchNet
from paul.surrogate_view import surrogate_view


class Blank:
    """Images that are never read: the benchmark hands over its own batch."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


def main(rows=13_000, height=384, width=128, repeat=3):
    fabric = Fabric(accelerator="auto", devices=1)
    network = PatchNet("resnet50", weights=None)
    method = PAUL(fabric, network, Blank(rows), torch.zeros(rows, dtype=torch.long), surrogate_view(height, width))
    method.memory.update(torch.arange(rows, device=fabric.device), torch.nn.functional.normalize(
        torch.randn(rows, 6, 256, device=fabric.device), dim=2), 1.0)
    method.epoch = 1
    method.embedder.train()
    images, index = torch.randn(40, 2, 3, height, width), torch.randperm(rows)[:40]
    flat = images.transpose(0, 1).flatten(0, 1).to(fabric.device, memory_format=torch.channels_last)

    def bare():
        method.optimizer.zero_grad()
        fabric.backward(method.embedder(flat).square().sum())

    def timed(function):
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
        start, cpu = time.perf_counter(), time.process_time()
        function()
        if fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, time.process_time() - cpu

    times = {"bare": [], "step": []}
    for number in range(repeat + 1):  # in turn, the first pair being a warm-up
        for name, function in (("bare", bare), ("step", lambda: method.training_step((images, index)))):
            seconds = timed(function)
            if number:
                times[name].append(seconds)
    print(f"{fabric.device}, N = {rows:,}, {height} x {width}, median of {repeat}")
    for number, clock in enumerate(("wall", "CPU")):  # on a busy machine the CPU's clock is the one to read
        bare_s, step_s = (sorted(pair[number] for pair in times[name])[repeat // 2] for name in ("bare", "step"))
        print(f"{clock:5s}bare {bare_s:7.3f} s   step {step_s:7.3f} s   ratio {step_s / bare_s:.3f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
