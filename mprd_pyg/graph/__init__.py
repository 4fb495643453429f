"""The shared graph stage: kNN graphs from any embedding matrix, and the subgraphs around pairs."""
from mprd_pyg.graph.knn_graph import KNNGraph, center_by_group
from mprd_pyg.graph.neighbour_lists import NeighbourLists
from mprd_pyg.graph.pairs.drnl import drnl
from mprd_pyg.graph.pairs.statistics import PairStatistics
from mprd_pyg.graph.pairs.subgraphs import PairData, PairSubgraphs
from mprd_pyg.graph.store.dataset import PairSubgraphDataset
from mprd_pyg.graph.store.writer import PairSubgraphWriter

__all__ = ["KNNGraph", "NeighbourLists", "PairData", "PairSubgraphDataset", "PairStatistics", "PairSubgraphWriter",
           "PairSubgraphs", "center_by_group", "drnl"]
