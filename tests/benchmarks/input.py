"""Images per second from files to normalised batches: python tests/benchmarks/input.py [count] [workers] [device].

Every way gives batches of 32 augmented images at 256 x 128, from the same JPEG files of 128 x 64 (Market-1501's size),
in random order. Baseline: torchvision's ImageFolder and DataLoader with the same augmentation from torchvision.v2, as
training scripts do it. The ways take turns, each several times; printed are the medians of the wall clock, of the
processor time of this process and its workers, and the ratio of the latter to the baseline's.
"""
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from mprd_pyg.data import ImageStore, make_table
from mprd_pyg.data.batched_view import BatchedTrainingView
from mprd_pyg.data.image_cache import ImageCache
from mprd_pyg.data.styles.colour_statistics import CameraStatistics
from mprd_pyg.data.styles.random_style import StatisticsStyle
from mprd_pyg.data.views import SeededViews, StyledView, load, shuffled_batches, training_view
from mprd_pyg.random_streams import stream

SIZE = (256, 128)


def write_images(root, count):
    g = np.random.default_rng(0)
    for i in range(count):
        small = Image.fromarray(g.integers(0, 256, (16, 8, 3), dtype=np.uint8)).resize((64, 128), Image.BICUBIC)
        folder = root / f"{i % 8:04d}"
        folder.mkdir(exist_ok=True)
        small.save(folder / f"{i % 8:04d}_c{i % 6}_{i:06d}.jpg", quality=90)
    frame = make_table((f"{i % 8:04d}/{i % 8:04d}_c{i % 6}_{i:06d}.jpg", i % 8, i % 6, "train") for i in range(count))
    frame.attrs.update(root=str(root), card="benchmark")
    return frame


def processor_seconds():
    return sum(part.ru_utime + part.ru_stime for part in
               (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)))


def run(make, device):
    wall, processor, images = time.perf_counter(), processor_seconds(), 0
    batches = make()
    for batch, _ in batches:
        images += len(batch.to(device, non_blocking=True))
    del batches                                     # joins the workers, whose time counts then
    if device.type == "cuda":
        torch.cuda.synchronize()
    return images / (time.perf_counter() - wall), images / (processor_seconds() - processor)


def main(count=768, workers=0, device="cpu", repeat=2):
    device, (height, width) = torch.device(device), SIZE
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        root.mkdir()
        frame = write_images(root, count)
        cache = ImageCache(frame, SIZE, Path(folder) / "cache").ensure(progress=False)
        cached, files = cache.store(frame), ImageStore(frame, size=SIZE, in_memory=False)
        batches = shuffled_batches(torch.arange(count), 32, stream(0))
        one, many = training_view(height, width), BatchedTrainingView(height, width, device)
        camera = torch.tensor(frame["camera_id"].tolist())
        style = StatisticsStyle(CameraStatistics.estimate(cached, camera, sample=8), camera)
        styled = StyledView(many, style)
        plain = ImageFolder(root, v2.Compose([v2.PILToTensor(), v2.Resize(SIZE, antialias=True), one]))
        ways = {
            "torchvision ImageFolder": lambda: DataLoader(plain, 32, shuffle=True, num_workers=workers),
            "files, view per image": lambda: load(SeededViews(files, one), batches, workers),
            "files, batched view": lambda: load(SeededViews(files, many), batches, workers),
            "cache, view per image": lambda: load(SeededViews(cached, one), batches, workers),
            "cache, batched view": lambda: load(SeededViews(cached, many), batches, workers),
            "cache, batched, camera style": lambda: load(SeededViews(cached, styled), batches, workers),
            "cache, no augmentation": lambda: load(SeededViews(cached, _Normalise(device)), batches, workers),
        }
        rates = {name: [] for name in ways}
        for number in range(repeat + 1):            # the first round warms up
            for name, make in ways.items():
                rate = run(make, device)
                if number:
                    rates[name].append(rate)
    print(f"{count} images, {workers} workers, {device}, {torch.get_num_threads()} threads, {os.cpu_count()} cores")
    print(f"{'':30}{'images/s':>10}{'images per processor second':>30}{'ratio':>8}")
    base = None
    for name, found in rates.items():
        wall, processor = (float(np.median(part)) for part in zip(*found, strict=True))
        base = base or processor
        print(f"{name:30}{wall:10.0f}{processor:30.0f}{processor / base:8.2f}")


class _Normalise:
    batched = True

    def __init__(self, device):
        self.device = device

    def __call__(self, images, rows, seed):
        return (images.float() - 120) / 60


if __name__ == "__main__":
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))
