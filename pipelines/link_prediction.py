"""Predict links of any graph in the manner of SEAL: a graph classifier on the subgraphs around pairs of nodes.

python -m pipelines.link_prediction --graph links.csv                       # edge list, .mat, PyG Data, Planetoid
python -m pipelines.link_prediction --resume runs/NAME --pairs asked.csv    # likelihoods of asked pairs
"""
import math
import sys
import time
from typing import Any, Literal

import torch
from jsonargparse import Namespace
from lightning_fabric import Fabric
from torch import Tensor, nn

from mprd_pyg.graph import NeighbourLists, PairSubgraphs
from mprd_pyg.link_prediction import (
    DGCNN,
    HEURISTICS,
    SEAL,
    LinkSplit,
    SubgraphStore,
    choose_hops,
    link_figures,
    read_graph,
    read_pairs,
    split_links,
)
from mprd_pyg.models import PairClassifier
from mprd_pyg.training import Trainer
from pipelines.command_line import cli
from pipelines.report import try_report
from pipelines.runs.run_folder import RunFolder

PARTS = ("validation", "test")


def make_parser() -> cli.Parser:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser = cli.make_parser("python -m pipelines.link_prediction", __doc__.splitlines()[0])
    parser.add_argument("--graph", type=str, required=True, help=read_graph.__doc__.split("path: ")[1].split("key:")[0])
    parser.add_argument("--key", type=str, default="net", help="name of the matrix in a .mat file")
    parser.add_argument("--features", type=bool, default=True, help="use node features where the file has them")
    parser.add_argument("--pairs", type=str | None, default=None,
                        help="text file of node pairs to score with the trained model, as an edge list")
    parser.add_function_arguments(split_links, "split", skip={"graph", "seed"})
    parser.add_class_arguments(PairSubgraphs, "subgraphs", skip={"hops"}, instantiate=False)
    parser.add_argument("--subgraphs.hops", "--hops", type=int | Literal["auto"], default="auto",
                        help="steps to walk from the pair; auto chooses 1, 2 or 3 on the validation pairs")
    parser.set_defaults({"subgraphs.edges": "induced"})
    parser.add_argument("--head", type=Literal["dgcnn", "max"], default="dgcnn",
                        help="dgcnn: SEAL's classifier; max: MPRD's PairClassifier")
    parser.add_argument("--sort_k", type=float, default=0.6,
                        help="nodes kept by the dgcnn head; at most 1: so many that this fraction of the training "
                             "subgraphs has no more, and at least 10")
    parser.add_class_arguments(DGCNN, "dgcnn", skip={"dim", "num_labels", "sort_k"}, instantiate=False)
    parser.add_class_arguments(PairClassifier, "gcn", skip={"dim", "num_labels", "head", "sort_k"}, instantiate=False)
    parser.add_class_arguments(SEAL, "training", instantiate=False, skip={
        "fabric", "classifier", "train", "train_label", "validation", "validation_label", "x", "seed"})
    parser.add_argument("--memory_gb", type=float, default=1.0, help="memory for built subgraphs; 0 keeps none")
    parser.add_argument("--checkpoint_every", type=int, default=0, help="steps between checkpoints in an epoch")
    parser.add_argument("--baselines", type=list[Literal["common_neighbours", "adamic_adar", "katz"]],
                        default=list(HEURISTICS), help="heuristics scored beside the model; katz takes long on graphs "
                                                       "of 100,000 nodes and more")
    parser.add_argument("--hits", type=list[int], default=[10, 50, 100], help="the K of Hits@K")
    return parser


