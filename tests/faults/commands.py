"""Small commands that are disturbed: what they are given, and what an undisturbed one leaves."""
import hashlib
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from mprd_pyg.data import write_synthetic
from mprd_pyg.graph import PairSubgraphDataset
from mprd_pyg.retrieval.gallery_files import load_gallery
from mprd_pyg.training import load_checkpoint
from tests.faults.conftest import TINY
from tests.faults.formats import plain, write_archive, write_graph

DRAWN = {"identities": (5, 4), "cameras": 2, "images_per_camera": 2, "height": 48, "width": 24, "distractors": 0,
         "junk": 0}
IMAGES = ["--data.card", "synthetic", "--data.height", "48", "--data.width", "24", "--progress", "false",
          "--accelerator", "cpu"]
PATCHES = ["--network.class_path", "paul.PatchNet", "--network.init_args.arch", "resnet18",
           "--network.init_args.last_stage", "1", "--network.init_args.weights", "null", "--network.init_args.dim", "8",
           "--pretrain", "false", "--learner.batch_size", "8", "--method.epochs", "2"]
SMALL = ["--network.arch", "resnet18", "--network.last_stage", "1", "--network.weights", "null", "--pretrain", "false",
         "--learner.batch_size", "8", "--method.epochs", "2"]


@dataclass
class Command:
    """A pipeline with options; ``{out}`` in them is its folder, ``{folder}`` the one with what all read."""

    pipeline: str
    options: list[str]
    resumes: bool = True  # by --resume; otherwise the same command again goes on
    seconds: float = 0.0  # what an undisturbed one took

    @property
    def module(self) -> ModuleType:
        name = "experiments.__main__" if self.pipeline == "experiments" else self.pipeline
        return import_module(f"pipelines.{name}")

    def argv(self, folder: Path, out: Path) -> list[str]:
        if self.resumes and (out / "config.yaml").is_file():
            return ["--resume", str(out)]
        return [part.format(folder=folder, out=out) for part in self.options]

    def process(self, folder: Path, out: Path) -> list[str]:
        """Its command line as a process of its own."""
        return [sys.executable, "-m", f"pipelines.{self.pipeline}", *self.argv(folder, out)]


DATA = ["--data.root", "{folder}/data", "--out", "{out}"]
COMMANDS = {
    "mprd": Command("mprd", [*TINY, *DATA]),
    "mprd, GCN": Command("mprd", ["--config", "mprd/tiny.yaml", *IMAGES, *SMALL, *DATA]),
    "mprd, drawing its data": Command("mprd", [*TINY, "--out", "{out}", "--synthetic.identities", "[5,4]",
                                               "--synthetic.cameras", "2", "--synthetic.images_per_camera", "2",
                                               "--synthetic.distractors", "0", "--synthetic.junk", "0"]),
    "paul": Command("paul", [*IMAGES, *PATCHES, "--ablation", "false", *DATA]),
    "patch_mprd": Command("patch_mprd", [*IMAGES, *PATCHES, "--meta_identities", "2", *DATA]),
    "pretrain": Command("pretrain", [*IMAGES, "--network.class_path", "mprd_pyg.models.ImageEmbedder",
                                     "--network.init_args.arch", "resnet18", "--network.init_args.last_stage", "1",
                                     "--network.init_args.weights", "null", "--learner.batch_size", "8",
                                     "--method.epochs", "2", *DATA]),
    "cluster_contrast": Command("cluster_contrast", [*IMAGES, *SMALL, *DATA]),
    "link_prediction": Command("link_prediction", ["--graph", "{folder}/graph.txt", "--out", "{out}", "--scorer",
                                                   "[dgcnn,logistic]", "--training.epochs", "2", "--progress", "false",
                                                   "--accelerator", "cpu", "--subgraphs.hops", "1"]),
    "experiments": Command("experiments", ["{folder}/table.yaml", "--card", "synthetic", "--data.root", "{folder}/data",
                                           "--out", "{out}", "--accelerator", "cpu", "--base", "{folder}/tiny.yaml"],
                           False),
    "search": Command("search", ["--checkpoint", "{folder}/mprd", "--gallery", "{folder}/data", "--index", "{out}",
                                 "--accelerator", "cpu", "--progress", "false", "--workers", "2"], False),
    "extract": Command("extract", ["--archive", "{folder}/x.zip", "--out", "{out}"], False),
    "camera_style": Command("camera_style", ["--data.card", "synthetic", "--data.root", "{folder}/data", "--out",
                                             "{out}", "--progress", "false"], False)}


def write_inputs(folder: Path) -> None:
    """What the commands read, but the run ``mprd``, which is made by its command."""
    write_synthetic(folder / "data", **DRAWN)
    np.random.seed(0)
    write_archive(folder, "x.zip")
    write_graph(folder, "txt")
    (folder / "tiny.yaml").write_text(
        "data: {height: 48, width: 24}\nnetwork: {arch: resnet18, last_stage: 1, weights: null}\npretrain: false\n"
        "meta_identities: 0\nrelation: KNearest\nlearner: {batch_size: 8}\nmethod: {epochs: 1}\n")
    (folder / "table.yaml").write_text('title: "T"\npipeline: mprd\nmetrics: [mAP]\nrows:\n'
                                       '  - {name: "k = 8", options: {knn.k: 8}}\n')


def left_behind(command: Command, out: Path) -> Any:
    """What a finished command left: states and tables that do not depend on the time."""
    if command.pipeline == "search":
        index, table, about = load_gallery(out)
        return [np.asarray(index.reconstruct_n(0, index.ntotal)).tolist(), table.to_csv(), about]
    if command.pipeline in ("extract", "camera_style"):
        return {path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(out.rglob("*")) if path.is_file()}
    if command.pipeline == "experiments":
        (out,) = (path.parent for path in out.rglob("results.json"))
    found = {"state": plain(load_checkpoint(out / "checkpoints" / "last.pt")["method"])}
    tables = [path for path in sorted(out.rglob("*.parquet")) if "evaluation" not in path.parts]
    found |= {path.relative_to(out).as_posix(): pd.read_parquet(path).to_csv() for path in tables}
    if (out / "subgraphs").is_dir():
        store = PairSubgraphDataset(out / "subgraphs")
        found["subgraphs"] = [store.table.to_csv(), plain(store.batch().to_dict())]
    return found
