"""Train with PAUL's patch losses on pairs that MPRD's GCN believes, judging by all patches together.

python -m pipelines.patch_mprd                                       # generated pedestrians
python -m pipelines.patch_mprd --config patch_mprd/pku_reid.yaml --data.root DIR --initial CHECKPOINT
"""
import sys

from jsonargparse import Namespace

from mprd_pyg.data.views import training_view
from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.models import PairClassifier
from paul import IPFL, PAUL, Pedal
from paul.patch_mprd import BranchGCN, BranchGCNTraining, PatchMPRD
from paul.views import surrogate_view
from pipelines.command_line import cli
from pipelines.command_line.dataset import choose_meta, column
from pipelines.command_line.network_options import add_network, build_network
from pipelines.command_line.training_run import TrainingRun, add_training_options
from pipelines.paul import METHOD


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = cli.make_parser("python -m pipelines.patch_mprd", __doc__.splitlines()[0], "patch_mprd/synthetic.yaml")
    add_training_options(parser)
    add_network(parser)
    parser.add_class_arguments(KNNGraph, "knn", skip={"center_by"})
    parser.set_defaults({"knn.k": 10, "knn.metric": "l2"})
    parser.add_class_arguments(PairSubgraphs, "subgraphs")
    parser.add_class_arguments(PairClassifier, "gcn", skip={"dim"}, instantiate=False)
    parser.add_class_arguments(BranchGCN, "judge", skip={"classifier", "subgraphs"}, instantiate=False)
    parser.add_class_arguments(BranchGCNTraining, "gcn_training", instantiate=False,
                               skip={"relation", "num_unlabelled", "meta_person", "seed"})
    parser.add_argument("--meta_identities", type=int, default=5,
                        help="labelled identities that train the GCN and stay out of the losses; 0 for none")
    parser.add_class_arguments(Pedal, "pedal", skip={"k"})
    parser.add_class_arguments(IPFL, "ipfl")
    parser.add_class_arguments(PAUL, "method", skip=METHOD, instantiate=False)
    parser.add_function_arguments(surrogate_view, "surrogate", skip={"height", "width"})
    parser.add_function_arguments(training_view, "perturbed", skip={"height", "width", "perturbed"})
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Everything from images to ranking lists."""
    this = TrainingRun("patch_mprd", parser, cfg)
    parts = parser.instantiate(cfg)
    everyone = choose_meta(this.target.train, cfg.meta_identities, cfg.seed)
    table, meta = (everyone[everyone["meta"] == chosen].reset_index(drop=True) for chosen in (False, True))
    for part in (table, meta):
        part.attrs = dict(everyone.attrs)
    person = column(table, "person_id")
    (network, spec), options, device = build_network(cfg), this.target.options, this.fabric.device
    size = BranchGCN.feature_size(cfg.judge.form, network.branches, network.dim)
    judge = BranchGCN(PairClassifier(size, **cfg.gcn).to(device), parts.subgraphs, **cfg.judge)
    gcn = BranchGCNTraining(judge, len(table), column(meta, "person_id").to(device), seed=cfg.seed, **cfg.gcn_training)
    method = PatchMPRD(
        this.fabric, network, this.target.store(table), column(table, "camera_id"),
        surrogate_view(options.height, options.width, **cfg.surrogate), gcn,
        training_view(options.height, options.width, perturbed=True, **cfg.perturbed),
        this.target.store(meta) if len(meta) else (), column(meta, "camera_id"), knn=parts.knn, pedal=parts.pedal,
        ipfl=parts.ipfl, person_id=person, workers=options.workers, seed=cfg.seed,
        record=lambda epoch, pairs: this.folder.write_pairs(epoch, pairs, person), **parts.method)
    results = this.fit(method, network, spec, table)
    results["counts"] |= {"unlabelled": len(table), "meta": len(meta)}
    this.finish(results | {"relation": repr(judge)})


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
