"""The run folder: everything a run leaves behind, each file written whole or not at all."""
import json
import math
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.evaluation import RankingResult, SingleShotResult

PACKAGES = ("mprd-pyg", "torch", "torchvision", "torch-geometric", "faiss-gpu", "faiss-cpu", "lightning-fabric",
            "numpy", "pandas", "pillow")


class RunFolder:
    """``config.yaml, logs/, checkpoints/, pairs/, subgraphs/, {images,rankings,queries}.parquet, results.json``.

    Args:
        out: the folder; None makes a new one under ``runs/``.
        name: part of the new folder's name.
        resume: the folder must hold a run; otherwise it must not.
    """

    def __init__(self, out: str | None, name: str, resume: bool = False):
        self.path = Path(out) if out else Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        if (self.path / "config.yaml").exists() and not resume:
            raise ValueError(f"{self.path} already holds a run: go on with it by --resume {self.path}, "
                             f"or give another --out")

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.path / "checkpoints" / "last.pt").is_file()

    def write_text(self, name: str, text: str) -> None:
        """Write a text file atomically."""
        self.path.mkdir(parents=True, exist_ok=True)
        part = self.path / (name + ".part")
        part.write_text(text, encoding="utf-8")
        os.replace(part, self.path / name)

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write a Parquet file atomically."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = frame.copy()
        frame.attrs = {}
        part = path.with_suffix(".part")
        frame.to_parquet(part, index=False)
        os.replace(part, path)

    def write_pairs(self, epoch: int, pairs: Data, person_id: Tensor) -> None:
        """Believed (and merely judged) pairs of an epoch: rows of ``images.parquet``, one line per pair."""
        neighbour, anchor = pairs.edge_index.cpu()
        person = person_id.cpu()
        true = pd.array((person[anchor] == person[neighbour]).numpy(), dtype="boolean")
        true[((person[anchor] < 0) | (person[neighbour] < 0)).numpy()] = pd.NA
        frame = pd.DataFrame({
            "anchor": anchor.numpy(), "neighbour": neighbour.numpy(), "similarity": pairs.edge_attr.cpu().numpy(),
            "likelihood": pairs.likelihood.cpu().numpy(), "believed": pairs.believed.cpu().numpy(), "true": true})
        if "branch" in pairs:
            frame["branch"] = pairs.branch.cpu().numpy()
        self.write_table(f"pairs/epoch_{epoch:03d}.parquet", frame)

    def write_rankings(self, frame: pd.DataFrame, query: Any, gallery: Any,
                       results: dict[str, RankingResult | SingleShotResult]) -> None:
        """The first images of each query's ranking, in every mode; of single shot, those of the first draw.

        Where the gallery is not drawn also each query's scores (NaN: it has no match).
        """
        parts, scores = [], []
        paths, person = frame["path"].to_numpy(), frame["person_id"].to_numpy()
        for mode, result in results.items():
            if isinstance(result, RankingResult):
                scores.append(pd.DataFrame({
                    "mode": mode, "query": paths[query], "person_id": person[query],
                    "average_precision": result.average_precision,
                    "average_precision_trapz": result.average_precision_trapz, "num_matches": result.num_matches,
                    "rank_of_first_match": result.rank_of_first_match,
                    "rank_of_last_match": result.rank_of_last_match}))
            count, top = result.top_indices.shape
            flat = result.top_indices.reshape(-1)
            shown = flat >= 0
            q, g = query.repeat(top)[shown], gallery[flat[shown]]
            parts.append(pd.DataFrame({
                "mode": mode, "query": paths[q], "rank": (pd.RangeIndex(count * top) % top + 1)[shown],
                "gallery": paths[g], "similarity": result.top_similarities.reshape(-1)[shown],
                "correct": person[q] == person[g]}))
        self.write_table("rankings.parquet", pd.concat(parts, ignore_index=True))
        self.write_table("queries.parquet", pd.concat(scores, ignore_index=True))

    def write_protocol(self, *protocols: dict[str, Any] | None) -> None:
        """``protocol.json``: the split and the galleries that were drawn, or a list of them; none for fixed ones."""
        if protocols[0] is not None:
            self.write_text("protocol.json", json.dumps(protocols[0] if len(protocols) == 1 else protocols) + "\n")

    def write_results(self, results: dict[str, Any]) -> None:
        """``results.json``, with versions; NaN becomes null."""
        self.write_text("results.json", json.dumps(clean(results | {"versions": versions()}), indent=2) + "\n")


def clean(value: Any) -> Any:
    """Plain JSON values."""
    if isinstance(value, dict):
        return {str(k): clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that figures depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})
