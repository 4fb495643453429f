"""Predict links of any graph: statistics of pairs, SEAL's subgraphs around them, and their baselines.

python -m pipelines.link_prediction --graph links.csv                       # edge list, .mat, PyG Data, Planetoid
python -m pipelines.link_prediction --resume runs/NAME --pairs asked.csv    # likelihoods of asked pairs
python -m pipelines.link_prediction --config link_prediction/planetoid.yaml --graph ind.cora.graph
"""
import sys

from jsonargparse import Namespace

from mprd_pyg import processes
from mprd_pyg.link_prediction import with_mean
from pipelines.command_line import cli
from pipelines.command_line.link_options import add_link_options
from pipelines.command_line.link_run import LinkRun


def make_parser() -> cli.Parser:
    """Flags and YAML keys."""
    parser = cli.make_parser("python -m pipelines.link_prediction", __doc__.splitlines()[0], several=True)
    add_link_options(parser)
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """From a graph file to figures and likelihoods."""
    this = LinkRun(parser, cfg)
    scorers = dict(this.scorers())
    if "mean" in this.names:
        scorers = with_mean(scorers)
    result = this.questions.choose(scorers) if cfg.scorer[0] == "auto" else cfg.scorer[0]
    this.finish(result, scorers, {name: this.baseline(name) for name in cfg.baselines if processes.is_first()})


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
