"""Train an unsupervised re-ID network with MPRD, or with any relation of its Table 1.

python -m pipelines.mprd                                             # generated pedestrians, a few minutes
python -m pipelines.mprd --config mprd/market1501.yaml --data.root DIR
"""
import sys
import time
from pathlib import Path

import torch
from jsonargparse import Namespace
from lightning_fabric import Fabric

from mprd_pyg.data.synthetic import write_synthetic
from mprd_pyg.data.views import training_view
from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.graph.storage import save_pair_batch
from mprd_pyg.models import ImageEmbedder
from mprd_pyg.mprd import MPRD, BinomialDeviance, GCNRelation, GCNTraining, PairClassifier
from mprd_pyg.relations import Relation
from mprd_pyg.training import Trainer
from mprd_pyg.training.supervised import SupervisedPretraining
from pipelines import cli
from pipelines.dataset import DataOptions, Dataset, choose_meta, column
from pipelines.run_folder import RunFolder
from pipelines.stages import flat_metrics, nested, pretrain_source, ranker, seed_everything, table_of

METHOD = {"fabric", "embedder", "store", "camera_id", "relation", "knn", "view", "perturbed_view", "gcn", "loss",
          "person_id", "meta_person", "num_unlabelled", "record", "workers", "seed"}


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = cli.make_parser("python -m pipelines.mprd", __doc__.splitlines()[0], "mprd/synthetic.yaml")
    parser.add_class_arguments(DataOptions, "data", instantiate=False)
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
    parser.add_argument("--evaluate_every", type=int, default=5, help="epochs; 0 evaluates at the end only")
    parser.add_argument("--checkpoint_every", type=int, default=0, help="steps between checkpoints in an epoch")
    parser.add_argument("--pretrain", type=bool, default=False, help="train the trunk on a labelled source first")
    parser.add_class_arguments(DataOptions, "source", instantiate=False)
    parser.add_class_arguments(SupervisedPretraining, "pretraining", instantiate=False,
                               skip={"fabric", "embedder", "store", "person_id", "view", "workers", "seed"})
    parser.add_function_arguments(write_synthetic, "synthetic", skip={"root", "domain", "seed", "height", "width"})
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Everything from images to ranking lists."""
    started = time.monotonic()
    folder = RunFolder(cfg.out, "mprd", resume=cfg.resume is not None)
    cfg.out = str(folder.path)
    target = open_data(cfg, "data", "target", folder)
    source = open_data(cfg, "source", "source", folder) if cfg.pretrain else None
    parts = parser.instantiate(cfg)
    uses_gcn = parts.relation is None
    table = choose_meta(target.train, cfg.meta_identities if uses_gcn or parts.relation.needs_meta else 0, cfg.seed)
    unlabelled = int((~table["meta"]).sum()) if uses_gcn else len(table)
    missing = ["CamStyle images: none were used"]
    skipped = target.why_not_evaluable()
    if skipped:
        missing.append(f"evaluation: {skipped}")

    seed_everything(cfg.seed)
    fabric = Fabric(accelerator=cfg.accelerator, devices=1, precision=cfg.precision)
    network = ImageEmbedder(**cfg.network)
    subgraphs, gcn, relation = parts.subgraphs, None, parts.relation
    person, camera = column(table, "person_id"), column(table, "camera_id")
    meta_person = torch.where(column(table, "meta").bool(), person, -1)
    if uses_gcn:
        relation = GCNRelation(PairClassifier(network.dim, **cfg.gcn).to(fabric.device), subgraphs, **cfg.judge)
        gcn = GCNTraining(relation, unlabelled, person[unlabelled:].to(fabric.device), seed=cfg.seed,
                          **cfg.gcn_training)
    view, perturbed = (training_view(target.options.height, target.options.width, perturbed=p, **cfg.augmentation)
                       for p in (False, True))
    method = MPRD(fabric, network, target.store(table), camera, relation, parts.knn, view, perturbed, gcn, parts.loss,
                  person, meta_person, unlabelled, workers=target.options.workers, seed=cfg.seed,
                  record=lambda epoch, pairs: folder.write_pairs(epoch, pairs, person), **parts.method)
    # Nothing was written so far but generated images: all that could be wrong with the input is known by now.
    folder.write_text("config.yaml", parser.dump(cfg_to_save(cfg), skip_unset=False))
    folder.write_table("images.parquet", table)
    rank = None if skipped else ranker(target, network, fabric.device, cfg.progress)
    source_figures = None
    if source is not None:
        source_figures = pretrain_source(fabric, network, source, folder.path / "source", dict(cfg.pretraining),
                                         cfg.seed, resume=cfg.resume is not None, progress=cfg.progress)
    describe = {"network": {"class_path": "mprd_pyg.models.ImageEmbedder", "init_args": dict(cfg.network)},
                "size": [target.options.height, target.options.width], "data": target.fingerprint}
    trainer = Trainer(fabric, folder.path, (lambda: flat_metrics(rank())) if rank else None, cfg.evaluate_every,
                      cfg.checkpoint_every, describe, cfg.progress)
    history = trainer.fit(method, resume=cfg.resume is not None and folder.started)

    graph = method.connect(torch.arange(unlabelled, device=fabric.device))
    sample = sample_pairs(relation(graph), cfg.seed)
    (folder.path / "subgraphs").mkdir(exist_ok=True)
    save_pair_batch(folder.path / "subgraphs" / "last_epoch.pt", subgraphs(graph, sample.edge_index.flip(0).T),
                    likelihood=sample.likelihood, similarity=sample.edge_attr, believed=sample.believed,
                    y=(person[sample.edge_index[0].cpu()] == person[sample.edge_index[1].cpu()]))
    last = history[-1]
    if rank:
        folder.write_rankings(*target.test, rank())
    folder.write_results({
        "pipeline": "mprd", "relation": repr(relation), "card": target.card.name, "seed": cfg.seed,
        "metrics": nested(last), "before": nested(trainer.before),
        "pairs": {name.split("/")[1]: value for name, value in last.items() if name.startswith("pairs/")},
        "counts": target.counts() | {"unlabelled": unlabelled, "meta": int(table["meta"].sum())},
        "data": {"fingerprint": target.fingerprint, "skipped_images": target.frame.attrs.get("skipped_unreadable", []),
                 "deviations": target.card.deviations(target.frame)},
        "source": None if source is None else {"card": source.card.name, "fingerprint": source.fingerprint,
                                               "last_epoch": source_figures},
        "epochs": len(history), "missing": missing, "seconds": round(time.monotonic() - started, 1)})
    if rank:
        print(f"\n{target.card.name}: the same network before and after {len(history)} epochs with "
              f"{type(relation).__name__}\n{table_of(trainer.before, last)}")
    print(f"run folder: {folder.path}")


def open_data(cfg: Namespace, key: str, domain: str, folder: RunFolder) -> Dataset:
    """Scan a dataset; the synthetic card without a root is generated into the run folder first."""
    options = DataOptions(**cfg[key])
    root = options.root
    if root is None and options.card == "synthetic":
        root = write_synthetic(Path(folder.path) / "data" / domain, domain=domain, seed=cfg.seed,
                               height=options.height, width=options.width, **dict(cfg.synthetic))
    try:
        return Dataset(options, root)
    except ValueError as error:
        raise type(error)(str(error).replace("--data.", f"--{key}.")) from error


def sample_pairs(pairs, seed: int, count: int = 200):
    """A seeded sample of judged pairs, in which believed and disbelieved ones are as even as can be."""
    chosen = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(pairs.believed), generator=chosen)
    believed = pairs.believed.cpu()[order]
    keep = torch.cat([order[believed][:count // 2], order[~believed][:count // 2]]).to(pairs.edge_index.device)
    pairs = pairs.clone()
    pairs.edge_index = pairs.edge_index[:, keep]
    for name in ("edge_attr", "likelihood", "believed"):
        pairs[name] = pairs[name][keep]
    return pairs


def cfg_to_save(cfg: Namespace) -> Namespace:
    """The resolved configuration, without what belongs to one call only."""
    saved = cfg.clone()
    for key in ("config", "resume", "out"):
        saved.pop(key, None)
    return saved


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
