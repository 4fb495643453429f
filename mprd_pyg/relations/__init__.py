"""Relations: from a kNN graph to the pairs that are believed to show the same person."""
from mprd_pyg.relations.base import Relation, believed_graph, concat_pairs, pair_fields
from mprd_pyg.relations.constrained_groups import ConstrainedGroups
from mprd_pyg.relations.constrained_relation import Constrained, constrain, correct
from mprd_pyg.relations.constraint_file import (
    VERDICTS,
    Statement,
    append_statements,
    constraints_of,
    read_constraints,
    read_statements,
)
from mprd_pyg.relations.constraints import Constraints, ContradictionError
from mprd_pyg.relations.edge_probability import NeighbourEdgeProbability
from mprd_pyg.relations.groups import DBSCAN, ConnectedComponents, GroupFinder, Groups, MapEquation
from mprd_pyg.relations.heuristics import (
    MPLP,
    KNearest,
    SameIdentity,
    SimilarityThreshold,
    Singletons,
    WithMetaLabels,
)
from mprd_pyg.relations.informative_pairs import InformativePairs, informative_pairs
from mprd_pyg.relations.reciprocal import KReciprocalJaccard
from mprd_pyg.relations.whitened import Whitened

__all__ = ["DBSCAN", "MPLP", "VERDICTS", "ConnectedComponents", "Constrained", "ConstrainedGroups", "Constraints",
           "ContradictionError", "GroupFinder", "Groups", "InformativePairs", "KNearest", "KReciprocalJaccard",
           "MapEquation", "NeighbourEdgeProbability", "Relation", "SameIdentity", "SimilarityThreshold", "Singletons",
           "Statement", "Whitened", "WithMetaLabels", "append_statements", "believed_graph", "concat_pairs",
           "constrain", "constraints_of", "correct", "informative_pairs", "pair_fields", "read_constraints",
           "read_statements"]
