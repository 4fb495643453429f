"""The columns that logistic regression and boosted trees read about pairs of a split."""
import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg import processes
from mprd_pyg.graph import PairStatistics
from mprd_pyg.link_prediction.cross_fit import CrossFitGAE
from mprd_pyg.link_prediction.forest_kernel import forest_kernel
from mprd_pyg.link_prediction.splits import LinkSplit

SLOW = ("walks_7", "walks_8", "damped_walks_7", "damped_walks_8")


class PairColumns:
    """:class:`PairStatistics`, the forest kernel, and the logit of a cross-fitted auto-encoder, side by side.

    Several processes share the pairs, but for the last.

    Args:
        split: pairs and graph.
        statistics: the first columns; without names of their own, on large graphs all but those of
            :data:`SLOW`.
        small_nodes: graphs with more nodes are large: the forest kernel, whose factor may be dense there, is left out.
        gae: for the last column; None for none.

    Attributes:
        names: (F,) of the columns.
    """

    def __init__(self, split: LinkSplit, statistics: PairStatistics | None = None, small_nodes: int = 10_000,
                 gae: CrossFitGAE | None = None):
        self.split, self.gae, graph = split, gae, split.observed("train")
        self.forest = split.graph.num_nodes <= small_nodes
        self.statistics = PairStatistics() if statistics is None else statistics
        if self.statistics.names is None and not self.forest:
            self.statistics = PairStatistics([name for name in self.statistics.columns(graph) if name not in SLOW],
                                             self.statistics.damping, self.statistics.error)
        self.names = (*self.statistics.columns(graph), *(forest_kernel(graph, graph.edge_index.T[:1]) if self.forest
                                                         else ()), *(() if gae is None else ("gae",)))

    def train(self, rows: Tensor | None = None) -> Tensor:
        """Columns (P, F) of the training pairs, or of those at ``rows`` (P,); none knows the pair's own link."""
        rows = torch.arange(len(self.split.pairs["train"])) if rows is None else rows
        return self._columns(self.split.observed("train"), self.split.pairs["train"][rows],
                             None if self.gae is None else self.gae.train()[rows])

    def __call__(self, graph: Data, pairs: Tensor) -> Tensor:
        """Columns (P, F) of pairs (P, 2) in a graph."""
        return self._columns(graph, pairs, None if self.gae is None else self.gae(graph, pairs))

    def _columns(self, graph: Data, pairs: Tensor, gae: Tensor | None) -> Tensor:
        def shared(own: Tensor) -> Tensor:
            columns = [self.statistics(graph, own).double()]
            if self.forest:
                columns.append(torch.stack(list(forest_kernel(graph, own).values()), dim=1))
            return torch.cat(columns, dim=1)
        columns = processes.map_shared(shared, pairs)
        return columns if gae is None else torch.cat([columns, gae.double().unsqueeze(1)], dim=1)
