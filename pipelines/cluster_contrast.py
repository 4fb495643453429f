"""Train an unsupervised re-ID network with cluster contrast, the field's baseline.

python -m pipelines.cluster_contrast                                 # generated pedestrians
python -m pipelines.cluster_contrast --config cluster_contrast/market1501.yaml --data.root DIR
"""
import sys

from jsonargparse import Namespace

from mprd_pyg.cluster_contrast import LEARNER, ClusterContrast, default_groups
from mprd_pyg.data.views import training_view
from mprd_pyg.models import ImageEmbedder
from mprd_pyg.relations import Groups
from pipelines.command_line import cli
from pipelines.command_line.style_options import add_style_options
from pipelines.command_line.training_options import add_memory_option, add_relation_options, training_parser
from pipelines.command_line.training_run import TrainingRun


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = training_parser("cluster_contrast", __doc__, LEARNER)
    parser.add_class_arguments(ImageEmbedder, "network", instantiate=False)
    add_relation_options(parser, None)
    parser.add_subclass_arguments(Groups, "groups", required=False,
                                  help="how images are grouped; null is DBSCAN on k-reciprocal Jaccard distances")
    parser.add_class_arguments(ClusterContrast, "method", skip={"learner", "connect", "groups", "pairs"},
                               instantiate=False)
    parser.add_function_arguments(training_view, "augmentation", skip={"height", "width", "perturbed"})
    add_memory_option(parser)
    add_style_options(parser, "none")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Everything from images to ranking lists."""
    parts = parser.instantiate(cfg)
    this = TrainingRun("cluster_contrast", parser, cfg, parts)
    learner, connect = this.learner(this.view()), this.memory_graph(parts.knn)
    groups = this.constrained(parts.groups or default_groups())
    this.run(ClusterContrast(learner, connect, groups, this.pair_book(connect), **parts.method))


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
