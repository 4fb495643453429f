"""How good a ranking is, and how good the pairs are that a relation believes."""

from mprd_pyg.evaluation.pairs import PairAUC, PairReport, evaluate_pairs, pair_auc
from mprd_pyg.evaluation.ranking import RankingResult, evaluate_ranking

__all__ = ["PairAUC", "PairReport", "RankingResult", "evaluate_pairs", "evaluate_ranking", "pair_auc"]
