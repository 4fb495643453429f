"""What a run of link prediction does around its scorers: graph, split, run folder, and what is written there."""
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd
import torch
from jsonargparse import Namespace
from torch import Tensor, nn

from mprd_pyg import processes
from mprd_pyg.graph import PairStatistics, PairSubgraphs
from mprd_pyg.link_prediction import (
    DGCNN,
    HEURISTICS,
    PARTS,
    CrossFitGAE,
    LPFormerBaseline,
    PairColumns,
    Questions,
    Scores,
    StatisticScorers,
    SubgraphScorer,
    SubgraphStore,
    calibration,
    choose_hops,
    gae_logits,
    mean_likelihood,
    nodes_to_keep,
    read_graph,
    read_pairs,
    split_links,
    train_gae,
)
from mprd_pyg.models import PairClassifier
from mprd_pyg.models.pairs import BoostedPairs, LogisticPairs
from mprd_pyg.training import Trainer
from mprd_pyg.training.checkpoint import load_checkpoint, save_checkpoint
from mprd_pyg.training.peak_memory import peak_memory
from pipelines.command_line import cli
from pipelines.command_line.launch import make_fabric
from pipelines.command_line.link_options import NETWORKS
from pipelines.report import try_report
from pipelines.runs.run_folder import RunFolder


