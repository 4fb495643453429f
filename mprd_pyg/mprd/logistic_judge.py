"""A logistic model of pair statistics as the judge: the control that a GCN has to beat."""
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph import PairStatistics
from mprd_pyg.models.pairs import LogisticPairs

#: Degrees and the camera are left out. An image's perturbed view is in nobody's list and of the same camera, so that
#: these tell it from other images.
COLUMNS = ("common_neighbours", "jaccard", "adamic_adar", "resource_allocation", "walks_3", "similarity", "rank_best",
           "rank_worst", "reciprocal", "density_min", "density_max", "edge_probability", "reciprocal_jaccard",
           "camera_reciprocal_jaccard")


class LogisticJudge:
    """Judges pairs by :class:`LogisticPairs`, fitted on the labelled pairs of the epoch.

    Args:
        names: columns of :class:`PairStatistics`.
    """

    def __init__(self, names: Sequence[str] = COLUMNS):
        self.statistics, self.model, self.fitted = PairStatistics(names), LogisticPairs(), False

    def fit(self, columns: Tensor, label: Tensor) -> None:
        """Learn from columns (P, F) and labels (P,) of pairs."""
        self.model.fit(columns, label)
        self.fitted = True

    def __call__(self, graph: Data, pairs: Tensor) -> Tensor:
        """Likelihood (P,) of pairs (P, 2)."""
        return self.model.likelihood(self.statistics(graph, pairs)).float()

    def state_dict(self) -> dict[str, Any]:
        """The model; None before the first fit."""
        return {"model": self.model.state_dict() if self.fitted else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        self.fitted = state["model"] is not None
        if self.fitted:
            self.model.load_state_dict(state["model"])
