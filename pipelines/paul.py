"""Train an unsupervised re-ID network with PAUL, after pre-training on a labelled source.

python -m pipelines.paul                                             # generated pedestrians
python -m pipelines.paul --config paul/market1501.yaml --data.root DIR --source.root DIR
"""
import sys

import torch
from jsonargparse import Namespace

from mprd_pyg.graph import KNNGraph
from mprd_pyg.relations import Relation
from paul import IPFL, PAUL, Pedal
from paul.views import surrogate_view
from pipelines.command_line import cli
from pipelines.command_line.dataset import choose_meta, column
from pipelines.command_line.network_options import add_network, build_network
from pipelines.command_line.ranking import nested, table_of
from pipelines.command_line.style_options import ChosenStyle, add_style_options
from pipelines.command_line.training_run import TrainingRun, add_training_options

METHOD = {"fabric", "embedder", "store", "camera_id", "surrogate", "relation", "knn", "pedal", "ipfl", "view",
          "person_id", "meta_person", "projection", "record", "workers", "seed"}


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = cli.make_parser("python -m pipelines.paul", __doc__.splitlines()[0], "paul/synthetic.yaml")
    add_training_options(parser)
    add_network(parser)
    parser.add_class_arguments(KNNGraph, "knn", skip={"center_by"})
    parser.set_defaults({"knn.k": 10, "knn.metric": "l2"})
    parser.add_subclass_arguments(Relation, "relation", required=False,
                                  help="which patches are similar; null is the paper's k nearest")
    parser.add_class_arguments(Pedal, "pedal", skip={"k"})
    parser.add_class_arguments(IPFL, "ipfl")
    parser.add_class_arguments(PAUL, "method", skip=METHOD, instantiate=False)
    parser.add_function_arguments(surrogate_view, "surrogate", skip={"height", "width"})
    parser.add_argument("--meta_identities", type=int, default=5,
                        help="labelled identities, for a relation that reads them")
    parser.add_argument("--ablation", type=bool, default=False,
                        help="where both losses are in use, train with each alone too, from the same start (Table 3)")
    add_style_options(parser, "none")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Everything from images to ranking lists."""
    this = TrainingRun("paul", parser, cfg)
    parts = parser.instantiate(cfg)
    wants_meta = parts.relation is not None and parts.relation.needs_meta
    table = choose_meta(this.target.train, cfg.meta_identities if wants_meta else 0, cfg.seed)
    person = column(table, "person_id")
    options, store, camera = this.target.options, this.target.store(table), column(table, "camera_id")
    surrogate = surrogate_view(options.height, options.width, **cfg.surrogate)
    meta_person = torch.where(column(table, "meta").bool(), person, -1)
    style = ChosenStyle(cfg.camera_style, cfg.camera_style_images, this.target, table, this.folder.path, cfg.seed)

    def method_of(network, record=None, **changed) -> PAUL:
        method = PAUL(this.fabric, network, store, camera, surrogate, parts.relation, parts.knn, parts.pedal,
                      parts.ipfl, person_id=person, meta_person=meta_person, workers=options.workers, seed=cfg.seed,
                      record=record, **dict(parts.method) | changed)
        method.view = style.view(method.view)   # an image and its surrogate in the same camera's style
        return method

    network, spec = build_network(cfg)
    method = method_of(network, lambda epoch, pairs: this.folder.write_pairs(epoch, pairs, person))
    style.write(this.folder.path)
    results = this.fit(method, network, spec, style.table)
    if cfg.ablation and method.pedal_weight and method.ipfl_weight:
        name = type(network).__name__
        rows = {f"{name} direct": this.before}
        for row, changed in (("L_c", {"ipfl_weight": 0.0}), ("L_v", {"pedal_weight": 0.0})):
            variant = build_network(cfg)[0]
            rows[f"{name} + {row}"] = this.fit_row(row, method_of(variant, **changed), variant, spec)
        rows["PAUL"] = this.last
        results["rows"] = {row: nested(figures) for row, figures in rows.items()}
        if this.evaluable:
            this.closing = f"{this.target.card.name}: the rows of Table 3, from one start\n{table_of(rows)}"
    this.finish(results | {"relation": repr(method.relation), "camera_style": style.record})


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
