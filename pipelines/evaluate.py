"""Evaluate any checkpoint on any card.

python -m pipelines.evaluate --checkpoint runs/NAME/checkpoints/last.pt --data.card market1501 --data.root DIR
"""
import sys
import time

import pandas as pd
from jsonargparse import Namespace

from mprd_pyg import processes
from mprd_pyg.evaluation import mean_and_spread
from mprd_pyg.models.embedding import embed_images
from pipelines.command_line import cli
from pipelines.command_line.dataset import DataOptions, Dataset
from pipelines.command_line.launch import make_fabric
from pipelines.command_line.ranking import flat_metrics, nested, rank_features, table_of
from pipelines.report import try_report
from pipelines.runs.networks import load_network
from pipelines.runs.run_folder import RunFolder


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.make_parser("python -m pipelines.evaluate", __doc__.splitlines()[0], several=True)
    parser.add_argument("--checkpoint", type=str, required=True, help="a run's checkpoints/last.pt, or its folder")
    parser.add_argument("--all_splits", type=bool, default=False,
                        help="mean and standard deviation over all splits of a card with repeated ones; for a network "
                             "that was not trained on any of them")
    parser.add_class_arguments(DataOptions, "data", instantiate=False, skip={"height", "width"})
    return parser


def choose_splits(dataset: Dataset, asked: int | None, every: bool, trained: list | None) -> list[int | None]:
    """The numbers of the splits to evaluate; refused where the network has trained on identities that would test.

    Args:
        dataset: with the card's split, or the one asked for.
        asked: ``--data.split``.
        every: ``--all_splits``.
        trained: (card, number) of the split that the network was trained on.
    """
    repeats, card = dataset.card.repeats, dataset.card.name
    if every and repeats is None:
        raise ValueError(f"--all_splits: the card {card!r} has one fixed split")
    numbers = list(range(repeats.count)) if every else [asked]
    if trained and trained[0] == card:
        if every or asked not in (None, trained[1]):
            raise ValueError(f"the network was trained on split {trained[1]} of {card!r}; other splits test identities "
                             f"that it has seen. Evaluate it with --data.split {trained[1]}, and train one network "
                             "for each split")
        numbers = [trained[1]]
    return numbers


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Rank and score."""
    started = time.monotonic()
    fabric = make_fabric(parser, cfg, lambda reason: f"{parser.prog}: error: {reason}")
    network, about = load_network(cfg.checkpoint)
    (height, width), trained = about["size"], about.get("repeated_split")
    dataset = Dataset(DataOptions(**cfg.data, height=height, width=width))
    numbers = choose_splits(dataset, dataset.options.split, cfg.all_splits, trained)
    parts = [dataset if number in (None, dataset.card.split) else dataset.at_split(number) for number in numbers]
    for part in parts:
        reason = part.why_not_evaluable()
        if reason:
            raise ValueError(f"{dataset.frame.attrs['root']} cannot be evaluated: {reason}")
    folder = RunFolder(cfg.out, "evaluate")
    frame = parts[0].test[0] if len(parts) == 1 else dataset.frame  # of several splits, each image tests in some
    x = embed_images(network.to(fabric.device), dataset.store(frame), device=fabric.device,
                     workers=dataset.options.workers, progress="features" if cfg.progress else "")
    if not processes.is_first():
        return  # the first ranks
    place = pd.Series(range(len(frame)), index=frame["path"])
    results = [rank_features(part, x[place[part.test[0]["path"]].tolist()], part.draws) for part in parts]
    per_split = [nested(flat_metrics(result)) for result in results]
    metrics, last = per_split[0], parts[-1]
    if len(parts) > 1:
        metrics = {mode: mean_and_spread([split[mode] for split in per_split]) for mode in metrics}
    folder.write_rankings(*last.test, results[-1])
    folder.write_protocol(*(part.protocol() for part in parts))
    folder.write_results({"pipeline": "evaluate", "checkpoint": str(cfg.checkpoint), "card": last.card.name,
                          "seed": cfg.seed, "metrics": metrics, "counts": last.counts(),
                          "processes": processes.count(),
                          "splits": dict(zip(numbers, per_split, strict=True)) if len(parts) > 1 else {},
                          "data": {"fingerprint": last.fingerprint, **last.describe_split(),
                                   "deviations": last.card.deviations(last.frame)},
                          "seconds": round(time.monotonic() - started, 1)})
    figures = {f"{mode}/{name}": value for mode, row in metrics.items() for name, value in row.items()}
    what = last.card.name + (f", mean and standard deviation over {len(parts)} splits" if len(parts) > 1 else "")
    report = try_report(folder.path)
    print(f"{what}\n{table_of({'': figures})}\nrun folder: {folder.path}" + (f"\nreport: {report}" if report else ""))


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
