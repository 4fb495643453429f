"""PatchMPRD: PAUL's losses on pairs of patches that MPRD's GCN believes."""
from collections.abc import Iterator
from typing import Any

from mprd_pyg.training import Phase
from paul.algorithm import PAUL
from paul.branch_relation import ConstrainedBranches
from paul.patch_mprd.branch_gcn import BranchGCN, BranchGCNTraining


class PatchMPRD:
    """Not in either paper: PAUL (Yang et al., CVPR 2019) whose similar patches are judged as in MPRD (Ji et al., 2021).

    Each epoch first trains the GCN with the network fixed, on pairs drawn as in MPRD's Alg. 1, then the network with
    the GCN fixed: the candidates are the neighbours of the live features in the M branch graphs, the GCN judges them
    by the neighbourhoods of their patches, and those it accepts are PEDAL's positives. With an ``ImageEmbedder``
    (M = 1) this is MPRD's relation in PAUL's losses.

    Args:
        paul: with a :class:`BranchGCN` as its relation, which may be under constraints.
        gcn: trains that relation's GCN.
    """

    def __init__(self, paul: PAUL, gcn: BranchGCNTraining):
        judge = paul.relation.base if isinstance(paul.relation, ConstrainedBranches) else paul.relation
        if not isinstance(judge, BranchGCN) or gcn.relation is not judge:
            raise ValueError(f"PatchMPRD's relation is the GCN that it trains, but PAUL was given {paul.relation!r}")
        if not paul.pedal_weight:
            raise ValueError("PatchMPRD's GCN judges for L_c: pedal_weight must not be 0")
        self.paul, self.gcn, self.epochs = paul, gcn, paul.epochs
        self.parts: dict[str, Any] = {**paul.parts, **gcn.parts}

    def prepare(self) -> None:
        """As PAUL."""
        self.paul.prepare()

    def phases(self, epoch: int) -> Iterator[Phase]:
        """First the GCN with the network fixed, then the network with the GCN fixed."""
        yield self.gcn.phase(epoch, self.paul.pairs.believed)
        yield from self.paul.phases(epoch)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Keep, for the GCN's next pass, the images believed in at least half of the branches; report as PAUL."""
        return self.paul.end_epoch(epoch)
