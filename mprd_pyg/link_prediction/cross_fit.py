"""A graph auto-encoder as one more column of pair statistics: no pair is scored by a model that saw its link."""
from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg import processes
from mprd_pyg.link_prediction.gae import Scorer, gae_logits, train_gae
from mprd_pyg.link_prediction.splits import LinkSplit
from mprd_pyg.random_streams import stream


class CrossFitGAE:
    """Auto-encoders, each trained without a share of the training links, its *fold*.

    A training pair is scored by the model of its fold, in the graph without the links of the fold; any other pair by
    the mean of all models, in the graph it is asked in. Where that graph holds the pair's link, the pair is scored as a
    training pair is.

    Args:
        split: training links to learn from.
        merit: as in :func:`train_gae`.
        folds: at least 2.
        seed: of folds and models.
        options: of :func:`train_gae`.
    """

    def __init__(self, split: LinkSplit, merit: Callable[[Scorer], float], folds: int = 5, seed: int = 0, **options):
        if folds < 2:
            raise ValueError(f"cross-fitting needs at least 2 folds, got {folds}")
        self.split = split
        links, pairs = split.links("train"), split.pairs["train"]
        self.fold = torch.arange(len(pairs))[torch.randperm(len(pairs), generator=stream(seed, 25))] % folds
        linked = split.label["train"] == 1
        self.models = [train_gae(split.graph, links[self.fold[linked] != fold], merit, seed=seed + 1000 * fold,
                                 **options) for fold in range(folds)]
        for model in self.models:  # trained alike by all processes, but for rounding on devices
            processes.broadcast_tensors([*model.parameters(), *model.buffers()])
        self.of_link = dict(zip(self.split.graph.keys(links).tolist(), self.fold[linked].tolist(), strict=True))

    def _by_folds(self, graph: Data, pairs: Tensor, fold: Tensor) -> Tensor:
        """Logits of pairs (P, 2), each by the model of its fold (P,), in the graph without the pairs of the fold."""
        out, edge = torch.empty(len(pairs)), self.split.graph.keys(graph.edge_index.T)
        for number, model in enumerate(self.models):
            mine = fold == number
            rest = Data(edge_index=graph.edge_index[:, ~torch.isin(edge, self.split.graph.keys(pairs[mine]))],
                        num_nodes=graph.num_nodes)
            out[mine] = gae_logits(model, rest, pairs[mine])
        return out

    def train(self) -> Tensor:
        """Logits of the training pairs (P,)."""
        return self._by_folds(self.split.observed("train"), self.split.pairs["train"], self.fold)

    def __call__(self, graph: Data, pairs: Tensor) -> Tensor:
        """Logits of pairs (P, 2) in a graph -> (P,)."""
        out = torch.stack([gae_logits(model, graph, pairs) for model in self.models]).mean(0)
        key = self.split.graph.keys(pairs)
        own = torch.isin(key, self.split.graph.keys(graph.edge_index.T))
        if bool(own.any()):
            fold = [self.of_link.get(k, k % len(self.models)) for k in key[own].tolist()]
            out[own] = self._by_folds(graph, pairs[own], torch.tensor(fold))
        return out
