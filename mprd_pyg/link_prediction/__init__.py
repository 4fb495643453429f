"""Link prediction on any graph: statistics of pairs, SEAL's subgraphs (Zhang & Chen, NeurIPS 2018), auto-encoders."""
from mprd_pyg.link_prediction.cross_fit import CrossFitGAE
from mprd_pyg.link_prediction.dgcnn import DGCNN
from mprd_pyg.link_prediction.figures import hits_at, link_figures, mean_reciprocal_rank, ranks
from mprd_pyg.link_prediction.forest_kernel import forest_kernel
from mprd_pyg.link_prediction.gae import gae_logits, train_gae
from mprd_pyg.link_prediction.graph_files import read_graph, read_pairs
from mprd_pyg.link_prediction.hard_negatives import hard_negatives
from mprd_pyg.link_prediction.hops import choose_hops
from mprd_pyg.link_prediction.likelihoods import calibration, mean_likelihood, with_mean
from mprd_pyg.link_prediction.link_graph import LinkGraph
from mprd_pyg.link_prediction.link_heuristics import (
    HEURISTICS,
    adamic_adar,
    common_neighbours,
    katz,
    ppr,
    resource_allocation,
)
from mprd_pyg.link_prediction.lpformer import LPFormerBaseline
from mprd_pyg.link_prediction.pair_columns import PairColumns
from mprd_pyg.link_prediction.questions import PARTS, Questions, Scores
from mprd_pyg.link_prediction.seal import SEAL
from mprd_pyg.link_prediction.splits import LinkSplit, split_links
from mprd_pyg.link_prediction.statistic_scorers import StatisticScorers
from mprd_pyg.link_prediction.subgraph_scorer import SubgraphScorer, nodes_to_keep
from mprd_pyg.link_prediction.subgraph_store import SubgraphStore

__all__ = ["DGCNN", "HEURISTICS", "PARTS", "SEAL", "CrossFitGAE", "LPFormerBaseline", "LinkGraph", "LinkSplit",
           "PairColumns", "Questions", "Scores", "StatisticScorers", "SubgraphScorer", "SubgraphStore", "adamic_adar",
           "calibration", "choose_hops", "common_neighbours", "forest_kernel", "gae_logits", "hard_negatives",
           "hits_at", "katz", "link_figures", "mean_likelihood", "mean_reciprocal_rank", "nodes_to_keep", "ppr",
           "ranks", "read_graph", "read_pairs", "resource_allocation", "split_links", "train_gae", "with_mean"]
