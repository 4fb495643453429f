"""Controls of a judge: another score that believes as many of the same candidates."""
import torch
from torch import Tensor

from mprd_pyg.graph.pairs.statistics import CAMERA_RECIPROCAL, GROUP, RECIPROCAL, SIMILARITY

#: control -> the column of :class:`PairStatistics` that it believes
CONTROL_COLUMNS = {"jaccard": "reciprocal_jaccard", "camera_jaccard": "camera_reciprocal_jaccard",
                   "edge_probability": "edge_probability"}
#: columns that the lists of a pair's two nodes, or the features, decide; others read who lists these nodes
OWN_LISTS = frozenset((*SIMILARITY, *GROUP, *RECIPROCAL, *CAMERA_RECIPROCAL, "feature_cosine"))


def best_as_many(score: Tensor, believed: Tensor) -> Tensor:
    """As many pairs as ``believed`` (E,) holds, those of the highest ``score`` (E,), of equal ones the first."""
    best = score.argsort(descending=True, stable=True)[:int(believed.sum())]
    return torch.zeros_like(believed).index_fill_(0, best, True)
