"""A run folder opened again: its images, the pairs of each epoch, their subgraphs, and the graph of its memory."""
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from torch_geometric.data import Batch, Data

from mprd_pyg.graph import KNNGraph, NeighbourLists, PairSubgraphDataset, PairSubgraphs, PairSubgraphWriter
from mprd_pyg.training import load_checkpoint
from pipelines.runs.subgraph_samples import with_similarity

KEY = ["epoch", "branch", "anchor", "neighbour"]


class SavedRun:
    """What a training pipeline left in its folder; nothing is trained or changed.

    Args:
        folder: of the run.
        image_root: folder of the images, when they have moved.

    Raises:
        FileNotFoundError: no run folder.
        ValueError: a run that judges no pairs, or has not finished an epoch.
    """

    def __init__(self, folder: str | Path, image_root: str | Path | None = None):
        self.folder = Path(folder)
        config = self.folder / "config.yaml"
        if not config.is_file():
            raise FileNotFoundError(f"{self.folder} is no run folder: {config} does not exist")
        self.config: dict[str, Any] = yaml.safe_load(config.read_text(encoding="utf-8"))
        if "knn" not in self.config:
            raise ValueError(f"{self.folder} is a run that judges no pairs (it has no neighbour search)")
        self.epochs = sorted(int(path.stem[6:]) for path in self.folder.glob("pairs/epoch_*.parquet"))
        if not self.epochs:
            raise ValueError(f"{self.folder} has no judged pairs yet: no epoch is finished")
        self.images = pd.read_parquet(self.folder / "images.parquet")
        own = self.folder / "data" / "target"  # generated images lie in the run folder
        self.image_root = Path(image_root or self.config["data"]["root"] or own)
        if not (self.image_root / self.images["path"].iloc[0]).is_file():
            raise FileNotFoundError(f"the run's images are not below {self.image_root}: {self.images['path'].iloc[0]} "
                                    f"does not exist there. Give their folder: --image_root DIR")

    def pairs(self, epoch: int | None = None) -> pd.DataFrame:
        """Judged pairs of an epoch (the last by default), with the columns of ``PairSubgraphDataset.table``."""
        epoch = self.epochs[-1] if epoch is None else epoch
        if epoch not in self.epochs:
            raise ValueError(f"epoch {epoch} has no pairs: {self.folder} has those of epochs "
                             f"{', '.join(map(str, self.epochs))}")
        frame = pd.read_parquet(self.folder / "pairs" / f"epoch_{epoch:03d}.parquet")
        return self.describe(frame.rename(columns={"true": "truth"}).assign(epoch=epoch))

    def describe(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Complete a table of pairs (anchor, neighbour) with images, cameras, truth and what else is missing."""
        frame = frame.copy()
        rows = frame[["anchor", "neighbour"]].to_numpy()
        for place, side in enumerate(("anchor", "neighbour")):
            frame[f"{side}_path"] = self.images["path"].to_numpy()[rows[:, place]]
            frame[f"{side}_camera"] = self.images["camera_id"].to_numpy()[rows[:, place]]
        person = self.images["person_id"].to_numpy()[rows]
        truth = pd.array(person[:, 0] == person[:, 1], dtype="boolean")
        truth[(person < 0).any(1)] = pd.NA
        frame["truth"] = truth
        for name, value in (("branch", 0), ("similarity", np.nan), ("likelihood", np.nan), ("believed", False)):
            if name not in frame:
                frame[name] = value
        return frame[["anchor", "neighbour", "anchor_path", "neighbour_path", "anchor_camera", "neighbour_camera",
                      "similarity", "likelihood", "believed", "truth", "epoch", "branch"]]

    def dataset(self, **options: Any) -> PairSubgraphDataset:
        """The saved subgraphs."""
        return PairSubgraphDataset(self.folder / "subgraphs", image_root=self.image_root, **options)

    def find(self, pairs: pd.DataFrame) -> np.ndarray:
        """Places of pairs among the saved subgraphs, -1 where they are not saved."""
        if not (self.folder / "subgraphs" / "manifest.json").exists():
            return np.full(len(pairs), -1)
        table = self.dataset(check="sizes").table
        if not len(table):
            return np.full(len(pairs), -1)
        saved = table[KEY].astype("int64").assign(place=np.arange(len(table))).drop_duplicates(KEY)
        found = pairs[KEY].astype("int64").merge(saved, on=KEY, how="left")["place"]
        return found.fillna(-1).to_numpy(dtype=np.int64)

    @cached_property
    def checkpoint(self) -> dict[str, Any]:
        """The run's last state."""
        state = load_checkpoint(self.folder / "checkpoints" / "last.pt")
        if "memory" not in state.get("method", {}):
            raise ValueError(f"{self.folder / 'checkpoints' / 'last.pt'} holds no memory to build a graph from")
        return state

    @property
    def memory_epoch(self) -> int:
        """The epoch at whose end the memory was as it is in the checkpoint."""
        position = self.checkpoint["position"]
        return position["epoch"] - (position["phase"] == position["step"] == 0)

    @property
    def subgraphs(self) -> PairSubgraphs:
        """How the run cuts out subgraphs."""
        return PairSubgraphs(**self.config.get("subgraphs") or {})

    def graph(self, branch: int = 0) -> Data:
        """The neighbourhood graph of the checkpointed memory, by the run's own search; ``x`` are its features."""
        bank = self.checkpoint["method"]["memory"]["bank"]
        if not 0 <= branch < len(bank):
            raise ValueError(f"the memory has the branches 0 ... {len(bank) - 1}, not {branch}")
        # MPRD's GCN leaves the labelled meta images, the last rows, out of the neighbours.
        meta = "gcn" in self.config and self.config.get("relation") is None
        count = int((~self.images["meta"]).sum()) if meta and "meta" in self.images else len(self.images)
        centred = self.config.get("method", {}).get("camera_centered")
        camera = torch.from_numpy(self.images["camera_id"].to_numpy()[:count].copy()) if centred else None
        return KNNGraph(**self.config["knn"])(bank[branch, :count], center_by=camera, keep_features=True)

    def build(self, pairs: pd.DataFrame, writer: PairSubgraphWriter, chunk: int = 10_000) -> None:
        """Cut the pairs' subgraphs out of the graph of the memory and append them to a store, branch by branch."""
        metric = self.config["knn"].get("metric", "cosine")
        for branch, frame in pairs.groupby("branch", sort=True):
            graph = self.graph(int(branch))
            most = int(frame[["anchor", "neighbour"]].to_numpy().max())
            if most >= graph.num_nodes:
                raise ValueError(f"image {most} is not in the graph: it has the images 0 ... {graph.num_nodes - 1}")
            lists = NeighbourLists.from_graph(graph)
            for start in range(0, len(frame), chunk):
                part = frame.iloc[start:start + chunk]
                asked = torch.from_numpy(part[["anchor", "neighbour"]].to_numpy(dtype=np.int64).copy())
                batch: Batch = with_similarity(self.subgraphs(lists, asked), graph.x, metric)
                columns = {name: torch.from_numpy(part[name].to_numpy(dtype=kind).copy()) for name, kind in (
                    ("similarity", "float32"), ("likelihood", "float32"), ("believed", "bool"), ("epoch", "int64"))}
                writer.append(batch, branch=int(branch), **columns)

    def writer(self, folder: Path | None = None) -> PairSubgraphWriter:
        """To append to the run's saved subgraphs, or to a store elsewhere."""
        columns = self.images.assign(path=self.images["path"].astype(str))
        return PairSubgraphWriter(folder or self.folder / "subgraphs", columns, self.image_root,
                                  {"subgraphs": repr(self.subgraphs)})
