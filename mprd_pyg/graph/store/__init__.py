"""Pair subgraphs on disk."""
from mprd_pyg.graph.store.dataset import PairSubgraphDataset
from mprd_pyg.graph.store.writer import PairSubgraphWriter

__all__ = ["PairSubgraphDataset", "PairSubgraphWriter"]
