"""MPRD: Meta Pairwise Relationship Distillation (Ji et al., ICCV 2021)."""
from mprd_pyg.mprd.algorithm import MPRD
from mprd_pyg.mprd.gcn_relation import GCNRelation
from mprd_pyg.mprd.gcn_training import GCNTraining
from mprd_pyg.mprd.pair_loss import pair_loss

__all__ = ["MPRD", "GCNRelation", "GCNTraining", "pair_loss"]
