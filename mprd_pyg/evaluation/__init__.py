"""How good a ranking is, and how good the pairs are that a relation believes."""

from mprd_pyg.evaluation.bootstrap import Difference, paired_bootstrap
from mprd_pyg.evaluation.cameras import CameraMatrix, CameraPairs, camera_matrix, pairs_by_camera
from mprd_pyg.evaluation.group_metrics import GroupReport, evaluate_groups
from mprd_pyg.evaluation.pairs import PairAUC, PairReport, evaluate_pairs, pair_auc, pair_truth
from mprd_pyg.evaluation.ranking import LEAVE_ONE_OUT, MODES, SINGLE_SHOT, RankingResult, evaluate_ranking
from mprd_pyg.evaluation.single_shot import SingleShotResult, evaluate_single_shot, mean_and_spread

__all__ = ["LEAVE_ONE_OUT", "MODES", "SINGLE_SHOT", "CameraMatrix", "CameraPairs", "Difference", "GroupReport",
           "PairAUC", "PairReport", "RankingResult", "SingleShotResult", "camera_matrix", "evaluate_groups",
           "evaluate_pairs", "evaluate_ranking", "evaluate_single_shot", "mean_and_spread", "pair_auc", "pair_truth",
           "paired_bootstrap", "pairs_by_camera"]
