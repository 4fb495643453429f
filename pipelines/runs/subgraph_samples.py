"""The run folder's ``subgraphs/``: a sample of each epoch's judged pairs with the graphs around them."""
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from mprd_pyg import processes
from mprd_pyg.graph import PairStatistics, PairSubgraphs, PairSubgraphWriter
from mprd_pyg.graph.pairs.statistics import CAMERA_RECIPROCAL, GROUP, NEIGHBOURHOOD, RECIPROCAL, SIMILARITY
from mprd_pyg.training import MemoryGraph

SEARCHED = 3000  # images among which the neighbours of all of them are found in a second or two


class SubgraphSamples:
    """A listener of :class:`PairBook`: appends each epoch to a store that :class:`PairSubgraphDataset` reads.

    The anchors are the same in every epoch, so that epochs can be compared. The pairs' similarities and likelihoods
    are those on which they were judged during the epoch; the graph, and the statistics of the pairs on it, are those
    of the memory at its end. The first process writes; of a sharded memory all must call.

    Args:
        folder: of the store.
        table: training images in the memory's order; ``attrs["root"]`` is the folder of the paths.
        connect: the memory's neighbourhoods.
        subgraphs: how a pair's subgraph is cut out.
        seed: of the choice.
        anchors: images whose pairs are saved.
        max_pairs: pairs per epoch, of the believed and of the disbelieved ones; shared by the branches.

    Raises:
        ValueError: the run to go on with has a damaged store.
    """

    def __init__(self, folder: Path, table: pd.DataFrame, connect: MemoryGraph, subgraphs: PairSubgraphs, seed: int,
                 anchors: int = 64, max_pairs: int = 100):
        self.folder, self.table, self.connect, self.subgraphs = folder, table, connect, subgraphs
        self.max_pairs = max(1, max_pairs // len(connect.memory.bank))
        self.anchors = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:anchors]
        self.statistics = PairStatistics(sample_statistics(len(connect.memory.bank[0])))
        self.writer: PairSubgraphWriter | None = None
        if (folder / "manifest.json").exists():
            self._open()

    def __call__(self, epoch: int, pairs: Data) -> None:
        """Save the sample of an epoch's judged pairs, in place of what an interrupted run left of that epoch."""
        if self.writer is None:
            self._open()
        if self.writer is not None:
            self.writer.drop_epochs(epoch)
        branch = pairs.branch if "branch" in pairs else torch.zeros_like(pairs.edge_index[0])
        chosen = [self._choose(pairs, branch == m) for m in range(len(self.connect.memory.bank))]
        ends = torch.cat([pairs.edge_index[:, keep].flatten() for keep in chosen]).unique()
        if not len(ends):
            return
        graphs = self.connect(ends, 1 + self.subgraphs.reach)
        for m, (graph, keep) in enumerate(zip(graphs, chosen, strict=True)):
            if len(keep):
                asked = pairs.edge_index[:, keep].flip(0).T
                batch = self.subgraphs(graph, asked)
                graph.camera_id = self.connect.images.camera[:graph.num_nodes]
                batch = with_similarity(batch, graph.x, self.connect.knn.metric)
                statistics = self.statistics(graph, asked)
                if self.writer is not None:
                    self.writer.append(batch, pairs.edge_attr[keep], pairs.likelihood[keep], pairs.believed[keep],
                                       epoch=epoch, branch=m, statistics=statistics,
                                       statistic_names=self.statistics.names)

    def finish(self, epoch: int) -> None:
        """Save the memory, as it is after ``epoch``; it is joined on reading."""
        bank = self.connect.memory.state_dict()["bank"]
        if self.writer is not None and len(self.writer):
            self.writer.set_features(bank, epoch)

    def _choose(self, pairs: Data, among: Tensor) -> Tensor:
        order = torch.full((len(self.table),), -1, device=pairs.edge_index.device)
        order[self.anchors.to(order.device)] = torch.arange(len(self.anchors), device=order.device)
        place = order[pairs.edge_index[1]]
        among = among & (place >= 0)
        kinds = [kind.nonzero().flatten() for kind in (among & pairs.believed, among & ~pairs.believed)]
        return torch.cat([kind[place[kind].argsort(stable=True)[:self.max_pairs]] for kind in kinds])

    def _open(self) -> None:
        if processes.is_first():
            self.writer = PairSubgraphWriter(self.folder, self.table, self.table.attrs.get("root"),
                                             {"subgraphs": repr(self.subgraphs)})


def sample_statistics(num_images: int) -> tuple[str, ...]:
    """The statistics that are saved with pairs: all that read the pair's own neighbourhoods, and those that search the
    neighbours of all images where these are few."""
    searched = (*RECIPROCAL, *CAMERA_RECIPROCAL) if num_images <= SEARCHED else ()
    return (*NEIGHBOURHOOD, *SIMILARITY, *GROUP, *searched)


def with_similarity(batch: Batch, features: Tensor, metric: str) -> Batch:
    """Give each edge its similarity, ``edge_attr`` (E,), by features (N, d) as they were compared by ``metric``."""
    one, other = (features[batch.n_id[end]] for end in batch.edge_index)
    batch.edge_attr = (one * other).sum(1) if metric == "cosine" else -(one - other).square().sum(1)
    return batch
