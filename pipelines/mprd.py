"""Train an unsupervised re-ID network with MPRD, or with any relation of its Table 1.

python -m pipelines.mprd                                             # generated pedestrians, a few minutes
python -m pipelines.mprd --config mprd/market1501.yaml --data.root DIR
"""
import sys
from functools import partial

from jsonargparse import Namespace

from mprd_pyg.data.batched_view import BatchedTrainingView
from mprd_pyg.data.views import training_view
from mprd_pyg.graph import PairSubgraphs
from mprd_pyg.models import ImageEmbedder, PairClassifier
from mprd_pyg.mprd import MPRD, GCNRelation, GCNTraining
from pipelines.command_line import cli
from pipelines.command_line.style_options import add_style_options
from pipelines.command_line.training_options import (
    add_loss_option,
    add_memory_option,
    add_relation_options,
    training_parser,
)
from pipelines.command_line.training_run import TrainingRun


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = training_parser("mprd", __doc__)
    parser.add_class_arguments(ImageEmbedder, "network", instantiate=False)
    # k_i = max(8, #{j: cos > 0.6}), Sec. 5.2
    add_relation_options(parser, "which pairs are positives; null is MPRD's GCN", threshold=0.6)
    parser.add_class_arguments(PairSubgraphs, "subgraphs")
    parser.add_class_arguments(PairClassifier, "gcn", skip={"dim"}, instantiate=False)
    parser.add_class_arguments(GCNRelation, "judge", skip={"classifier", "subgraphs"}, instantiate=False)
    parser.add_class_arguments(GCNTraining, "gcn_training", instantiate=False,
                               skip={"relation", "learner", "connect", "perturbed_view"})
    add_loss_option(parser, "the loss:", "mprd_pyg.losses.BinomialDeviance")
    parser.add_class_arguments(MPRD, "method", instantiate=False,
                               skip={"learner", "connect", "relation", "pairs", "gcn", "loss"})
    parser.add_function_arguments(training_view, "augmentation", skip={"height", "width", "perturbed"})
    parser.add_argument("--batched_views", type=bool, default=False,
                        help="augment whole batches on the device: other random numbers, of the same distributions")
    add_memory_option(parser)
    add_style_options(parser, "auto")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Everything from images to ranking lists."""
    parts = parser.instantiate(cfg)
    relation, gcn, by_gcn = parts.relation, None, parts.relation is None
    meta = cfg.meta_identities if by_gcn or relation.needs_meta else 0
    this = TrainingRun("mprd", parser, cfg, parts, meta, meta_apart=by_gcn)
    make = partial(BatchedTrainingView, device=this.fabric.device) if cfg.batched_views else training_view
    learner, connect = this.learner(this.view(make)), this.memory_graph(parts.knn)
    if by_gcn:
        relation = GCNRelation(PairClassifier(this.network.dim, **cfg.gcn), parts.subgraphs, **parts.judge)
        gcn = GCNTraining(relation, learner, connect, this.view(make, perturbed=True), **parts.gcn_training)
    relation = this.constrained(relation)
    method = MPRD(learner, connect, relation, this.pair_book(connect, parts.subgraphs), gcn, parts.loss, **parts.method)
    this.run(method, relation=repr(relation))


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
