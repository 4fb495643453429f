"""Gradient-boosted trees on pair statistics, kept as arrays."""
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mprd_pyg.graph.threads import compiled, in_threads
from mprd_pyg.models.pairs.pair_model import PairModel


class BoostedPairs(PairModel):
    """Histogram gradient boosting (scikit-learn's ``HistGradientBoostingClassifier``).

    Fitted trees are kept as flat arrays that compiled loops read, so that they are saved without pickle and do not
    depend on scikit-learn's version. With validation pairs, the first trees with the least log loss on them are kept.

    Args:
        trees: most of them.
        rate: learning rate.
        leaves: of each tree, at most.
        least: pairs in a leaf, at least.
        share: of the columns, drawn at random, that each split may choose from.
        seed: of that draw, and of the pairs that bins are made from where there are over 200,000.
    """

    fields = ("first", "feature", "threshold", "child", "value", "bias")

    def __init__(self, trees: int = 200, rate: float = 0.05, leaves: int = 15, least: int = 20, share: float = 0.3,
                 seed: int = 0):
        super().__init__()
        self.trees, self.rate, self.leaves, self.least, self.share, self.seed = trees, rate, leaves, least, share, seed

    def _fit(self, features: Tensor, label: Tensor, validation: tuple[Tensor, Tensor] | None) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier  # imported here: it takes seconds
        model = HistGradientBoostingClassifier(
            learning_rate=self.rate, max_iter=self.trees, max_leaf_nodes=self.leaves, min_samples_leaf=self.least,
            l2_regularization=1.0, max_features=self.share, early_stopping=False, random_state=self.seed)
        model.fit(features.numpy(), label.numpy())
        kept = model.n_iter_
        if validation is not None:
            stages = model.staged_decision_function(validation[0].numpy())
            target = validation[1].double()
            losses = [float(F.binary_cross_entropy_with_logits(torch.from_numpy(stage).flatten(), target))
                      for stage in stages]
            kept = 1 + int(np.argmin(losses))
        nodes = [tree.nodes for (tree,) in model._predictors[:kept]]  # no public way leads to the trees
        start = np.cumsum([0] + [len(tree) for tree in nodes[:-1]])
        joined = np.concatenate(nodes)
        base = np.repeat(start, [len(tree) for tree in nodes])
        inner = joined["is_leaf"] == 0
        child = np.stack([joined["left"] + base, joined["right"] + base], axis=1)
        self.first, self.bias = torch.from_numpy(start), float(model._baseline_prediction.item())
        self.feature = torch.from_numpy(np.where(inner, joined["feature_idx"], -1).astype(np.int64))
        self.threshold = torch.from_numpy(joined["num_threshold"].astype(np.float64))
        self.child = torch.from_numpy(child.astype(np.int64))
        self.value = torch.from_numpy(joined["value"].astype(np.float64))

    def _fits(self, num_columns: int) -> bool:
        count, inner = len(self.feature), self.feature >= 0
        kinds = {"first": torch.int64, "feature": torch.int64, "threshold": torch.float64, "child": torch.int64,
                 "value": torch.float64}
        # The compiled loop follows the children without asking: they come after their node, so every way ends.
        return type(self.bias) is float and all(getattr(self, name).dtype == kind for name, kind in kinds.items()) and (
            self.first.dim() == 1 and self.feature.shape == self.threshold.shape == self.value.shape == (count,)
            and self.child.shape == (count, 2) and bool(((self.first >= 0) & (self.first < count)).all())
            and bool((self.feature < num_columns).all()) and bool((self.child[inner] < count).all())
            and bool((self.child > torch.arange(count)[:, None])[inner].all()))

    def _score(self, features: Tensor) -> Tensor:
        out, features = np.empty(len(features)), features.contiguous().numpy()
        arrays = [getattr(self, name).numpy() for name in ("first", "feature", "threshold", "child", "value")]
        in_threads(lambda start, stop: _add_leaves(features, *arrays, start, stop, out), len(features))
        return torch.from_numpy(out) + self.bias


@compiled
def _add_leaves(features, first, feature, threshold, child, value, start, stop, out):
    """Sum over trees of the leaf that each row falls into, into out (P,)."""
    for p in range(start, stop):
        out[p] = 0.0
        for root in first:
            node = root
            while feature[node] >= 0:
                node = child[node, 0 if features[p, feature[node]] <= threshold[node] else 1]
            out[p] += value[node]
