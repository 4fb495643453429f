"""What benchmarks share: timing, a table whose ratios are to a baseline of the same run, and generated features."""
import time

import torch
import torch.nn.functional as F


def timed(function, repeat=3):
    """Least wall time and least process CPU time of a few calls, and the last result."""
    wall = cpu = float("inf")
    for _ in range(repeat):
        start, spent = time.perf_counter(), time.process_time()
        result = function()
        wall, cpu = min(wall, time.perf_counter() - start), min(cpu, time.process_time() - spent)
    return wall, cpu, result


class Table:
    """Prints rows as they come. On a machine that others use, the CPU columns say more than the wall clock's."""

    def __init__(self, unit, threads):
        print(f"| what | wall s | CPU s | {unit}/s, wall | {unit}/s, CPU s / {threads} threads | x baseline (CPU) |")
        print("|---|---|---|---|---|---|")
        self.threads = threads

    def row(self, name, count, wall, cpu, baseline=None):
        """Print one row; returns items per CPU second, which can be the ``baseline`` of others."""
        ratio = "" if baseline is None else f"{count / cpu / baseline:,.1f}"
        speed = f"{count / wall:,.0f} | {count / cpu * self.threads:,.0f}"
        print(f"| {name} | {wall:.4g} | {cpu:.4g} | {speed} | {ratio} |", flush=True)
        return count / cpu


def identities(rows: int, dim: int, spread: float, images: int = 20,
               seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit features (rows, dim) and identities (rows,), of which each has ``images``, scattered over all rows.

    An image lies around its identity's random direction with a total standard deviation of ``spread``.
    """
    draw = torch.Generator().manual_seed(seed)
    centre = F.normalize(torch.randn(-(-rows // images), dim, generator=draw))
    person = torch.randperm(rows, generator=draw).div(images, rounding_mode="floor")
    x = torch.empty(rows, dim)
    for part, who in zip(x.split(50_000), person.split(50_000), strict=True):  # in place: no second matrix
        part.normal_(0, spread / dim ** 0.5, generator=draw).add_(centre[who])
        part.div_(part.norm(dim=1, keepdim=True))
    return x, person
