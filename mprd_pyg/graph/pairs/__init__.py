"""What lies around a pair of nodes: its subgraph, its labels, its statistics."""
from mprd_pyg.graph.pairs.drnl import drnl
from mprd_pyg.graph.pairs.statistics import NEIGHBOURHOOD, STATISTICS, PairStatistics
from mprd_pyg.graph.pairs.subgraphs import PairData, PairSubgraphs

__all__ = ["NEIGHBOURHOOD", "STATISTICS", "PairData", "PairStatistics", "PairSubgraphs", "drnl"]
