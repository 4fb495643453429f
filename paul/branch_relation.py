"""Relations over the M branch graphs of one batch: which patches are similar."""
from abc import ABC, abstractmethod

import torch
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.relations import Constraints, Relation, correct
from mprd_pyg.relations.base import judged


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

    def check(self, images: TrainImages) -> None:  # noqa: B027  (most relations can judge all images)
        """Refuse images that cannot be judged, by a ``ValueError``."""


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

    def check(self, images: TrainImages) -> None:
        """Refuse what the relation refuses."""
        self.relation.check(images)

    def __repr__(self) -> str:
        return repr(self.relation)


class AgreeingBranches(EachBranch):
    """Believes, in every branch, the pairs that enough branches believe (not in the paper).

    A patch alone is a poor witness of who is shown; all of them together are a better one. (Part-based methods refine
    labels by such agreement: Cho et al., CVPR 2022.) The likelihood of a pair is the share of the branches that
    believe it, its similarity the mean of the branches that judged it; the answer is the same for all branches.

    Args:
        relation: judges one branch's graph.
        share: of the M branches that must believe a pair, in (0, 1].
    """

    def __init__(self, relation: Relation, share: float = 0.5):
        if not 0 < share <= 1:
            raise ValueError(f"agreement is a share of the branches in (0, 1], got {share}")
        super().__init__(relation)
        self.share = share

    def __call__(self, graphs: list[Data]) -> list[Data]:
        """Judge branch by branch, then count the votes."""
        answers, count = super().__call__(graphs), graphs[0].num_nodes
        edges, similarity, believed = (torch.cat([answer[key] for answer in answers], dim=-1)
                                       for key in ("edge_index", "edge_attr", "believed"))
        key, pair, voters = (edges[1] * count + edges[0]).unique(return_inverse=True, return_counts=True)
        votes = torch.zeros_like(voters).index_add_(0, pair, believed.long())
        mean = similarity.new_zeros(len(key)).index_add_(0, pair, similarity) / voters
        node = torch.div(key, count, rounding_mode="floor")
        agreed = judged(graphs[0], torch.stack([key - node * count, node]), mean, votes / len(graphs),
                        votes >= self.share * len(graphs) - 1e-6)
        return [agreed] * len(graphs)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.relation!r}, share={self.share})"


class ConstrainedBranches(BranchRelation):
    """Another relation under must-links and cannot-links between images, which hold for all their patches.

    Args:
        base: judges the pairs.
        constraints: of the N images.
    """

    def __init__(self, base: BranchRelation, constraints: Constraints):
        self.base, self.constraints = base, constraints
        self.reach, self.joint = base.reach, base.joint

    def check(self, images: TrainImages) -> None:
        """Refuse what ``base`` refuses."""
        self.base.check(images)

    def __call__(self, graphs: list[Data]) -> list[Data]:
        """Judge by ``base`` and correct each branch."""
        return [correct(pairs, self.constraints, graph.rows, graph.x)
                for pairs, graph in zip(self.base(graphs), graphs, strict=True)]

    def __repr__(self) -> str:
        return f"ConstrainedBranches({self.base!r}, {self.constraints!r})"
