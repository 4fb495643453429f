"""Cost of a method's training step beside the bare network's: python tests/benchmarks/epoch.py.

The bare step is forward, backward and optimiser of the same network on the same views, with a linear loss. Bare and
full step alternate; the ratio is the median over such pairs, of CPU seconds of the process on the host, which hold on a
busy machine too, of wall seconds on a device. The method's own time is also measured within each full step, which is
cut at the features: beside the network's time in the same step it gives a second ratio, with less noise. Images are
noise and the features generated, of 17 images per identity: the time does not depend on them, but for the number of
neighbours. What happens once in k steps or once per epoch (a whole graph, groups) is timed alone and spread over the
steps. Loading and augmenting images is not measured.

    python tests/benchmarks/epoch.py --pairs 5                       # Market-1501's size; CUDA where there is one
    python tests/benchmarks/epoch.py --methods mprd --profile 20     # with a table of where the time goes
"""
import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from measure import identities
from torch import Tensor

from mprd_pyg.cluster_contrast import LEARNER as CONTRAST_LEARNER
from mprd_pyg.cluster_contrast import ClusterContrast
from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.losses import MultiPositiveInfoNCE
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.models import ImageEmbedder, PairClassifier
from mprd_pyg.mprd import MPRD, GCNRelation
from mprd_pyg.relations import KReciprocalJaccard, Relation, Whitened
from mprd_pyg.training import Learner, MemoryGraph
from paul import LEARNER as PAUL_LEARNER
from paul import PAUL, PatchNet

IMAGES_PER_IDENTITY, CAMERAS = 17, 6


