"""The one reader of a run folder."""
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from mprd_pyg.evaluation.pairs import pair_truth
from mprd_pyg.graph import KNNGraph, PairSubgraphDataset, PairSubgraphs
from mprd_pyg.training import load_checkpoint
from pipelines.runs.networks import checkpoint_path, load_network
from pipelines.runs.run_files import RunFiles

NAMES = {"mprd": "MPRD", "paul": "PAUL", "patch_mprd": "PatchMPRD", "pretrain": "Supervised pre-training",
         "cluster_contrast": "Cluster contrast", "link_prediction": "Link prediction"}
PAIR_KEY = ["epoch", "branch", "anchor", "neighbour"]


class Run(RunFiles):
    """A run folder, of a finished or unfinished run; files are read when they are asked for.

    Every attribute and method raises FileNotFoundError for a file that the folder lacks, and ValueError for one that
    is damaged; both name the file and the remedy.

    Args:
        folder: run folder.
        image_root: folder of the images, when they have moved since.

    Raises:
        FileNotFoundError: it is no run folder.
    """

    def __init__(self, folder: str | Path, image_root: str | Path | None = None):
        super().__init__(folder)
        self._image_root = image_root
        if not any(map(self.has, ("run.json", "results.json", "config.yaml"))):
            raise FileNotFoundError(f"{folder} is no run folder: none of run.json, results.json and config.yaml is "
                                    f"there. Give the folder that a pipeline printed as its run folder")

    def __repr__(self) -> str:
        return f"Run({self.folder})"

    # What was run

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    @cached_property
    def record(self) -> dict[str, Any]:
        """``run.json``, what was known at the start; empty for a command that writes none."""
        return self.mapping("run.json")

    @cached_property
    def results(self) -> dict[str, Any]:
        """``results.json``; empty until the run is finished."""
        return self.mapping("results.json")

    def fact(self, name: str, default: Any = None) -> Any:
        """A value of the results, or else of the record."""
        value = self.results.get(name)
        return self.record.get(name, default) if value is None else value

    @property
    def pipeline(self) -> str:
        """Name of the command that made it, such as ``"mprd"``; ``"run"`` if unknown."""
        return self.record.get("pipeline") or self.results.get("pipeline") or "run"

    @property
    def title(self) -> str:
        """The method in words."""
        return NAMES.get(self.pipeline, self.pipeline)

    @property
    def data_name(self) -> str:
        """Name of the data card, or of the graph file."""
        graph = Path(str(self.results.get("graph", {}).get("file", ""))).name
        return self.record.get("card", {}).get("name") or self.results.get("card") or graph or "unknown data"

    @property
    def fingerprint(self) -> str | None:
        """Hash of the image table."""
        return self.record.get("fingerprint") or self.results.get("data", {}).get("fingerprint")

    @cached_property
    def options(self) -> dict[str, Any]:
        """``config.yaml``: the resolved options, nested; empty for a command that writes none."""
        return self.mapping("config.yaml")

    # What it measured

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Ranking metrics of the test images, by mode and name; ValueError for a run without any."""
        self.existing("results.json")
        if not self.results.get("metrics"):
            why = "; ".join(self.results.get("missing") or ["it is no result of a pipeline that evaluates"])
            raise ValueError(f"{self.folder / 'results.json'} has no metrics: {why}")
        return self.results["metrics"]

    @property
    def seed(self) -> int:
        """Seed of everything random."""
        return self.fact("seed")

    @cached_property
    def history(self) -> pd.DataFrame:
        """One line per finished epoch."""
        return self.epoch_log("logs/history.csv")

    @cached_property
    def source_history(self) -> pd.DataFrame:
        """The same of the training on the labelled source; no lines without one."""
        return self.epoch_log("source/logs/history.csv")

    @cached_property
    def queries(self) -> pd.DataFrame:
        """Scores of each query, in every mode with a fixed gallery: the columns of :func:`query_table`."""
        return self.table("queries.parquet")

    @property
    def evaluations(self) -> list[str]:
        """Which evaluations were kept, in order: ``"before"`` and ``"after"`` training."""
        return [when for when in ("before", "after") if (self.folder / "evaluation" / when).is_dir()]

    def evaluated(self, name: str, when: str) -> pd.DataFrame:
        """A table of an evaluation: ``queries``, ``examples`` or ``cameras``."""
        return self.table(f"evaluation/{when}/{name}.parquet")

    def features(self, when: str) -> dict[str, np.ndarray]:
        """A sample of the test features of an evaluation: ``features``, ``path``, ``person_id``, ``camera_id``."""
        def reader(path: Path) -> dict[str, np.ndarray]:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in ("features", "path", "person_id", "camera_id")}
        return self.read(f"evaluation/{when}/features.npz", reader)

    # Its images

    @cached_property
    def images(self) -> pd.DataFrame:
        """The training table: row = memory slot = graph node."""
        return self.checked("images.parquet", self.table("images.parquet"), ["person_id", "camera_id"], ["path"])

    @property
    def rows(self) -> int:
        """How many rows of ``images``, the first ones, are nodes of the graph."""
        self.existing("run.json")
        return self.record["rows"]

    @cached_property
    def image_root(self) -> Path:
        """The folder that image paths are relative to."""
        if self._image_root is None:
            self.existing("run.json")
        root = (self.folder / self.record["root"] if self._image_root is None else Path(self._image_root)).absolute()
        first = self.images["path"].iloc[0]
        if not (root / first).is_file():
            raise FileNotFoundError(f"the images of {self.folder} are not below {root}: {first} does not exist there. "
                                    f"Give their folder: --image_root DIR")
        return root

    def image(self, path: str) -> Path:
        """The file of an image of the dataset."""
        if os.path.isabs(path) or ".." in path.split("/"):
            raise ValueError(f"{path!r} is no path below the data root")
        return self.image_root / path

    # Its judged pairs

    @cached_property
    def epochs(self) -> list[int]:
        """The epochs whose judged pairs were recorded; FileNotFoundError if there are none."""
        epochs = sorted(int(path.stem[6:]) for path in self.folder.glob("pairs/epoch_*.parquet"))
        if not epochs:
            raise FileNotFoundError(f"{self.folder} has no judged pairs: {self.title} judges none, or no epoch is "
                                    f"finished (go on with it by --resume {self.folder})")
        return epochs

    def judged(self, epoch: int, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The judged pairs of an epoch as they were recorded: rows of ``images``, one line per pair."""
        if epoch not in self.epochs:
            raise ValueError(f"epoch {epoch} has no pairs: {self.folder} has those of epochs "
                             f"{', '.join(map(str, self.epochs))}")
        name = f"pairs/epoch_{epoch:03d}.parquet"
        pairs = self.table(name, columns)
        ends = [column for column in ("anchor", "neighbour") if columns is None or column in columns]
        return self.checked(name, pairs, ends, rows=len(self.images))

    def pairs(self, epoch: int | None = None) -> pd.DataFrame:
        """The judged pairs of an epoch (the last by default), with the columns of ``PairSubgraphDataset.table``."""
        epoch = self.epochs[-1] if epoch is None else epoch
        return self.describe_pairs(self.judged(epoch).assign(epoch=epoch))

    def describe_pairs(self, pairs: pd.DataFrame) -> pd.DataFrame:
        """Complete a table of pairs (``anchor, neighbour, epoch``) by their paths, cameras, truth and what it lacks."""
        rows = {side: pairs[side].to_numpy() for side in ("anchor", "neighbour")}
        path, camera, person = (self.images[name].to_numpy() for name in ("path", "camera_id", "person_id"))
        truth = pair_truth(person[rows["anchor"]], person[rows["neighbour"]])
        lacking = {"branch": 0, "similarity": np.nan, "likelihood": np.nan, "believed": False}
        pairs = pairs.assign(
            **{f"{side}_path": path[row] for side, row in rows.items()},
            **{f"{side}_camera": camera[row] for side, row in rows.items()},
            truth=pd.arrays.BooleanArray(truth == 1, truth < 0),
            **{name: value for name, value in lacking.items() if name not in pairs})
        return pairs[["anchor", "neighbour", "anchor_path", "neighbour_path", "anchor_camera", "neighbour_camera",
                      "similarity", "likelihood", "believed", "truth", "epoch", "branch"]]

    @property
    def has_subgraphs(self) -> bool:
        """Whether subgraphs of judged pairs were saved."""
        return self.has("subgraphs/manifest.json")

    def subgraphs(self, **options: Any) -> PairSubgraphDataset:
        """The saved subgraphs of judged pairs."""
        return PairSubgraphDataset(self.folder / "subgraphs", image_root=self.image_root, **options)

    def find_subgraphs(self, pairs: pd.DataFrame) -> np.ndarray:
        """Places of pairs (``epoch, branch, anchor, neighbour``) among the saved subgraphs, -1 where not saved."""
        return find_pairs(pairs, self.subgraphs().table if self.has_subgraphs else pairs[:0])

    # Its last state

    @cached_property
    def checkpoint(self) -> dict[str, Any]:
        """``checkpoints/last.pt``."""
        return load_checkpoint(checkpoint_path(self.folder))

    def network(self) -> tuple[nn.Module, tuple[int, int]]:
        """The trained network, and the (height, width) it reads."""
        network, about = load_network(self.folder)
        return network.eval(), tuple(about["size"])

    @property
    def memory(self) -> Tensor:
        """The feature memory of the graph's nodes (M, rows, d)."""
        bank = self.checkpoint["method"].get("memory", {}).get("bank")
        if not isinstance(bank, Tensor) or bank.dim() != 3 or bank.shape[1] < self.rows:
            raise ValueError(f"{checkpoint_path(self.folder)} holds no memory to build a graph from "
                             f"({self.rows} rows expected)")
        return bank[:, :self.rows]

    @property
    def memory_epoch(self) -> int:
        """The epoch at whose end the memory was as it is in the checkpoint."""
        position = self.checkpoint["position"]
        return position["epoch"] - (position["phase"] == position["step"] == 0)

    def memory_graph(self, branch: int = 0) -> Data:
        """The neighbourhood graph of the memory, by the run's own search; ``x`` (rows, d) are its features."""
        bank = self.memory
        if not 0 <= branch < len(bank):
            raise ValueError(f"the memory has the branches 0 ... {len(bank) - 1}, not {branch}")
        centred = self.options.get("connect", {}).get("camera_centered") and self.images["camera_id"].nunique() > 1
        camera = torch.tensor(self.images["camera_id"].to_numpy()[:self.rows]) if centred else None
        return KNNGraph(**self.options["knn"])(bank[branch], center_by=camera, keep_features=True)

    def pair_subgraphs(self) -> PairSubgraphs:
        """How the run cuts out the subgraph of a pair."""
        return PairSubgraphs(**self.options.get("subgraphs") or {})


def find_pairs(pairs: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """For each of the pairs (P rows) its first place in another table of pairs, -1 where it is not there."""
    if not len(table):
        return np.full(len(pairs), -1)
    places = table[PAIR_KEY].astype("int64").assign(place=np.arange(len(table))).drop_duplicates(PAIR_KEY)
    found = pairs[PAIR_KEY].astype("int64").merge(places, on=PAIR_KEY, how="left")["place"]
    return found.fillna(-1).to_numpy(dtype=np.int64)
