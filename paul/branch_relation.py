"""Relations over the M branch graphs of one batch: which patches are similar."""
from abc import ABC, abstractmethod

from torch_geometric.data import Data

from mprd_pyg.relations import Constraints, Relation, correct


class BranchRelation(ABC):
    """Judges pairs of patches with all branch graphs at hand: M graphs -> the M branches' judged pairs.

    Graphs and answers are those of :class:`mprd_pyg.relations.Relation`, branch by branch.
    """

    #: how many searches from ``rows`` the graphs must hold
    reach: int = 1
    #: whether what one branch reaches must be searched in all branches
    joint: bool = False

    @abstractmethod
    def __call__(self, graphs: list[Data]) -> list[Data]:
        """Judge the pairs of ``graph.rows`` in each branch."""


class EachBranch(BranchRelation):
    """The same relation in every branch, as if it were alone.

    Args:
        relation: judges one branch's graph.
    """

    def __init__(self, relation: Relation):
        self.relation, self.reach = relation, relation.reach

    def __call__(self, graphs: list[Data]) -> list[Data]:
        """Judge branch by branch."""
        return [self.relation(graph) for graph in graphs]

    def __repr__(self) -> str:
        return repr(self.relation)


class ConstrainedBranches(BranchRelation):
    """Another relation under must-links and cannot-links between images, which hold for all their patches.

    Args:
        base: judges the pairs.
        constraints: of the N images.
    """

    def __init__(self, base: BranchRelation, constraints: Constraints):
        self.base, self.constraints = base, constraints
        self.reach, self.joint = base.reach, base.joint

    def __call__(self, graphs: list[Data]) -> list[Data]:
        """Judge by ``base`` and correct each branch."""
        return [correct(pairs, self.constraints, graph.rows, graph.x)
                for pairs, graph in zip(self.base(graphs), graphs, strict=True)]

    def __repr__(self) -> str:
        return f"ConstrainedBranches({self.base!r}, {self.constraints!r})"
