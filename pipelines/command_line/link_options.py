"""Options of link prediction, its scorers and baselines made from them, and the tables they leave in the run folder."""
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pandas as pd
import torch
from jsonargparse import Namespace
from torch import Tensor, nn

from mprd_pyg.graph import NeighbourLists, PairStatistics, PairSubgraphs
from mprd_pyg.link_prediction import (
    DGCNN,
    HEURISTICS,
    SEAL,
    CrossFitGAE,
    LinkSplit,
    LPFormerBaseline,
    PairColumns,
    Questions,
    Scores,
    SubgraphStore,
    gae_logits,
    read_graph,
    split_links,
    train_gae,
)
from mprd_pyg.models import PairClassifier
from mprd_pyg.models.pairs import (
    BoostedPairs,
    JoinedStatistics,
    LogisticPairs,
    PairModel,
    Standardisation,
    permutation_importance,
)
from mprd_pyg.models.pairs.pair_model import calibrated
from mprd_pyg.random_streams import stream
from mprd_pyg.training.checkpoint import load_checkpoint, save_checkpoint
from pipelines.command_line import cli
from pipelines.runs.run_folder import RunFolder

PARTS = ("validation", "test")
NETWORKS = ("dgcnn", "max")
SCORERS = ("auto", "logistic", "boosted", "mean", *NETWORKS)
BASELINES = (*HEURISTICS, "gae", "lpformer")


def add_link_options(parser: cli.Parser) -> None:
    """Flags and YAML keys: the typed parameters of the parts."""
    parser.add_argument("--graph", type=str, required=True, help=read_graph.__doc__.split("path: ")[1].split("key:")[0])
    parser.add_argument("--key", type=str, default="net", help="name of the matrix in a .mat file")
    parser.add_argument("--features", type=bool, default=True, help="use node features where the file has them")
    parser.add_argument("--pairs", type=str | None, default=None,
                        help="text file of node pairs to score with the trained model, as an edge list")
    parser.add_function_arguments(split_links, "split", skip={"graph", "seed"})
    parser.add_argument("--scorer", type=list[Literal[SCORERS]], default=["auto", "logistic", "boosted", "mean"],
                        help="what scores pairs; the first is the result. logistic, boosted: on pair statistics; dgcnn "
                             "(SEAL's), max (MPRD's): networks on subgraphs; mean: of the logits of those; auto: the "
                             "best of the others on the validation pairs; mean, unless another is clearly better")
    parser.add_argument("--negatives", type=Literal["random", "heart"], default="random",
                        help="heart: each link also has negatives of its own, which simple scores believe most")
    parser.add_argument("--negatives_each", type=int, default=500, help="of each link with heart")
    parser.add_class_arguments(PairStatistics, "columns", instantiate=False)
    parser.add_argument("--small_nodes", type=int, default=10_000,
                        help="graphs with more nodes do without the slowest statistics (unless named by columns)")
    parser.add_argument("--fit_pairs", type=int, default=400_000,
                        help="training pairs that logistic and boosted learn from, at most; drawn at random")
    parser.add_argument("--gae_folds", type=int, default=0,
                        help="folds of a cross-fitted auto-encoder whose logit is one more statistic; 0: none")
    parser.add_class_arguments(LogisticPairs, "logistic", instantiate=False)
    parser.add_class_arguments(BoostedPairs, "boosted", instantiate=False, skip={"seed"})
    parser.add_argument("--statistics", type=bool, default=False, help="networks read the statistics too")
    parser.add_class_arguments(PairSubgraphs, "subgraphs", skip={"hops"}, instantiate=False)
    parser.add_argument("--subgraphs.hops", "--hops", type=int | Literal["auto"], default="auto",
                        help="steps to walk from the pair; auto chooses 1, 2 or 3 on the validation pairs")
    parser.set_defaults({"subgraphs.edges": "induced"})
    parser.add_argument("--sort_k", type=float, default=0.6,
                        help="nodes kept by dgcnn; at most 1: so many that this fraction of the training subgraphs has "
                             "no more, and at least 10")
    parser.add_class_arguments(DGCNN, "dgcnn", skip={"dim", "num_labels", "sort_k"}, instantiate=False)
    parser.add_class_arguments(PairClassifier, "gcn", skip={"dim", "num_labels", "head", "sort_k"}, instantiate=False)
    parser.add_class_arguments(SEAL, "training", instantiate=False, skip={
        "fabric", "classifier", "train", "train_label", "validation", "validation_label", "x", "seed"})
    parser.add_argument("--memory_gb", type=float, default=1.0, help="memory for built subgraphs; 0 keeps none")
    parser.add_argument("--checkpoint_every", type=int, default=0, help="steps between checkpoints in an epoch")
    parser.add_argument("--baselines", type=list[Literal[BASELINES]], default=list(HEURISTICS),
                        help="scored beside; katz and ppr take long on graphs of 100,000 nodes and more, gae and "
                             "lpformer (PyG's, trained until the validation pairs are told no better) on any")
    parser.add_function_arguments(train_gae, "gae", skip={"graph", "links", "merit", "seed", "device"})
    parser.add_class_arguments(LPFormerBaseline, "lpformer", skip={"split", "merit", "seed"}, instantiate=False)
    parser.add_argument("--hits", type=list[int], default=[10, 50, 100], help="the K of Hits@K")


