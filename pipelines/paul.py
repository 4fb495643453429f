"""Train an unsupervised re-ID network with PAUL, after pre-training on a labelled source.

python -m pipelines.paul                                             # generated pedestrians
python -m pipelines.paul --config paul/market1501.yaml --data.root DIR --source.root DIR
"""
import sys

from jsonargparse import Namespace

from mprd_pyg.relations import KNearest
from paul import LEARNER, PAUL
from paul.branch_loss import BranchLoss
from paul.branch_relation import AgreeingBranches
from paul.surrogate_view import paul_view
from pipelines.command_line import cli
from pipelines.command_line.style_options import add_style_options
from pipelines.command_line.training_options import add_memory_option, add_paul_options, training_parser
from pipelines.command_line.training_run import TrainingRun


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = training_parser("paul", __doc__, LEARNER)
    add_paul_options(parser, "which patches are similar; null is the paper's k nearest")
    parser.add_argument("--agreement", type=float, default=None,
                        help="believe in all branches the pairs that this share of them believes (not in the paper)")
    parser.add_argument("--ablation", type=bool, default=False,
                        help="where both losses are in use, train with each alone too, from the same start (Table 3)")
    add_memory_option(parser)
    add_style_options(parser, "none")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Everything from images to ranking lists."""
    parts = parser.instantiate(cfg)
    meta = cfg.meta_identities if parts.relation is not None and parts.relation.needs_meta else 0
    this = TrainingRun("paul", parser, cfg, parts, meta)
    pedal = parts.pedal if parts.loss is None else BranchLoss(parts.loss)
    relation = this.constrained(parts.relation or KNearest(parts.knn.k))
    if cfg.agreement is not None:
        relation = AgreeingBranches(relation, cfg.agreement)

    def method_of(network, pairs=False, **changed) -> PAUL:
        options = dict(parts.method) | changed
        view = this.view(paul_view, "surrogate", with_surrogate=options["ipfl_weight"] > 0)
        connect = this.memory_graph(parts.knn, normalize=False)
        return PAUL(this.learner(view, network), connect, relation, pedal, parts.ipfl,
                    this.pair_book(connect) if pairs else None, **options)

    method = method_of(this.network, pairs=True)
    results = this.fit(method, relation=repr(method.relation))
    if cfg.ablation and method.pedal_weight and method.ipfl_weight:
        results["rows"] = this.fit_rows("PAUL", {"L_c": lambda network: method_of(network, ipfl_weight=0.0),
                                                 "L_v": lambda network: method_of(network, pedal_weight=0.0)})
    this.finish(results)


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