class LinkRun:
    """Everything about a run but which of its scorers is believed.

    Args:
        parser, cfg: the options; ``cfg.out`` is set to the run folder.
    """

    def __init__(self, parser: cli.Parser, cfg: Namespace):
        self.started, self.parser, self.cfg, self.resume = time.monotonic(), parser, cfg, cfg.resume is not None
        if cfg.sort_k <= 0 or min(cfg.hits, default=1) < 1:
            raise ValueError(f"sort_k must be above 0 and each K of hits at least 1, got {cfg.sort_k} and {cfg.hits}")
        self.names = [name for name in dict.fromkeys(cfg.scorer) if name != "auto"]
        if not self.names or self.names == ["mean"]:
            raise ValueError(f"--scorer {cfg.scorer} names nothing that learns: add logistic, boosted, dgcnn or max")
        self.fabric = make_fabric(parser, cfg, lambda reason: f"{parser.prog}: error: {reason}; "
                                                              f"{cli.go_on(parser.prog, cfg.out)}")
        graph = read_graph(cfg.graph, cfg.key)
        self.graph = graph if cfg.features else graph.without_features()
        self.pairs = read_pairs(cfg.pairs, self.graph) if cfg.pairs else None
        self.split = split_links(self.graph, seed=cfg.seed, **cfg.split)
        processes.check_equal("graph", self.graph.fingerprint)
        own = cfg.negatives_each if cfg.negatives == "heart" else 0
        self.questions = Questions(self.split, own, cfg.seed)
        self.folder = RunFolder(cfg.out, "link_prediction", resume=self.resume)
        cfg.out = str(self.folder.path)
        torch.manual_seed(cfg.seed)  # for the networks' random start; all else draws from named streams of the seed
        self.describe = {"graph": self.graph.fingerprint, "split": dict(cfg.split), "seed": cfg.seed}
        self.statistics, self.networks = self._statistics(), {}

    # -- scorers -------------------------------------------------------------------------------------------------------

    def _statistics(self) -> StatisticScorers | None:
        """Classifiers on statistics, fitted, or as they were kept."""
        cfg, made = self.cfg, {"logistic": partial(LogisticPairs, **self.cfg.logistic),
                               "boosted": partial(BoostedPairs, seed=self.cfg.seed, **self.cfg.boosted)}
        models = {name: made[name]() for name in self.names if name in made}
        if not models and not cfg.statistics:
            return None
        gae = CrossFitGAE(self.split, self.questions.merit, cfg.gae_folds, cfg.seed, **cfg.gae) if cfg.gae_folds \
            else None
        columns = PairColumns(self.split, PairStatistics(**cfg.columns), cfg.small_nodes, gae)
        described = self.describe | {"columns": list(columns.names), "scorers": {n: dict(cfg[n]) for n in models}}
        kept, path = None, self.folder.path / "checkpoints" / "statistics.pt"
        if self.resume and path.is_file():
            kept = load_checkpoint(path)
            if kept["describe"] != described:
                raise ValueError(f"{path} is of another run: give --out another folder, or the options it was made "
                                 f"with")
        fit_pairs = None if cfg.statistics else cfg.fit_pairs  # networks read those of all
        scorers = StatisticScorers(self.split, self.questions, columns, models, fit_pairs, cfg.seed,
                                   None if kept is None else kept["models"])
        self.keep_statistics = lambda: save_checkpoint(path, {"describe": described, "models": scorers.state_dict()})
        return scorers

    def scorers(self) -> Iterator[tuple[str, Scores]]:
        """Name and likelihoods of each scorer; networks are trained one after the other."""
        if self.statistics is not None:
            yield from self.statistics.scores().items()
        for name in self.names:
            if name in NETWORKS:
                yield name, self.questions.ask(self._train(name))

    def _train(self, name: str) -> SubgraphScorer:
        """A network on subgraphs with its best weights; a second one lies below ``rows/``."""
        cfg, chosen = self.cfg, dict(self.cfg.subgraphs)
        if chosen["hops"] == "auto":
            chosen["hops"] = choose_hops(self.split, lambda hops: PairSubgraphs(**{**chosen, "hops": hops}),
                                         seed=cfg.seed)
        scorer = SubgraphScorer(
            self.fabric, self.split, PairSubgraphs(**chosen), partial(self._network, name),
            (self.statistics.columns, self.statistics.train) if cfg.statistics else None, cfg.memory_gb, cfg.progress,
            cfg.seed, **cfg.training)
        trainer = Trainer(self.fabric, self.folder.path / "rows" / name if self.networks else self.folder.path,
                          checkpoint_every=cfg.checkpoint_every, progress=cfg.progress,
                          describe=self.describe | {"subgraphs": chosen, "classifier": scorer.spec})
        going_on = self.resume and trainer.checkpoint.is_file()
        if not going_on:
            self.write_inputs()
        history = trainer.fit(scorer.method, going_on)
        self.networks[name] = scorer, {"best_epoch": scorer.take_best(), "epochs": len(history), "subgraphs": chosen,
                                       "classifier": scorer.spec}
        return scorer

    def _network(self, name: str, train: SubgraphStore, dim: int) -> tuple[nn.Module, dict[str, Any]]:
        """A network on subgraphs, and what it is made with."""
        label = train.sizes_and_labels()[1]
        if name == "max":
            spec = {"dim": max(dim, 1), "num_labels": label + 1, "head": "max", **self.cfg.gcn}
            return PairClassifier(**spec), {"class_path": "mprd_pyg.models.PairClassifier", "init_args": spec}
        spec = {"dim": dim, "num_labels": label + 1, "sort_k": nodes_to_keep(train, self.cfg.sort_k), **self.cfg.dgcnn}
        return DGCNN(**spec), {"class_path": "mprd_pyg.link_prediction.DGCNN", "init_args": spec}

    def baseline(self, name: str) -> Scores:
        """A heuristic's scores, or those of PyG's network, trained here."""
        cfg, split, questions = self.cfg, self.split, self.questions
        if name == "gae":
            model = train_gae(split.graph, split.links("train"), questions.merit, seed=cfg.seed,
                              device=self.fabric.device, **cfg.gae)
            return questions.ask(partial(gae_logits, model))
        if name == "lpformer":
            return questions.ask(LPFormerBaseline(split, questions.merit, seed=cfg.seed, **cfg.lpformer))
        return questions.ask(HEURISTICS[name])

    # -- the run folder ------------------------------------------------------------------------------------------------

    def write_inputs(self) -> None:
        """``config.yaml`` and ``split.parquet``."""
        saved = self.cfg.clone()
        for key in ("config", "resume", "out", "devices", "pairs"):  # what belongs to one call only
            saved.pop(key, None)
        self.folder.write_text("config.yaml", self.parser.dump(saved, skip_unset=False))
        self.folder.write_table("split.parquet", self.split.table())

    def finish(self, result: str, scorers: dict[str, Scores], baselines: dict[str, Scores]) -> None:
        """Write tables, figures and report, and print the figures; rank 0's, the others only score asked pairs."""
        cfg, folder, statistics, graph = self.cfg, self.folder, self.statistics, self.graph
        answers, memory = None if self.pairs is None else self._answers(result), peak_memory(self.fabric.device)
        if not processes.is_first():
            return
        self.write_inputs()
        figures = {name: self.questions.figures(scores, cfg.hits) for name, scores in (scorers | baselines).items()}
        table = self.split.table()
        table = table[table["part"] != "train"].reset_index(drop=True)
        for name, score in ({"likelihood": scorers[result]} | scorers | baselines).items():
            table[name] = _parts(score).numpy()
        folder.write_table("predictions.parquet", table)
        folder.write_table("calibration.parquet", calibration(self.split, scorers))
        if statistics is not None:
            self.keep_statistics()
            folder.write_table("pair_statistics.parquet", pd.DataFrame(
                _parts(statistics.asked).float().numpy(), columns=list(statistics.columns.names)))
            if statistics.models:
                folder.write_table("importance.parquet", statistics.importance())
        if answers is not None:
            folder.write_table("likelihoods.parquet", answers)
        folder.write_results({
            "pipeline": "link_prediction", "seed": cfg.seed, "result": result, "metrics": figures[result],
            "processes": processes.count(), "peak_memory_mb": memory,
            "scorers": {name: figures[name] for name in scorers},
            "baselines": {name: figures[name] for name in baselines},
            "validation": {"measure": "mrr" if cfg.negatives == "heart" else "auc",
                           **{name: self.questions.worth(scores) for name, scores in scorers.items()}},
            "negatives": cfg.negatives, "networks": {name: facts for name, (_, facts) in self.networks.items()},
            "statistics": statistics.columns.names if statistics else None,
            "graph": {"file": cfg.graph, "fingerprint": graph.fingerprint, "nodes": graph.num_nodes,
                      "links": len(graph.links), "features": 0 if graph.x is None else graph.x.shape[1],
                      "left_out": graph.cleaned},
            "counts": {part: {"links": int(label.sum()), "negatives": int((1 - label).sum())}
                       for part, label in self.split.label.items()},
            "asked_pairs": 0 if self.pairs is None else len(self.pairs),
            "seconds": round(time.monotonic() - self.started, 1)})
        report = try_report(folder.path)
        print(f"\n{cfg.graph}: {graph.num_nodes} nodes, {len(graph.links)} links; the result is {result}\n"
              f"{table_of(figures)}\nrun folder: {folder.path}" + (f"\nreport: {report}" if report else ""))

    def _answers(self, result: str) -> pd.DataFrame:
        """The asked pairs with whether they are linked, and how likely."""
        whole, table, simple = self.graph.observed(self.graph.links), self.graph.table(self.pairs), {}
        if self.statistics is not None and self.statistics.models:
            columns = self.statistics.columns(whole, self.pairs)
            simple = {name: model.likelihood(columns) for name, model in self.statistics.models.items()}
        answers = simple | {name: scorer(whole, self.pairs) for name, (scorer, _) in self.networks.items()}
        answers["mean"] = mean_likelihood(answers)
        table["linked"], table["likelihood"] = self.graph.has(self.pairs).numpy(), answers[result].numpy()
        return table


def table_of(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """The closing table, in percent: a line per part and scorer."""
    names = list(next(iter(figures.values()))["test"])
    lines = [f"{'':12s}{'':20s}" + "".join(f"{name:>13s}" for name in names)]
    for part in PARTS:
        for scorer, of_part in figures.items():
            values = (of_part[part][name] for name in names)
            lines.append(f"{part:12s}{scorer:20s}" + "".join(
                f"{'-':>13s}" if value != value else f"{100 * value:13.2f}" for value in values))
    return "\n".join(lines)


def _parts(score: Scores) -> Tensor:
    return torch.cat([score[part] for part in PARTS])
