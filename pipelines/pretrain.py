"""Train a network with identity labels, to start MPRD or PAUL from.

python -m pipelines.pretrain                                         # generated pedestrians of the source domain
python -m pipelines.pretrain --data.card market1501 --data.root DIR --network.class_path paul.PatchNet
"""
import sys

from jsonargparse import Namespace

from mprd_pyg.data.views import training_view
from mprd_pyg.pretraining import SupervisedPretraining, supervised
from pipelines.command_line import cli
from pipelines.command_line.network_options import add_network
from pipelines.command_line.style_options import add_style_options
from pipelines.command_line.training_options import training_parser
from pipelines.command_line.training_run import TrainingRun


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = training_parser("pretrain", __doc__, supervised.LEARNER, source=False)
    add_network(parser)
    parser.add_class_arguments(SupervisedPretraining, "method", skip={"learner"}, instantiate=False)
    parser.add_function_arguments(training_view, "augmentation", skip={"height", "width", "perturbed"})
    add_style_options(parser, "none")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Everything from images to ranking lists."""
    parts = parser.instantiate(cfg)
    this = TrainingRun("pretrain", parser, cfg, parts, domain="source")
    this.run(SupervisedPretraining(this.learner(this.view()), **parts.method))


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