def check_scorers(names: list[str]) -> list[str]:
    """The scorers to make, without ``auto``; raise ValueError where it has nothing to choose from."""
    made = [name for name in dict.fromkeys(names) if name != "auto"]
    if not made or made == ["mean"]:
        raise ValueError(f"--scorer {names} names nothing that learns: add logistic, boosted, dgcnn or max")
    return made


class StatisticScorers:
    """Classifiers on pair statistics, fitted on the training pairs and calibrated on the validation pairs.

    Args:
        cfg: options.
        split: pairs.
        questions: what will be asked; their columns are computed once.
        names: of ``logistic`` and ``boosted``, those wanted.
        path: the fitted classifiers are written to; read from there where ``resume``.
        describe: of the run; a file of another run is refused.
        resume: go on from the file where there is one.
    """

    def __init__(self, cfg: Namespace, split: LinkSplit, questions: Questions, names: list[str], path: Any,
                 describe: dict[str, Any], resume: bool):
        gae = CrossFitGAE(split, questions.merit, cfg.gae_folds, cfg.seed, **cfg.gae) if cfg.gae_folds else None
        self.columns = PairColumns(split, PairStatistics(**cfg.columns), cfg.small_nodes, gae)
        count = len(split.pairs["train"])
        rows = torch.arange(count)
        if count > cfg.fit_pairs and not cfg.statistics:  # networks read those of all
            rows = torch.randperm(count, generator=stream(cfg.seed, 27))[:cfg.fit_pairs]
        self.train, self.asked = self.columns.train(rows), questions.ask(self.columns)
        self.models: dict[str, PairModel] = {}
        describe = describe | {"columns": list(self.columns.names), "scorers": {
            name: dict(cfg[name]) for name in names}}
        saved = load_checkpoint(path) if resume and path.is_file() else None
        if saved is not None and saved["describe"] != describe:
            raise ValueError(f"{path} is of another run: give --out another folder, or the options it was made with")
        made: dict[str, Callable[[], PairModel]] = {
            "logistic": lambda: LogisticPairs(**cfg.logistic),
            "boosted": lambda: BoostedPairs(seed=cfg.seed, **cfg.boosted)}
        for name in names:
            model = self.models[name] = made[name]()
            if saved is None:
                model.fit(self.train, split.label["train"][rows])
                # Calibrated only: trees counted on the validation pairs would win the choice among scorers there.
                model.slope, model.shift = calibrated(model.likelihood(self.asked["validation"]).clamp(
                    1e-12, 1 - 1e-12).logit(), split.label["validation"])
            else:
                model.load_state_dict(saved["models"].get(name, {}))
        self.state = {"describe": describe, "models": {name: model.state_dict() for name, model in self.models.items()}}
        self.path = path

    def save(self) -> None:
        """Write the fitted classifiers."""
        save_checkpoint(self.path, self.state)

    def importance(self, label: Tensor, seed: int) -> pd.DataFrame:
        """``scorer, statistic, auc_lost``: permutation importance on the validation pairs."""
        return pd.concat([pd.DataFrame({
            "scorer": name, "statistic": self.columns.names,
            "auc_lost": permutation_importance(model, self.asked["validation"], label, seed=seed).numpy()})
            for name, model in self.models.items()], ignore_index=True)


def build_classifier(cfg: Namespace, name: str, dim: int, train: SubgraphStore) -> tuple[nn.Module, dict[str, Any]]:
    """A network on subgraphs, and what it was made with."""
    size, label = train.sizes_and_labels()
    if name == "max":
        spec = {"dim": max(dim, 1), "num_labels": label + 1, "head": "max", **cfg.gcn}
        network, path = PairClassifier(**spec), "mprd_pyg.models.PairClassifier"
    else:
        sort_k = int(cfg.sort_k)
        if cfg.sort_k <= 1:
            sort_k = max(10, int(size.kthvalue(math.ceil(cfg.sort_k * len(size)))[0]))
        spec = {"dim": dim, "num_labels": label + 1, "sort_k": sort_k, **cfg.dgcnn}
        network, path = DGCNN(**spec), "mprd_pyg.link_prediction.DGCNN"
    described = {"class_path": path, "init_args": spec}
    if train.statistics is None:
        return network, described
    count = train.statistics.shape[1]
    return JoinedStatistics(network, count), described | {"statistics": count}


