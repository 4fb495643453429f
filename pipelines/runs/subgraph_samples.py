"""The run folder's ``subgraphs/``: a sample of each epoch's judged pairs with the graphs around them."""
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data

from mprd_pyg.graph import PairSubgraphs, PairSubgraphWriter
from mprd_pyg.mprd import MPRD


class SubgraphSamples:
    """Appends at the end of every epoch, to a store that :class:`PairSubgraphDataset` reads.

    The anchors are the same in every epoch, so that epochs can be compared. The pairs' similarities and likelihoods
    are those on which they were judged during the epoch; the graph is that of the memory at its end.

    Args:
        folder: of the store.
        table: training images in the memory's order; ``attrs["root"]`` is the folder of the paths.
        subgraphs: how a pair's subgraph is cut out.
        seed: of the choice.
        anchors: images whose pairs are saved.
        most: pairs per epoch, of the believed and of the disbelieved ones.

    Raises:
        ValueError: the run to go on with has a damaged store.
    """

    def __init__(self, folder: Path, table: pd.DataFrame, subgraphs: PairSubgraphs, seed: int, anchors: int = 64,
                 most: int = 100):
        self.folder, self.table, self.subgraphs, self.most = folder, table, subgraphs, most
        self.anchors = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))[:anchors]
        self.writer: PairSubgraphWriter | None = None
        if (folder / "manifest.json").exists():
            self._open()

    def append(self, epoch: int, pairs: Data, method: MPRD) -> None:
        """Save the sample of an epoch's judged pairs, in place of what an interrupted run left of that epoch."""
        if self.writer is None:
            self._open()
        self.writer.drop_epochs(epoch)
        keep = self._choose(pairs)
        if not len(keep):
            return
        edges, capped = pairs.edge_index[:, keep], method.knn.num_capped
        rows = edges.unique()
        for _ in range(self.subgraphs.reach):
            rows = torch.cat([rows, method.connect(rows).edge_index[0]]).unique()
        graph = method.connect(rows)
        method.knn.num_capped = capped  # these searches are not the method's
        batch = with_similarity(self.subgraphs(graph, edges.flip(0).T), graph.x, method.knn.metric)
        self.writer.append(batch, pairs.edge_attr[keep], pairs.likelihood[keep], pairs.believed[keep], epoch=epoch)

    def finish(self, bank: Tensor, epoch: int) -> None:
        """Save the memory that is joined on reading."""
        if self.writer is not None and len(self.writer):
            self.writer.set_features(bank, epoch)

    def _choose(self, pairs: Data) -> Tensor:
        order = torch.full((len(self.table),), -1, device=pairs.edge_index.device)
        order[self.anchors.to(order.device)] = torch.arange(len(self.anchors), device=order.device)
        place = order[pairs.edge_index[1]]
        chosen = [kind.nonzero().flatten() for kind in ((place >= 0) & pairs.believed, (place >= 0) & ~pairs.believed)]
        return torch.cat([kind[place[kind].argsort(stable=True)[:self.most]] for kind in chosen])

    def _open(self) -> None:
        self.writer = PairSubgraphWriter(self.folder, self.table, self.table.attrs.get("root"),
                                         {"subgraphs": repr(self.subgraphs)})


def with_similarity(batch: Batch, features: Tensor, metric: str) -> Batch:
    """Give each edge its similarity, ``edge_attr`` (E,), by features (N, d) as they were compared by ``metric``."""
    one, other = (features[batch.n_id[end]] for end in batch.edge_index)
    batch.edge_attr = (one * other).sum(1) if metric == "cosine" else -(one - other).square().sum(1)
    return batch
