"""Neighbour search: one door, FAISS and other kinds behind it."""
from mprd_pyg.graph.search.nearest import NearestSearch

__all__ = ["NearestSearch"]
