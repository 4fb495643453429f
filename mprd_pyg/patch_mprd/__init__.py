"""PatchMPRD: MPRD's GCN judges pairs with PAUL's branch graphs together; not in either paper."""
from mprd_pyg.patch_mprd.algorithm import PatchMPRD
from mprd_pyg.patch_mprd.branch_gcn import BranchGCN, BranchGCNTraining
from mprd_pyg.patch_mprd.branch_lists import BranchLists

__all__ = ["BranchGCN", "BranchGCNTraining", "BranchLists", "PatchMPRD"]
