"""Link prediction on any graph, in the manner of SEAL (Zhang & Chen, NeurIPS 2018)."""
from mprd_pyg.link_prediction.dgcnn import DGCNN
from mprd_pyg.link_prediction.figures import hits_at, link_figures
from mprd_pyg.link_prediction.graph_files import read_graph, read_pairs
from mprd_pyg.link_prediction.heuristics import HEURISTICS, adamic_adar, common_neighbours, katz
from mprd_pyg.link_prediction.hops import choose_hops
from mprd_pyg.link_prediction.link_graph import LinkGraph
from mprd_pyg.link_prediction.seal import SEAL
from mprd_pyg.link_prediction.splits import LinkSplit, split_links
from mprd_pyg.link_prediction.subgraph_store import SubgraphStore

__all__ = ["DGCNN", "HEURISTICS", "SEAL", "LinkGraph", "LinkSplit", "SubgraphStore", "adamic_adar", "choose_hops",
           "common_neighbours", "hits_at", "katz", "link_figures", "read_graph", "read_pairs", "split_links"]
