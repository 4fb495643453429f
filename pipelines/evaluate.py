"""Evaluate any checkpoint on any card.

python -m pipelines.evaluate --checkpoint runs/NAME/checkpoints/last.pt --data.card market1501 --data.root DIR
"""
import sys
import time
from pathlib import Path

from jsonargparse import Namespace
from lightning_fabric import Fabric
from torch import nn

from mprd_pyg.training import load_checkpoint
from mprd_pyg.training.checkpoint import load_weights
from pipelines import cli
from pipelines.dataset import DataOptions, Dataset
from pipelines.networks import network_of
from pipelines.ranking import flat_metrics, nested, ranker, table_of
from pipelines.run_folder import RunFolder


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.make_parser("python -m pipelines.evaluate", __doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=str, required=True, help="a run's checkpoints/last.pt, or its folder")
    parser.add_class_arguments(DataOptions, "data", instantiate=False, skip={"height", "width"})
    return parser


def load_network(path: str | Path) -> tuple[nn.Module, list[int]]:
    """The trained network of a checkpoint, and the (height, width) it was trained at."""
    path = Path(path)
    path = path / "checkpoints" / "last.pt" if path.is_dir() else path
    state = load_checkpoint(path)
    describe = state.get("describe", {})
    if "network" not in describe or "embedder" not in state.get("method", {}):
        raise ValueError(f"{path} does not say which network it holds: it is no checkpoint of a training pipeline")
    network = network_of(describe["network"], str(path))
    load_weights(network, state["method"]["embedder"], str(path))
    return network, describe["size"]


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Rank and score."""
    started = time.monotonic()
    network, (height, width) = load_network(cfg.checkpoint)
    dataset = Dataset(DataOptions(**cfg.data, height=height, width=width))
    reason = dataset.why_not_evaluable()
    if reason:
        raise ValueError(f"{dataset.frame.attrs['root']} cannot be evaluated: {reason}")
    folder = RunFolder(cfg.out, "evaluate")
    fabric = Fabric(accelerator=cfg.accelerator, devices=1)
    results = ranker(dataset, network.to(fabric.device), fabric.device, cfg.progress)()
    figures = flat_metrics(results)
    folder.write_rankings(*dataset.test, results)
    folder.write_results({"pipeline": "evaluate", "checkpoint": str(cfg.checkpoint), "card": dataset.card.name,
                          "seed": cfg.seed, "metrics": nested(figures), "counts": dataset.counts(),
                          "data": {"fingerprint": dataset.fingerprint,
                                   "deviations": dataset.card.deviations(dataset.frame)},
                          "seconds": round(time.monotonic() - started, 1)})
    print(f"{dataset.card.name}\n{table_of({'': figures})}\nrun folder: {folder.path}")


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
