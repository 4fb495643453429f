"""A graph auto-encoder as one more column of pair statistics: no pair is scored by a model that saw its link."""
import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.data.views import stream
from mprd_pyg.link_prediction.gae import gae_logits, train_gae
from mprd_pyg.link_prediction.splits import LinkSplit


class CrossFitGAE:
    """Auto-encoders, each trained without a share of the training links, its *fold*.

    A training pair is scored by the model of its fold, in the graph without the links of the fold; any other pair by
    the mean of all models, in the graph it is asked in, without its own link where it has one there.

    Args:
        split: training links to learn from, validation pairs to stop on.
        folds: at least 2.
        seed: of folds and models.
        options: of :func:`train_gae`.
    """

    def __init__(self, split: LinkSplit, folds: int = 5, seed: int = 0, **options):
        if folds < 2:
            raise ValueError(f"cross-fitting needs at least 2 folds, got {folds}")
        self.split = split
        links, pairs = split.links("train"), split.pairs["train"]
        self.fold = torch.arange(len(pairs))[torch.randperm(len(pairs), generator=stream(seed, 25))] % folds
        linked = split.label["train"] == 1
        self.models = [train_gae(split.graph, links[self.fold[linked] != fold], split.pairs["validation"],
                                 split.label["validation"], seed=seed + 1000 * fold, **options)
                       for fold in range(folds)]
        self.links = links

    def train(self) -> Tensor:
        """Logits of the training pairs (P,)."""
        pairs, linked = self.split.pairs["train"], self.split.label["train"] == 1
        out = torch.empty(len(pairs))
        for fold, model in enumerate(self.models):
            mine = self.fold == fold
            rest = self.split.graph.observed(self.links[self.fold[linked] != fold])
            out[mine] = gae_logits(model, rest.edge_index, pairs[mine])
        return out

    def __call__(self, graph: Data, pairs: Tensor) -> Tensor:
        """Logits of pairs (P, 2) that are no training pairs, in a graph -> (P,)."""
        return torch.stack([gae_logits(model, graph.edge_index, pairs) for model in self.models]).mean(0)
