"""A network on the subgraphs around pairs as a scorer of links."""
import math
from collections.abc import Callable
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor, nn
from torch_geometric.data import Data

from mprd_pyg.graph import NeighbourLists, PairSubgraphs
from mprd_pyg.link_prediction.pair_columns import PairColumns
from mprd_pyg.link_prediction.seal import SEAL
from mprd_pyg.link_prediction.splits import LinkSplit
from mprd_pyg.link_prediction.subgraph_store import SubgraphStore
from mprd_pyg.models.pairs import JoinedStatistics, Standardisation
from mprd_pyg.models.pairs.pair_model import calibrated


class SubgraphScorer:
    """A network, first as a method of the trainer, then as a calibrated scorer.

    Args:
        fabric: device.
        split: pairs.
        subgraphs: how they are cut out.
        network: (subgraphs of the training pairs, width of the features) -> the network and what it was made with.
        statistics: where the network reads pair statistics too, their columns and those (P, F) of the training pairs.
        memory_gb: memory for built subgraphs; 0 keeps none.
        progress: show progress bars.
        seed, training: see :class:`SEAL`.

    Attributes:
        method: what the trainer runs.
        spec: what the network was made with, for a checkpoint.
    """

    def __init__(self, fabric: Fabric, split: LinkSplit, subgraphs: PairSubgraphs,
                 network: Callable[[SubgraphStore, int], tuple[nn.Module, dict[str, Any]]],
                 statistics: tuple[PairColumns, Tensor] | None = None, memory_gb: float = 1.0, progress: bool = True,
                 seed: int = 0, **training: Any):
        self.subgraphs, self.split, self.progress = subgraphs, split, progress
        self.columns = self.standardise = known = None
        if statistics is not None:
            self.columns, self.standardise = statistics[0], Standardisation(statistics[1].shape[1]).fit(statistics[1])
            known = self.standardise(statistics[1])
        train = self._store(split.observed("train"), split.pairs["train"], memory_gb, known, split.label["train"])
        self.validation = self._store(split.observed("validation"), split.pairs["validation"], memory_gb,
                                      label=split.label["validation"])
        x = split.graph.x
        made, self.spec = network(train, 0 if x is None else x.shape[1])
        if known is not None:
            made, self.spec = JoinedStatistics(made, known.shape[1]), self.spec | {"statistics": known.shape[1]}
        self.method = SEAL(fabric, made, train, self.validation, x, seed=seed, **training)

    def _store(self, graph: Data, pairs: Tensor, memory_gb: float = 0, columns: Tensor | None = None,
               label: Tensor | None = None) -> SubgraphStore:
        if self.columns is not None and columns is None:
            columns = self.standardise(self.columns(graph, pairs))
        return SubgraphStore(self.subgraphs, NeighbourLists.from_graph(graph), pairs, memory_gb,
                             progress="subgraphs" if self.progress else "", statistics=columns, label=label)

    def take_best(self) -> int:
        """Put the best epoch's weights in place and calibrate on the validation pairs; returns that epoch."""
        best = self.method.take_best()
        self.slope, self.shift = calibrated(self.method.logits(self.validation).double(),
                                            self.split.label["validation"])
        return best

    def __call__(self, graph: Data, pairs: Tensor) -> Tensor:
        """Likelihoods of pairs (P, 2) in a graph -> (P,)."""
        logits = self.method.logits(self._store(graph, pairs), "pairs" if self.progress else "")
        return (self.slope * logits.double() + self.shift).sigmoid()


def nodes_to_keep(train: SubgraphStore, share: float) -> int:
    """DGCNN's k: so many nodes that ``share`` of the subgraphs has no more, at least 10; above 1 it is k itself."""
    if share > 1:
        return int(share)
    size = train.sizes_and_labels()[0]
    return max(10, int(size.kthvalue(math.ceil(share * len(size)))[0]))
