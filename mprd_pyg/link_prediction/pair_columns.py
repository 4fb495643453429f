"""The columns that logistic regression and boosted trees read about pairs of a split."""
import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph import PairStatistics
from mprd_pyg.link_prediction.cross_fit import CrossFitGAE
from mprd_pyg.link_prediction.forest_kernel import forest_kernel
from mprd_pyg.link_prediction.splits import LinkSplit


class PairColumns:
    """:class:`PairStatistics`, the forest kernel, and the logit of a cross-fitted auto-encoder, side by side.

    Args:
        split: pairs and graph.
        statistics: the first columns.
        forest_nodes: the forest kernel is left out on graphs with more nodes, where its factor may be dense.
        gae: for the last column; None for none.

    Attributes:
        names: (F,) of the columns.
    """

    def __init__(self, split: LinkSplit, statistics: PairStatistics | None = None, forest_nodes: int = 10_000,
                 gae: CrossFitGAE | None = None):
        self.split, self.statistics, self.gae = split, PairStatistics() if statistics is None else statistics, gae
        self.forest = split.graph.num_nodes <= forest_nodes
        graph = split.observed("train")
        self.names = (*self.statistics.columns(graph), *(forest_kernel(graph, graph.edge_index.T[:1]) if self.forest
                                                         else ()), *(() if gae is None else ("gae",)))

    def train(self) -> Tensor:
        """Columns of the training pairs (P, F), none of which knows the pair's own link."""
        graph, pairs = self.split.observed("train"), self.split.pairs["train"]
        return self._columns(graph, pairs, None if self.gae is None else self.gae.train())

    def __call__(self, graph: Data, pairs: Tensor) -> Tensor:
        """Columns (P, F) of pairs (P, 2) in a graph."""
        return self._columns(graph, pairs, None if self.gae is None else self.gae(graph, pairs))

    def _columns(self, graph: Data, pairs: Tensor, gae: Tensor | None) -> Tensor:
        columns = [self.statistics(graph, pairs).double()]
        if self.forest:
            columns.append(torch.stack(list(forest_kernel(graph, pairs).values()), dim=1))
        return torch.cat([*columns, *([] if gae is None else [gae.double().unsqueeze(1)])], dim=1)
