"""Classifiers of pairs from their statistics (P, F): small, calibrated, saved as plain tensors."""
from mprd_pyg.models.pairs.boosted import BoostedPairs
from mprd_pyg.models.pairs.importance import permutation_importance
from mprd_pyg.models.pairs.joined_statistics import JoinedStatistics, Standardisation
from mprd_pyg.models.pairs.logistic import LogisticPairs
from mprd_pyg.models.pairs.pair_model import PairModel

__all__ = ["BoostedPairs", "JoinedStatistics", "LogisticPairs", "PairModel", "Standardisation",
           "permutation_importance"]
