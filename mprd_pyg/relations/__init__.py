"""Relations: from a kNN graph to the pairs that are believed to show the same person."""
from mprd_pyg.relations.base import Relation, believed_graph, concat_pairs, pair_fields
from mprd_pyg.relations.edge_probability import NeighbourEdgeProbability
from mprd_pyg.relations.groups import DBSCAN, ConnectedComponents, Groups, MapEquation
from mprd_pyg.relations.heuristics import (
    MPLP,
    KNearest,
    SameIdentity,
    SimilarityThreshold,
    Singletons,
    WithMetaLabels,
)
from mprd_pyg.relations.reciprocal import KReciprocalJaccard

__all__ = ["DBSCAN", "MPLP", "ConnectedComponents", "Groups", "KNearest", "KReciprocalJaccard", "MapEquation",
           "NeighbourEdgeProbability", "Relation", "SameIdentity", "SimilarityThreshold", "Singletons",
           "WithMetaLabels", "believed_graph", "concat_pairs", "pair_fields"]