class Unread:
    """N images that are never read: the benchmark hands over its own batch."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count


@dataclass
class Case:
    """A method ready to step.

    Args:
        name: shown.
        learner: its network and optimiser.
        views: (V * B, 3, H, W), what its network sees in a step.
        step: one training step.
        spread: what happens less often, and in how many steps once.
    """

    name: str
    learner: Learner
    views: Tensor
    step: Callable[[], object]
    spread: tuple[Callable[[], object], int] | None = None

    def bare(self) -> None:
        """A step of the network alone."""
        x = self.learner.embedder(self.views)
        self.learner.step((x * torch.linspace(-1, 1, x.numel(), device=x.device).view_as(x)).sum())


class Bench:
    """Makes the cases, all of one size, on one device."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.fabric = args, Fabric(accelerator=args.accelerator, devices=1, precision=args.precision)
        draw = torch.Generator().manual_seed(0)
        camera = torch.randint(CAMERAS, (args.rows,), generator=draw)
        self.features, self.person = identities(args.rows, 2048, 0.7, IMAGES_PER_IDENTITY)
        self.images = TrainImages(Unread(args.rows), camera, self.person)
        self.views = torch.randn(2, args.batch, 3, args.height, args.width, generator=draw)
        self.rows = torch.randperm(args.rows, generator=draw)[:args.batch].to(self.fabric.device)
        self.steps = args.rows // args.batch

    def learner(self, network: torch.nn.Module, **options) -> Learner:
        """Ready for a step of the first epoch."""
        learner = Learner(self.fabric, network, self.images, None, **{**options, "batch_size": self.args.batch})
        learner.epoch = 1
        learner.embedder.train()
        return learner

    def memory(self, features: Tensor, knn: KNNGraph, normalize: bool = True) -> MemoryGraph:
        """A memory that holds the features (N, M, d)."""
        memory = FeatureMemory(len(features), features.shape[2], features.shape[1], normalize).to(self.fabric.device)
        memory.update(torch.arange(len(features), device=self.fabric.device), features.to(self.fabric.device), 1.0)
        return MemoryGraph(memory, knn, self.images)

    def embedder(self) -> ImageEmbedder:
        """ResNet-50 as in MPRD, or a smaller one."""
        return ImageEmbedder(self.args.arch, weights=None)

    def image_features(self, network: ImageEmbedder) -> Tensor:
        """(N, 1, d)."""
        return F.normalize(self.features[:, None, :network.dim], dim=2)

    def single(self, views: int) -> Tensor:
        """The views as the network reads them."""
        return self.views[:views].flatten(0, 1).to(self.fabric.device, memory_format=torch.channels_last)

    def mprd(self) -> Case:
        """MPRD with its GCN, which judges the batch's pairs."""
        network = self.embedder()
        learner, connect = self.learner(network), self.memory(self.image_features(network), KNNGraph(8, threshold=0.6))
        method = MPRD(learner, connect, GCNRelation(PairClassifier(network.dim), PairSubgraphs()))
        method.relation.classifier.to(self.fabric.device)
        return Case("MPRD", learner, self.single(1), lambda: method.training_step(self.views[0], self.rows))

    def reciprocal(self, every: int, relation: Relation, name: str = "reciprocal") -> Case:
        """MPRD with camera-aware k-reciprocal Jaccard, every so many steps."""
        network = self.embedder()
        learner, connect = self.learner(network), self.memory(self.image_features(network), KNNGraph(8))
        method = MPRD(learner, connect, relation, loss=MultiPositiveInfoNCE(), memory_update="after",
                      relate_every=every)
        if every == 1:
            return Case(f"{name}, every step", learner, self.single(1),
                        lambda: method.training_step(self.views[0], self.rows))

        def relate() -> None:
            method.pairs.num_steps = 0
            method.relate_all()
            method.pairs.num_steps = 1
        relate()  # the steps that are timed read these pairs

        def between() -> None:
            method.pairs.num_steps = 1
            method.training_step(self.views[0], self.rows)
        return Case(f"{name}, every {every} steps", learner, self.single(1), between, (relate, every))

    def contrast(self) -> Case:
        """Cluster contrast; its grouping without the pass of the network that comes before it."""
        network = self.embedder()
        learner, features = self.learner(network, **CONTRAST_LEARNER), self.image_features(network)
        method = ClusterContrast(learner, self.memory(features, KNNGraph(8)))
        there, every = features.to(self.fabric.device), torch.arange(len(features))
        learner.embed = lambda into: into(every, there)
        method.group_images()
        grouped = (method.epoch_groups.label >= 0).nonzero().flatten()
        rows = grouped[torch.randperm(len(grouped), generator=torch.Generator().manual_seed(0))[:self.args.batch]]
        return Case("cluster contrast, groups once per epoch", learner, self.single(1),
                    lambda: method.training_step(self.views[0], rows.to(self.fabric.device)),
                    (method.group_images, self.steps))

    def paul(self) -> Case:
        """PAUL: each image with its surrogate, six patches."""
        network = PatchNet(self.args.arch, weights=None)
        features = F.normalize(self.features[:, :network.branches * network.dim].view(
            len(self.features), network.branches, -1), dim=2)
        learner = self.learner(network, **PAUL_LEARNER)
        method = PAUL(learner, self.memory(features, KNNGraph(10, "l2"), normalize=False))
        both = self.views.transpose(0, 1)
        return Case("PAUL", learner, self.single(2), lambda: method.training_step(both, self.rows))

    def clock(self, function: Callable[[], object]) -> float:
        """CPU seconds on the host, wall seconds on a device."""
        if self.fabric.device.type == "cpu":
            start = time.process_time()
            function()
            return time.process_time() - start
        torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        torch.cuda.synchronize()
        return time.perf_counter() - start

    def split(self, case: Case) -> tuple[float, float]:
        """Seconds of the network and of the method itself in one full step, cut apart at the features.

        The method's gradient stops at a copy of the features, from which the network then goes on: the same work.
        """
        learner, embedder, seen = case.learner, case.learner.embedder, {}

        def forward(images: Tensor) -> Tensor:
            def work() -> None:
                seen["x"] = embedder(images)
            seen["network"] = self.clock(work)
            seen["copy"] = seen["x"].detach().requires_grad_()
            return seen["copy"]

        def step(loss: Tensor) -> None:
            self.fabric.backward(loss)

            def work() -> None:
                learner.optimizer.zero_grad()
                self.fabric.backward(seen["x"], seen["copy"].grad)
                learner.optimizer.step()
            seen["network"] += self.clock(work)
        learner.embedder, learner.step = forward, step
        total = self.clock(case.step)
        learner.embedder = embedder
        del learner.step
        return seen["network"], total - seen["network"]

    def measure(self, case: Case) -> None:
        """Print the case's line."""
        cuda, ratios, parts, peak = self.fabric.device.type == "cuda", [], [], []
        self.split(case)  # a warm-up
        for _ in range(self.args.pairs):
            if cuda:
                torch.cuda.reset_peak_memory_stats()
            bare = self.clock(case.bare)
            if cuda:
                peak = [torch.cuda.max_memory_allocated() / 2**20]
            parts.append(self.split(case))
            full = self.clock(case.step) if cuda else sum(parts[-1])  # the cut waits for the device, so it is no step
            ratios.append((bare, full))
            if cuda:
                peak.append(torch.cuda.max_memory_allocated() / 2**20)
        spread, less_often = 0.0, ""
        if case.spread is not None:
            work, every = case.spread
            seconds = self.clock(work)
            spread, less_often = seconds / every, f"{seconds:.4g} s in {every} steps"
        middle = statistics.median
        bare, full = (middle(column) for column in zip(*ratios, strict=True))
        paired = sorted((step + spread) / alone for alone, step in ratios)
        own, inside = middle(part[1] for part in parts), middle(1 + (part[1] + spread) / part[0] for part in parts)
        memory = f" {peak[0]:,.0f} / {peak[1]:,.0f} |" if cuda else ""
        print(f"| {case.name} | {bare:.4g} | {full:.4g} | {own:.3g} | {less_often} | {middle(paired):.3f} "
              f"({paired[0]:.3f} ... {paired[-1]:.3f}) | {inside:.3f} |{memory}", flush=True)

    def profile(self, case: Case, lines: int) -> None:
        """Print where the time of a step goes, by operator."""
        kinds = [torch.profiler.ProfilerActivity.CPU]
        key = "self_cpu_time_total"
        if self.fabric.device.type == "cuda":
            kinds, key = [*kinds, torch.profiler.ProfilerActivity.CUDA], "self_cuda_time_total"
        with torch.profiler.profile(activities=kinds) as profiler:
            case.step()
            if case.spread is not None:
                case.spread[0]()
        print(f"\n{case.name}\n{profiler.key_averages().table(sort_by=key, row_limit=lines)}", flush=True)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["mprd", "reciprocal", "whitened", "contrast", "paul"])
    parser.add_argument("--rows", type=int, default=12_936)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--every", type=int, nargs="+", default=[1, 20], help="steps between two reciprocal relations")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--profile", type=int, default=0, help="so many lines of torch.profiler for each case")
    args = parser.parse_args()
    bench = Bench(args)
    device = bench.fabric.device
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads, CPU seconds"
    print(f"{args.arch}, {args.batch} images of {args.height} x {args.width}, N = {args.rows:,}, {args.precision}, "
          f"{device} ({name}), {args.pairs} pairs\n\n| step | bare s | full s | the method's own s | less often | "
          "full / bare (range) | 1 + own / network |" + (" peak MiB, bare / full |" if device.type == "cuda" else "")
          + "\n|---|---|---|---|---|---|---|" + ("---|" if device.type == "cuda" else ""))
    makers = {"mprd": [bench.mprd], "contrast": [bench.contrast], "paul": [bench.paul],
              "reciprocal": [lambda k=k: bench.reciprocal(k, KReciprocalJaccard()) for k in args.every],
              "whitened": [lambda: bench.reciprocal(args.every[-1], Whitened(KReciprocalJaccard()),
                                                    "reciprocal, whitened")]}
    for make in [make for method in args.methods for make in makers[method]]:
        case = make()
        bench.measure(case)
        if args.profile:
            bench.profile(case, args.profile)
        del case


if __name__ == "__main__":
    main()
