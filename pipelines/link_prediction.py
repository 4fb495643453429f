"""Predict links of any graph: statistics of pairs, SEAL's subgraphs around them, and their baselines.

python -m pipelines.link_prediction --graph links.csv                       # edge list, .mat, PyG Data, Planetoid
python -m pipelines.link_prediction --resume runs/NAME --pairs asked.csv    # likelihoods of asked pairs
python -m pipelines.link_prediction --config link_prediction/planetoid.yaml --graph ind.cora.graph
"""
import sys
import time
from typing import Any

import torch
from jsonargparse import Namespace
from lightning_fabric import Fabric

from mprd_pyg.graph import PairSubgraphs
from mprd_pyg.link_prediction import LinkSplit, Questions, Scores, choose_hops, read_graph, read_pairs, split_links
from mprd_pyg.training import Trainer
from pipelines.command_line import cli
from pipelines.command_line import link_options as options
from pipelines.report import try_report
from pipelines.runs.run_folder import RunFolder


def make_parser() -> cli.Parser:
    """Flags and YAML keys."""
    parser = cli.make_parser("python -m pipelines.link_prediction", __doc__.splitlines()[0])
    options.add_link_options(parser)
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """From a graph file to figures and likelihoods."""
    started = time.monotonic()
    if cfg.sort_k <= 0 or min(cfg.hits, default=1) < 1:
        raise ValueError(f"sort_k must be above 0 and each K of hits at least 1, got {cfg.sort_k} and {cfg.hits}")
    names = options.check_scorers(cfg.scorer)
    graph = read_graph(cfg.graph, cfg.key)
    if not cfg.features:
        graph = graph.without_features()
    asked = read_pairs(cfg.pairs, graph) if cfg.pairs else None
    split = split_links(graph, seed=cfg.seed, **cfg.split)
    questions = Questions(split, cfg.negatives_each if cfg.negatives == "heart" else 0, cfg.seed)
    folder = RunFolder(cfg.out, "link_prediction", resume=cfg.resume is not None)
    cfg.out = str(folder.path)
    torch.manual_seed(cfg.seed)  # for the network's random start; all else draws from named streams of the seed
    fabric = Fabric(accelerator=cfg.accelerator, devices=1, precision=cfg.precision)
    resume = cfg.resume is not None

    networks, describe = [name for name in names if name in options.NETWORKS], {
        "graph": graph.fingerprint, "split": dict(cfg.split), "seed": cfg.seed}
    simple = [name for name in names if name in ("logistic", "boosted")]
    statistics = options.StatisticScorers(cfg, split, questions, simple, folder.path / "checkpoints" / "statistics.pt",
                                          describe, resume) if simple or cfg.statistics else None
    scorers: dict[str, Scores] = {name: {question: model.likelihood(columns) for question, columns
                                         in statistics.asked.items()}
                                  for name, model in (statistics.models.items() if statistics else ())}
    trained = {name: train_network(parser, cfg, name, fabric, split, folder, statistics, describe, resume)
               for name in networks}
    write_inputs(parser, cfg, folder, split)
    if statistics:
        statistics.save()
    scorers |= {name: questions.ask(scorer) for name, (scorer, _) in trained.items()}
    if "mean" in names:
        scorers = options.with_mean(scorers)
    worth = {name: questions.worth(scores) for name, scores in scorers.items()}
    result = questions.choose(scorers) if cfg.scorer[0] == "auto" else cfg.scorer[0]
    baselines = {name: options.ask_baseline(name, cfg, split, questions, fabric.device) for name in cfg.baselines}
    figures = {name: questions.figures(scores, cfg.hits) for name, scores in (scorers | baselines).items()}

    options.write_predictions(folder, split, result, scorers, baselines,
                              (statistics.columns.names, statistics.asked) if statistics else None)
    folder.write_table("calibration.parquet", options.calibration(split, scorers))
    if simple:
        folder.write_table("importance.parquet", statistics.importance(split.label["validation"], cfg.seed))
    if asked is not None:
        whole, table = graph.observed(graph.links), graph.table(asked)
        columns = statistics.columns(whole, asked) if simple else None
        answers = {name: statistics.models[name].likelihood(columns) for name in simple} | {
            name: scorer(whole, asked) for name, (scorer, _) in trained.items()}
        answers["mean"] = options.mean_likelihood(answers)
        table["linked"], table["likelihood"] = graph.has(asked).numpy(), answers[result].numpy()
        folder.write_table("likelihoods.parquet", table)
    folder.write_results({
        "pipeline": "link_prediction", "seed": cfg.seed, "result": result, "metrics": figures[result],
        "scorers": {name: figures[name] for name in scorers}, "baselines": {name: figures[name] for name in baselines},
        "validation": {"measure": "mrr" if cfg.negatives == "heart" else "auc", **worth},
        "negatives": cfg.negatives, "networks": {name: facts for name, (_, facts) in trained.items()},
        "statistics": statistics.columns.names if statistics else None,
        "graph": {"file": cfg.graph, "fingerprint": graph.fingerprint, "nodes": graph.num_nodes,
                  "links": len(graph.links), "features": 0 if graph.x is None else graph.x.shape[1],
                  "left_out": graph.cleaned},
        "counts": {part: {"links": int(label.sum()), "negatives": int((1 - label).sum())}
                   for part, label in split.label.items()},
        "asked_pairs": 0 if asked is None else len(asked), "seconds": round(time.monotonic() - started, 1)})
    report = try_report(folder.path)
    print(f"\n{cfg.graph}: {graph.num_nodes} nodes, {len(graph.links)} links; the result is {result}\n"
          f"{table_of(figures)}\nrun folder: {folder.path}")
    if report:
        print(f"report: {report}")


