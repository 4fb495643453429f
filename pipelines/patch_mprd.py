"""Train with PAUL's patch losses on pairs that MPRD's GCN believes, judging by all patches together.

python -m pipelines.patch_mprd                                       # generated pedestrians
python -m pipelines.patch_mprd --config patch_mprd/synthetic.yaml --data.card CARD --data.root DIR
"""
import sys

from jsonargparse import Namespace

from mprd_pyg.data.views import training_view
from mprd_pyg.graph import PairSubgraphs
from mprd_pyg.models import PairClassifier
from paul import LEARNER, PAUL
from paul.branch_loss import BranchLoss
from paul.branch_relation import ConstrainedBranches
from paul.patch_mprd import BranchGCN, BranchGCNTraining, PatchMPRD
from paul.surrogate_view import paul_view
from pipelines.command_line import cli
from pipelines.command_line.training_options import add_paul_options, training_parser
from pipelines.command_line.training_run import TrainingRun


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = training_parser("patch_mprd", __doc__, LEARNER)
    add_paul_options(parser, None)
    parser.add_class_arguments(PairSubgraphs, "subgraphs")
    parser.add_class_arguments(PairClassifier, "gcn", skip={"dim"}, instantiate=False)
    parser.add_class_arguments(BranchGCN, "judge", skip={"classifier", "subgraphs"}, instantiate=False)
    parser.add_class_arguments(BranchGCNTraining, "gcn_training", instantiate=False,
                               skip={"relation", "learner", "connect", "perturbed_view", "teacher"})
    parser.add_function_arguments(training_view, "perturbed", skip={"height", "width", "perturbed"})
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Everything from images to ranking lists."""
    parts = parser.instantiate(cfg)
    this = TrainingRun("patch_mprd", parser, cfg, parts, cfg.meta_identities, meta_apart=True)
    size = BranchGCN.feature_size(cfg.judge.form, this.network.branches, this.network.dim)
    judge = BranchGCN(PairClassifier(size, **cfg.gcn), parts.subgraphs, **cfg.judge)
    view = this.view(paul_view, "surrogate", with_surrogate=cfg.method.ipfl_weight > 0)
    learner, connect = this.learner(view), this.memory_graph(parts.knn, normalize=False)
    pairs = this.pair_book(connect, parts.subgraphs)
    pedal = parts.pedal if parts.loss is None else BranchLoss(parts.loss)
    relation = judge if this.constraints is None else ConstrainedBranches(judge, this.constraints)
    paul = PAUL(learner, connect, relation, pedal, parts.ipfl, pairs, **parts.method)
    perturbed = this.view(group="perturbed", perturbed=True)
    gcn = BranchGCNTraining(judge, learner, connect, perturbed, **cfg.gcn_training)
    this.run(PatchMPRD(paul, gcn), relation=repr(relation))


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
