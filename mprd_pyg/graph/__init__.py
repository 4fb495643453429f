"""The shared graph stage: kNN graphs from any embedding matrix, and the subgraphs around pairs."""
from mprd_pyg.graph.drnl import drnl
from mprd_pyg.graph.knn_graph import KNNGraph, center_by_group
from mprd_pyg.graph.neighbours import NeighbourLists
from mprd_pyg.graph.pair_subgraphs import PairData, PairSubgraphs
from mprd_pyg.graph.storage import PairSubgraphDataset
from mprd_pyg.graph.store_writer import PairSubgraphWriter

__all__ = ["KNNGraph", "NeighbourLists", "PairData", "PairSubgraphDataset", "PairSubgraphWriter",
           "PairSubgraphs", "center_by_group", "drnl"]