class SubgraphScorer:
    """A network on subgraphs, as a method of the trainer and then as a calibrated scorer.

    Args:
        cfg: options.
        name: ``dgcnn`` or ``max``.
        fabric: device.
        split: pairs.
        subgraphs: how they are cut out.
        statistics: where the network reads pair statistics, their columns and those of the training pairs.
    """

    def __init__(self, cfg: Namespace, name: str, fabric: Any, split: LinkSplit, subgraphs: PairSubgraphs,
                 statistics: tuple[PairColumns, Tensor] | None):
        self.subgraphs, self.split, self.progress = subgraphs, split, cfg.progress
        self.columns = self.standardise = None
        if statistics is not None:
            self.columns, self.standardise = statistics[0], Standardisation(statistics[1].shape[1]).fit(statistics[1])
        known = None if statistics is None else self.standardise(statistics[1])
        train = self._store(split.observed("train"), split.pairs["train"], cfg.memory_gb, known, split.label["train"])
        self.validation = self._store(split.observed("validation"), split.pairs["validation"], cfg.memory_gb,
                                      label=split.label["validation"])
        x = split.graph.x
        network, self.spec = build_classifier(cfg, name, 0 if x is None else x.shape[1], train)
        self.method = SEAL(fabric, network, train, self.validation, x, seed=cfg.seed, **cfg.training)

    def _store(self, graph: Any, pairs: Tensor, memory_gb: float = 0, columns: Tensor | None = None,
               label: Tensor | None = None) -> SubgraphStore:
        if self.columns is not None and columns is None:
            columns = self.standardise(self.columns(graph, pairs))
        return SubgraphStore(self.subgraphs, NeighbourLists.from_graph(graph), pairs, memory_gb,
                             progress="subgraphs" if self.progress else "", statistics=columns, label=label)

    def take_best(self) -> int:
        """Put the best epoch's weights in place and calibrate on the validation pairs; returns that epoch."""
        best = self.method.take_best()
        self.slope, self.shift = calibrated(self.method.logits(self.validation).double(),
                                            self.split.label["validation"])
        return best

    def __call__(self, graph: Any, pairs: Tensor) -> Tensor:
        """Likelihoods of pairs (P, 2) in a graph -> (P,)."""
        logits = self.method.logits(self._store(graph, pairs), "pairs" if self.progress else "")
        return (self.slope * logits.double() + self.shift).sigmoid()


def ask_baseline(name: str, cfg: Namespace, split: LinkSplit, questions: Questions, device: torch.device) -> Scores:
    """A heuristic's scores, or those of PyG's network, trained here."""
    if name == "gae":
        model = train_gae(split.graph, split.links("train"), questions.merit, seed=cfg.seed, device=device, **cfg.gae)
        return questions.ask(partial(gae_logits, model))
    if name == "lpformer":
        return questions.ask(LPFormerBaseline(split, questions.merit, seed=cfg.seed, **cfg.lpformer))
    return questions.ask(HEURISTICS[name])


def mean_likelihood(scores: dict[str, Tensor]) -> Tensor:
    """Of the mean logit of several scorers' likelihoods (P,)."""
    return torch.stack([score.double().clamp(1e-12, 1 - 1e-12).logit() for score in scores.values()]).mean(0).sigmoid()


def with_mean(scores: dict[str, Scores]) -> dict[str, Scores]:
    """The scorers and their mean, which comes last."""
    return scores | {"mean": {name: mean_likelihood({scorer: of[name] for scorer, of in scores.items()})
                              for name in next(iter(scores.values()))}}


def calibration(split: LinkSplit, scores: dict[str, Scores], bins: int = 10) -> pd.DataFrame:
    """``scorer, part, bin, pairs, likelihood, frequency``: mean likelihood and share of links of pairs in each bin."""
    rows = [pd.DataFrame({"scorer": scorer, "part": part, "likelihood": score[part].numpy(),
                          "label": split.label[part].numpy()}) for scorer, score in scores.items() for part in PARTS]
    table = pd.concat(rows, ignore_index=True)
    table["bin"] = (table["likelihood"] * bins).astype(int).clip(upper=bins - 1)
    return table.groupby(["scorer", "part", "bin"], sort=False).agg(
        pairs=("label", "size"), likelihood=("likelihood", "mean"), frequency=("label", "mean")).reset_index()


def write_predictions(folder: RunFolder, split: LinkSplit, result: str, scorers: dict[str, Scores],
                      baselines: dict[str, Scores], columns: tuple[tuple[str, ...], Scores] | None) -> None:
    """``predictions.parquet``: validation and test pairs with the result's ``likelihood``, every scorer's and the
    baselines' scores; ``pair_statistics.parquet``: their statistics, in the same order."""
    def joined(score: Scores) -> Tensor:
        return torch.cat([score[part] for part in PARTS])
    table = split.table()
    table = table[table["part"] != "train"].reset_index(drop=True)
    table["likelihood"] = joined(scorers[result]).numpy()
    for name, score in (scorers | baselines).items():
        table[name] = joined(score).numpy()
    folder.write_table("predictions.parquet", table)
    if columns is not None:
        folder.write_table("pair_statistics.parquet", pd.DataFrame(joined(columns[1]).float().numpy(),
                                                                   columns=list(columns[0])))
