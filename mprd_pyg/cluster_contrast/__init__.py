"""Cluster contrast (Dai et al., ACCV 2022): groups of images, and a memory with one row per group."""
from mprd_pyg.cluster_contrast.algorithm import LEARNER, ClusterContrast, default_groups
from mprd_pyg.cluster_contrast.group_batches import group_batches
from mprd_pyg.cluster_contrast.group_memory import GroupMemory

__all__ = ["LEARNER", "ClusterContrast", "GroupMemory", "default_groups", "group_batches"]
