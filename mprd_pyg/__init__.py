"""Unsupervised person re-identification by pairwise relations on a shared kNN-graph stage (MPRD)."""

__version__ = "0.1.0"
