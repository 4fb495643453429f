"""Relations: from a kNN graph to the pairs that are believed to show the same person."""
from mprd_pyg.relations.base import Relation, believed_graph, concat_pairs, pair_fields
from mprd_pyg.relations.heuristics import (
    MPLP,
    KNearest,
    SameIdentity,
    SimilarityThreshold,
    Singletons,
    WithMetaLabels,
)

__all__ = ["MPLP", "KNearest", "Relation", "SameIdentity", "SimilarityThreshold", "Singletons",
           "WithMetaLabels", "believed_graph", "concat_pairs", "pair_fields"]