def build_classifier(cfg: Namespace, dim: int, train: SubgraphStore) -> tuple[nn.Module, dict[str, Any]]:
    """The classifier, and what it was made with."""
    size, label = train.sizes_and_labels()
    if cfg.head == "max":
        spec = {"dim": max(dim, 1), "num_labels": label + 1, "head": "max", **cfg.gcn}
        return PairClassifier(**spec), {"class_path": "mprd_pyg.models.PairClassifier", "init_args": spec}
    sort_k = int(cfg.sort_k) if cfg.sort_k > 1 else max(10, int(size.kthvalue(math.ceil(cfg.sort_k * len(size)))[0]))
    spec = {"dim": dim, "num_labels": label + 1, "sort_k": sort_k, **cfg.dgcnn}
    return DGCNN(**spec), {"class_path": "mprd_pyg.link_prediction.DGCNN", "init_args": spec}


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """From a graph file to figures and likelihoods."""
    started = time.monotonic()
    if cfg.sort_k <= 0 or min(cfg.hits, default=1) < 1:
        raise ValueError(f"sort_k must be above 0 and each K of hits at least 1, got {cfg.sort_k} and {cfg.hits}")
    graph = read_graph(cfg.graph, cfg.key)
    if not cfg.features:
        graph = graph.without_features()
    asked = read_pairs(cfg.pairs, graph) if cfg.pairs else None
    split = split_links(graph, seed=cfg.seed, **cfg.split)
    folder = RunFolder(cfg.out, "link_prediction", resume=cfg.resume is not None)
    cfg.out = str(folder.path)
    torch.manual_seed(cfg.seed)  # for the network's random start; all else draws from named streams of the seed
    fabric = Fabric(accelerator=cfg.accelerator, devices=1, precision=cfg.precision)
    bar = "{}" if cfg.progress else ""

    options = dict(cfg.subgraphs)
    if options["hops"] == "auto":
        options["hops"] = choose_hops(split, lambda hops: PairSubgraphs(**{**options, "hops": hops}), seed=cfg.seed)
    subgraphs = PairSubgraphs(**options)

    def store(part: str, memory_gb: float = cfg.memory_gb) -> SubgraphStore:
        return SubgraphStore(subgraphs, NeighbourLists.from_graph(split.observed(part)), split.pairs[part], memory_gb,
                             progress=bar.format(f"{part} subgraphs"))
    train, validation = store("train"), store("validation")
    network, spec = build_classifier(cfg, 0 if graph.x is None else graph.x.shape[1], train)
    method = SEAL(fabric, network, train, split.label["train"], validation, split.label["validation"], graph.x,
                  seed=cfg.seed, **cfg.training)
    describe = {"graph": graph.fingerprint, "split": dict(cfg.split), "subgraphs": options, "classifier": spec,
                "seed": cfg.seed}
    trainer = Trainer(fabric, folder.path, checkpoint_every=cfg.checkpoint_every, describe=describe,
                      progress=cfg.progress)
    resume = cfg.resume is not None and folder.started
    if not resume:
        write_inputs(parser, cfg, folder, split)
    history = trainer.fit(method, resume)
    if resume:  # only now is it known that the checkpoint is of this run
        write_inputs(parser, cfg, folder, split)
    best = method.take_best()

    scores = {"seal": {"validation": method.logits(validation),
                       "test": method.logits(store("test", 0), bar.format("test pairs"))}}
    for name in cfg.baselines:
        shown = {"progress": cfg.progress} if name == "katz" else {}
        scores[name] = {part: HEURISTICS[name](split.observed(part), split.pairs[part], **shown) for part in PARTS}
    figures = {name: {part: link_figures(score[part], split.label[part], cfg.hits) for part in PARTS}
               for name, score in scores.items()}
    write_predictions(folder, split, scores)
    if asked is not None:
        write_likelihoods(folder, split, asked, SubgraphStore(
            subgraphs, NeighbourLists.from_graph(graph.observed(graph.links)), asked, 0), method, bar)
    folder.write_results({
        "pipeline": "link_prediction", "seed": cfg.seed, "metrics": figures["seal"],
        "baselines": {name: figures[name] for name in cfg.baselines}, "best_epoch": best, "epochs": len(history),
        "graph": {"file": cfg.graph, "fingerprint": graph.fingerprint, "nodes": graph.num_nodes,
                  "links": len(graph.links), "features": 0 if graph.x is None else graph.x.shape[1],
                  "left_out": graph.cleaned},
        "counts": {part: {"links": int(label.sum()), "negatives": int((1 - label).sum())}
                   for part, label in split.label.items()},
        "subgraphs": options, "classifier": spec, "asked_pairs": 0 if asked is None else len(asked),
        "seconds": round(time.monotonic() - started, 1)})
    report = try_report(folder.path)
    print(f"\n{cfg.graph}: {graph.num_nodes} nodes, {len(graph.links)} links, {options['hops']} hops, "
          f"best epoch {best} of {len(history)} by validation\n{table_of(figures)}\nrun folder: {folder.path}")
    if report:
        print(f"report: {report}")


def write_inputs(parser: cli.Parser, cfg: Namespace, folder: RunFolder, split: LinkSplit) -> None:
    """``config.yaml`` and ``split.parquet``."""
    saved = cfg.clone()
    for key in ("config", "resume", "out", "pairs"):  # what belongs to one call only
        saved.pop(key, None)
    folder.write_text("config.yaml", parser.dump(saved, skip_unset=False))
    folder.write_table("split.parquet", split.table())


def write_predictions(folder: RunFolder, split: LinkSplit, scores: dict[str, dict[str, Any]]) -> None:
    """``predictions.parquet``: validation and test pairs with the likelihood and the heuristics' scores."""
    table = split.table()
    table = table[table["part"] != "train"].reset_index(drop=True)
    for name, score in scores.items():
        flat = torch.cat([torch.as_tensor(score[part]) for part in PARTS])
        table["likelihood" if name == "seal" else name] = (flat.sigmoid() if name == "seal" else flat).numpy()
    folder.write_table("predictions.parquet", table)


def write_likelihoods(folder: RunFolder, split: LinkSplit, asked: Tensor, store: SubgraphStore, method: SEAL,
                      bar: str) -> None:
    """``likelihoods.parquet``: asked pairs, looked at in the whole graph without their own link."""
    table = split.graph.table(asked)
    table["linked"] = split.graph.has(asked).numpy()
    table["likelihood"] = method.logits(store, bar.format("asked pairs")).sigmoid().numpy()
    folder.write_table("likelihoods.parquet", table)


def table_of(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """The closing table, in percent: a line per part and scorer."""
    names = list(figures["seal"]["test"])
    lines = [f"{'':12s}{'':20s}" + "".join(f"{name:>10s}" for name in names)]
    for part in PARTS:
        for scorer, of_part in figures.items():
            values = (of_part[part][name] for name in names)
            lines.append(f"{part:12s}{scorer:20s}" + "".join(
                f"{'-':>10s}" if value != value else f"{100 * value:10.2f}" for value in values))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
