"""Train a network with identity labels, to start MPRD or PAUL from.

python -m pipelines.pretrain                                         # generated pedestrians of the source domain
python -m pipelines.pretrain --data.card market1501 --data.root DIR --network.class_path paul.PatchNet
"""
import sys

from jsonargparse import Namespace

from mprd_pyg.data.views import training_view
from mprd_pyg.pretraining.supervised import SupervisedPretraining
from pipelines.command_line import cli
from pipelines.command_line.dataset import column
from pipelines.command_line.network_options import add_network, build_network
from pipelines.command_line.style_options import ChosenStyle, add_style_options
from pipelines.command_line.training_run import PRETRAINING, TrainingRun, add_training_options


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = cli.make_parser("python -m pipelines.pretrain", __doc__.splitlines()[0], "pretrain/synthetic.yaml")
    add_training_options(parser, source=False)
    add_network(parser)
    parser.add_class_arguments(SupervisedPretraining, "method", skip=PRETRAINING, instantiate=False)
    parser.add_function_arguments(training_view, "augmentation", skip={"height", "width", "perturbed"})
    add_style_options(parser, "none")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Everything from images to ranking lists."""
    this = TrainingRun("pretrain", parser, cfg, domain="source")
    parts = parser.instantiate(cfg)
    network, spec = build_network(cfg)
    table, options = this.target.train, this.target.options
    style = ChosenStyle(cfg.camera_style, cfg.camera_style_images, this.target, table, this.folder.path, cfg.seed)
    view = style.view(training_view(options.height, options.width, **cfg.augmentation))
    method = SupervisedPretraining(this.fabric, network, this.target.store(table), column(table, "person_id"), view,
                                   seed=cfg.seed, workers=options.workers, **parts.method)
    style.write(this.folder.path)
    this.finish(this.fit(method, network, spec, style.table) | {"camera_style": style.record})


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
