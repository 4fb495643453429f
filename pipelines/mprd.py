"""Train an unsupervised re-ID network with MPRD, or with any relation of its Table 1.

python -m pipelines.mprd                                             # generated pedestrians, a few minutes
python -m pipelines.mprd --config mprd/market1501.yaml --data.root DIR
"""
import sys
from functools import partial

import torch
from jsonargparse import Namespace
from torch_geometric.data import Data

from mprd_pyg.data.batched_view import BatchedTrainingView
from mprd_pyg.data.views import training_view
from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.losses import BinomialDeviance
from mprd_pyg.models import ImageEmbedder, PairClassifier
from mprd_pyg.mprd import MPRD, GCNRelation, GCNTraining
from mprd_pyg.relations import Relation
from pipelines.command_line import cli
from pipelines.command_line.dataset import choose_meta, column
from pipelines.command_line.style_options import ChosenStyle, add_style_options
from pipelines.command_line.training_run import TrainingRun, add_training_options
from pipelines.runs.subgraph_samples import SubgraphSamples

METHOD = {"fabric", "embedder", "store", "camera_id", "relation", "knn", "view", "perturbed_view", "gcn", "loss",
          "person_id", "meta_person", "num_unlabelled", "record", "workers", "seed"}


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = cli.make_parser("python -m pipelines.mprd", __doc__.splitlines()[0], "mprd/synthetic.yaml")
    add_training_options(parser)
    parser.add_class_arguments(ImageEmbedder, "network", instantiate=False)
    parser.add_class_arguments(KNNGraph, "knn", skip={"center_by"})
    parser.set_defaults({"knn.threshold": 0.6})  # k_i = max(8, #{j: cos > 0.6}), Sec. 5.2
    parser.add_subclass_arguments(Relation, "relation", required=False,
                                  help="which pairs are positives; null is MPRD's GCN")
    parser.add_class_arguments(PairSubgraphs, "subgraphs")
    parser.add_class_arguments(PairClassifier, "gcn", skip={"dim"}, instantiate=False)
    parser.add_class_arguments(GCNRelation, "judge", skip={"classifier", "subgraphs"}, instantiate=False)
    parser.add_class_arguments(GCNTraining, "gcn_training", instantiate=False,
                               skip={"relation", "num_unlabelled", "meta_person", "seed"})
    parser.add_argument("--meta_identities", type=int, default=5,
                        help="labelled identities that train the GCN and stay out of the CNN's loss; 0 for none")
    parser.add_class_arguments(BinomialDeviance, "loss")
    parser.add_class_arguments(MPRD, "method", skip=METHOD, instantiate=False)
    parser.add_function_arguments(training_view, "augmentation", skip={"height", "width", "perturbed"})
    parser.add_argument("--batched_views", type=bool, default=False,
                        help="augment whole batches on the device: other random numbers, of the same distributions")
    add_style_options(parser, "auto")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Everything from images to ranking lists."""
    this = TrainingRun("mprd", parser, cfg)
    parts = parser.instantiate(cfg)
    uses_gcn = parts.relation is None
    wants_meta = uses_gcn or parts.relation.needs_meta
    table = choose_meta(this.target.train, cfg.meta_identities if wants_meta else 0, cfg.seed)
    unlabelled = int((~table["meta"]).sum()) if uses_gcn else len(table)
    person, camera = column(table, "person_id"), column(table, "camera_id")
    meta_person = torch.where(column(table, "meta").bool(), person, -1)

    network, device = ImageEmbedder(**cfg.network), this.fabric.device
    relation, gcn = parts.relation, None
    if uses_gcn:
        classifier = PairClassifier(network.dim, **cfg.gcn).to(device)
        relation = GCNRelation(classifier, parts.subgraphs, **cfg.judge)
        gcn = GCNTraining(relation, unlabelled, person[unlabelled:].to(device), seed=cfg.seed, **cfg.gcn_training)
    options = this.target.options
    style = ChosenStyle(cfg.camera_style, cfg.camera_style_images, this.target, table, this.folder.path, cfg.seed)
    make_view = partial(BatchedTrainingView, device=device) if cfg.batched_views else training_view
    view, perturbed_view = (style.view(make_view(options.height, options.width, perturbed=p, **cfg.augmentation))
                            for p in (False, True))
    samples = SubgraphSamples(this.folder.path / "subgraphs", table, parts.subgraphs, cfg.seed)

    def record(epoch: int, pairs: Data) -> None:
        this.folder.write_pairs(epoch, pairs, person)
        samples.append(epoch, pairs, method)

    method = MPRD(this.fabric, network, this.target.store(table), camera, relation, parts.knn, view, perturbed_view,
                  gcn, parts.loss, person, meta_person, unlabelled, workers=options.workers, seed=cfg.seed,
                  record=record, **parts.method)
    style.write(this.folder.path)
    results = this.fit(method, network, {"class_path": "mprd_pyg.models.ImageEmbedder", "init_args": dict(cfg.network)},
                       style.table)
    samples.finish(method.memory.bank, results["epochs"])
    results["counts"] |= {"unlabelled": unlabelled, "meta": int(table["meta"].sum())}
    this.finish(results | {"relation": repr(relation), "camera_style": style.record})


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
