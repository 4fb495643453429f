"""A run to look at when there is none: MPRD on a few generated pedestrians."""
import tempfile
from pathlib import Path

from pipelines import mprd
from pipelines.command_line import cli

OPTIONS = {
    "synthetic.identities": "[10,4]", "synthetic.cameras": 2, "synthetic.images_per_camera": 3,
    "synthetic.distractors": 0, "synthetic.junk": 0, "data.height": 64, "data.width": 32, "network.last_stage": 2,
    "pretrain": "false", "knn.k": 5, "meta_identities": 2, "gcn.hidden": 32, "gcn_training.lr": 0.01,
    "method.epochs": 3, "learner.batch_size": 16, "accelerator": "cpu", "progress": "false"}


def tiny_run(folder: str | Path | None = None) -> Path:
    """Train for three epochs on 60 drawn images, about a minute on one core; returns the run folder.

    Args:
        folder: to make it in; a folder that holds a run already is taken as it is. None makes a temporary one.
    """
    folder = Path(tempfile.mkdtemp(prefix="mprd-")) / "run" if folder is None else Path(folder)
    if not (folder / "results.json").is_file():
        argv = [part for name, value in OPTIONS.items() for part in (f"--{name}", str(value))]
        resume = ["--resume", str(folder)] if (folder / "config.yaml").is_file() else ["--out", str(folder), *argv]
        if cli.main(mprd.make_parser(), mprd.run, resume):
            raise RuntimeError(f"the tiny run in {folder} did not end well")
    return folder
