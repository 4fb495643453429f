"""What lies around a pair of nodes: its subgraph, its labels."""
from mprd_pyg.graph.pairs.drnl import drnl
from mprd_pyg.graph.pairs.subgraphs import PairData, PairSubgraphs

__all__ = ["PairData", "PairSubgraphs", "drnl"]