def train_network(parser: cli.Parser, cfg: Namespace, name: str, fabric: Fabric, split: LinkSplit, folder: RunFolder,
                  statistics: options.StatisticScorers | None, describe: dict[str, Any], resume: bool
                  ) -> tuple[options.SubgraphScorer, dict[str, Any]]:
    """A network on subgraphs with its best weights, and facts about it; a second one lies below ``rows/``."""
    chosen = dict(cfg.subgraphs)
    if chosen["hops"] == "auto":
        chosen["hops"] = choose_hops(split, lambda hops: PairSubgraphs(**{**chosen, "hops": hops}), seed=cfg.seed)
    scorer = options.SubgraphScorer(cfg, name, fabric, split, PairSubgraphs(**chosen),
                                    (statistics.columns, statistics.train) if cfg.statistics else None)
    first = name == next(other for other in cfg.scorer if other in options.NETWORKS)
    trainer = Trainer(fabric, folder.path if first else folder.path / "rows" / name,
                      checkpoint_every=cfg.checkpoint_every, progress=cfg.progress,
                      describe=describe | {"subgraphs": chosen, "classifier": scorer.spec})
    going_on = resume and trainer.checkpoint.is_file()
    if not going_on:
        write_inputs(parser, cfg, folder, split)
    history = trainer.fit(scorer.method, going_on)
    return scorer, {"best_epoch": scorer.take_best(), "epochs": len(history), "subgraphs": chosen,
                    "classifier": scorer.spec}


def write_inputs(parser: cli.Parser, cfg: Namespace, folder: RunFolder, split: LinkSplit) -> None:
    """``config.yaml`` and ``split.parquet``."""
    saved = cfg.clone()
    for key in ("config", "resume", "out", "pairs"):  # what belongs to one call only
        saved.pop(key, None)
    folder.write_text("config.yaml", parser.dump(saved, skip_unset=False))
    folder.write_table("split.parquet", split.table())


def table_of(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """The closing table, in percent: a line per part and scorer."""
    names = list(next(iter(figures.values()))["test"])
    lines = [f"{'':12s}{'':20s}" + "".join(f"{name:>13s}" for name in names)]
    for part in options.PARTS:
        for scorer, of_part in figures.items():
            values = (of_part[part][name] for name in names)
            lines.append(f"{part:12s}{scorer:20s}" + "".join(
                f"{'-':>13s}" if value != value else f"{100 * value:13.2f}" for value in values))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
