"""Time to save and to read pair subgraphs, beside one ``torch.save`` per graph in the same run.

    python tests/benchmarks/storage.py [pairs] [nodes] [dim] [folder]

The pairs are those of a kNN graph with k = 8 (double stars), saved in appends of 100,000 with their table; reading
joins 256 random pairs with ``dim``-wide features. The baseline saves and loads a sample of graphs, one file each.
"""
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from mprd_pyg.graph import NeighbourLists, PairSubgraphDataset, PairSubgraphs, PairSubgraphWriter
from mprd_pyg.graph.pairs.subgraphs import PairData


def row(name, wall, cpu, count, baseline=None):
    ratio = "" if baseline is None else f"{baseline / (wall / count):10.0f} x"
    print(f"{name:58s}{wall:9.3f} s{cpu:9.3f} s cpu{1e6 * wall / count:12.2f} us/pair{ratio}", flush=True)


class Clock:
    """Wall and processor time of a ``with`` block."""

    def __enter__(self):
        self.started = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall, self.cpu = time.perf_counter() - self.started[0], time.process_time() - self.started[1]


def neighbours_of(count, num_nodes, k=8):
    """Clustered neighbour lists, so that pairs share neighbours, and ``count`` pairs along them."""
    node = np.arange(num_nodes).repeat(k)
    other = (node // 13 * 13 + np.random.default_rng(0).integers(0, 26, len(node))) % num_nodes
    lists = NeighbourLists.from_graph(Data(edge_index=torch.from_numpy(np.stack([other, node])), num_nodes=num_nodes))
    anchor = torch.repeat_interleave(torch.arange(num_nodes), lists.ptr.diff())
    pairs = torch.stack([anchor, lists.neighbour], 1)
    return lists, pairs.repeat(1 + count // len(pairs), 1)[:count]


def one_file_each(folder, graphs):
    """The baseline."""
    folder.mkdir()
    with Clock() as saving:
        for number, graph in enumerate(graphs):
            torch.save(graph, folder / f"{number}.pt")
    order = np.random.default_rng(1).permutation(len(graphs))
    with Clock() as loading:
        for number in order:
            torch.load(folder / f"{number}.pt", weights_only=False)
    return saving, loading


def main(count=1_000_000, num_nodes=100_000, dim=512, folder=None):
    folder = Path(tempfile.mkdtemp(dir=folder))
    generator = torch.Generator().manual_seed(0)
    lists, pairs = neighbours_of(count, num_nodes)
    images = pd.DataFrame({"path": [f"bounding_box_train/{i:06d}.jpg" for i in range(num_nodes)],
                           "person_id": np.arange(num_nodes) // 13, "camera_id": np.arange(num_nodes) % 6})
    bank = torch.randn(num_nodes, dim, generator=generator)
    print(f"{count:,} pairs of {num_nodes:,} nodes, d = {dim}, {torch.get_num_threads()} threads")
    writer, wall, cpu, longest = PairSubgraphWriter(folder / "store", images=images), 0.0, 0.0, 0.0
    for part in pairs.split(100_000):
        batch = PairSubgraphs()(lists, part)
        likelihood = torch.rand(len(part), generator=generator)
        with Clock() as clock:
            writer.append(batch, similarity=likelihood, likelihood=likelihood, believed=likelihood > 0.5, epoch=1)
        wall, cpu, longest = wall + clock.wall, cpu + clock.cpu, max(longest, clock.wall)
    writer.set_features(bank)

    sample = [graph.clone() for graph in PairSubgraphs()(lists, pairs[:: max(1, count // 1000)]).to_data_list()]
    saving, loading = one_file_each(folder / "lean", sample)
    for graph in sample:
        graph.x = bank[graph.n_id]
    fat, _ = one_file_each(folder / "fat", sample)
    bytes_of = {name: sum(file.stat().st_size for file in (folder / name).iterdir()) / len(sample)
                for name in ("lean", "fat")}
    flat = sum(file.stat().st_size for file in (folder / "store").iterdir()
               if not file.name.startswith(("features", "images")))
    row(f"one torch.save each ({len(sample)}, {bytes_of['lean'] / 1e3:.1f} kB)", saving.wall, saving.cpu, len(sample))
    row(f"the same with features ({bytes_of['fat'] / 1e3:.1f} kB)", fat.wall, fat.cpu, len(sample))
    row(f"PairSubgraphWriter ({flat / count / 1e3:.2f} kB a pair)", wall, cpu, count, saving.wall / len(sample))
    print(f"{'the longest append of 100,000':58s}{longest:9.3f} s")

    with Clock() as clock:
        dataset = PairSubgraphDataset(folder / "store")
    row("open, comparing checksums", clock.wall, clock.cpu, count)
    with Clock() as clock:
        dataset.table  # noqa: B018
    row("table (pandas)", clock.wall, clock.cpu, count)
    rng, clocks = np.random.default_rng(2), []
    for _ in range(50):
        index = rng.choice(count, 256, replace=False)
        with Clock() as clock:
            batch = dataset.batch(index)
        clocks.append(clock)
    assert torch.equal(batch.x, bank[batch.n_id])
    baseline = loading.wall / len(sample)
    row("torch.load each, no features", loading.wall, loading.cpu, len(sample))
    for name, pick in (("median", np.median), ("slowest", np.max)):
        row(f"dataset.batch(256 random), with features, {name}", float(pick([c.wall for c in clocks])),
            float(pick([c.cpu for c in clocks])), 256, baseline)
    subset = dataset[rng.choice(count, 2560, replace=False)]
    for name, loader in (("dataset.loader", subset.loader(256)), ("PyG's DataLoader", DataLoader(subset, 256))):
        with Clock() as clock:
            for _ in loader:
                pass
        row(f"{name}, 10 batches of 256", clock.wall, clock.cpu, 2560, baseline)
    assert isinstance(subset[0], PairData)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), *sys.argv[4:5])
