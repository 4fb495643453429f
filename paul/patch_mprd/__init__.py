"""PatchMPRD: MPRD's GCN judges pairs with PAUL's branch graphs together; not in either paper."""
from paul.patch_mprd.algorithm import PatchMPRD
from paul.patch_mprd.branch_gcn import BranchGCN, BranchGCNTraining
from paul.patch_mprd.branch_lists import BranchLists

__all__ = ["BranchGCN", "BranchGCNTraining", "BranchLists", "PatchMPRD"]
