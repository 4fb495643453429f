"""The one writer of a run folder."""
import atexit
import json
import math
import platform
import time
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg import processes
from mprd_pyg.evaluation import RankingResult, SingleShotResult, pair_truth
from mprd_pyg.files import replacing, working_in
from mprd_pyg.manifest import checksum_of, refusing_damage

PACKAGES = ("mprd-pyg", "torch", "torchvision", "torch-geometric", "faiss-gpu", "faiss-cpu", "lightning-fabric",
            "numpy", "pandas", "pillow")
HELD = ExitStack()  # the folders that this process works in; closed when its command or the process ends
atexit.register(HELD.close)
CHECKSUMS = "checksums.json"  # CRC-32 of each table, and of the one that it replaced
CONSTRAINTS = "constraints.csv"  # what a person said of pairs of images
Results = dict[str, RankingResult | SingleShotResult]  # by mode


class RunFolder:
    """Writes the files of a run, each whole or not at all; :class:`~pipelines.runs.run.Run` reads them.

    The folder is kept to this process until ``HELD`` is closed. Of several processes of one run, rank 0 names the
    folder, keeps it and writes; the others write nothing.

    Args:
        out: the folder; None makes a new one under ``runs/``.
        name: part of the new folder's name.
        resume: the folder must hold a run; otherwise it must not.

    Raises:
        ValueError: the folder holds a run, or another process works there.
        OSError: it cannot be written to.
    """

    def __init__(self, out: str | None, name: str, resume: bool = False):
        self.path = Path(out) if out else Path("runs") / processes.broadcast(
            f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
        if not processes.is_first():
            return
        HELD.enter_context(working_in(self.path))
        if (self.path / "config.yaml").exists() and not resume:
            raise ValueError(f"{self.path} already holds a run: go on with it by --resume {self.path}, "
                             f"or give another --out")

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.path / "checkpoints" / "last.pt").is_file()

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        if not processes.is_first():
            return
        with replacing(self.path / name) as part:
            part.write_text(text, encoding="utf-8")

    def write_json(self, name: str, value: Any) -> None:
        """Write plain values, arrays' scalars among them; NaN becomes null."""
        self.write_text(name, json.dumps(_plain(value), indent=2) + "\n")

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Write a Parquet file; its checksum, and that of the table before, are kept first."""
        if not processes.is_first():
            return
        frame = frame.copy()
        frame.attrs = {}
        with replacing(self.path / name) as part:
            frame.to_parquet(part, index=False)
            path = self.path / CHECKSUMS
            with refusing_damage(path, "remove it"):
                kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
                kept |= {name: [checksum_of(part), *kept.get(name, [])[:1]]}
            self.write_json(CHECKSUMS, kept)

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Write a ``.npz`` file."""
        if not processes.is_first():
            return
        with replacing(self.path / name) as part, open(part, "wb") as file:
            np.savez(file, **arrays)

    def write_pairs(self, epoch: int, pairs: Data, person_id: Tensor) -> None:
        """Believed (and merely judged) pairs of an epoch: rows of ``images.parquet``, one line per pair."""
        neighbour, anchor = pairs.edge_index.cpu()
        person = person_id.cpu()
        truth = pair_truth(person[anchor], person[neighbour]).numpy()
        frame = pd.DataFrame({
            "anchor": anchor.numpy(), "neighbour": neighbour.numpy(), "similarity": pairs.edge_attr.cpu().numpy(),
            "likelihood": pairs.likelihood.cpu().numpy(), "believed": pairs.believed.cpu().numpy(),
            "true": pd.arrays.BooleanArray(truth == 1, truth < 0)})
        if "branch" in pairs:
            frame["branch"] = pairs.branch.cpu().numpy()
        self.write_table(f"pairs/epoch_{epoch:03d}.parquet", frame)

    def write_rankings(self, frame: pd.DataFrame, query: np.ndarray, gallery: np.ndarray, results: Results) -> None:
        """``rankings.parquet`` and ``queries.parquet``.

        The first holds the first images of each query's ranking, in every mode; of single shot, those of the first
        draw.

        Args:
            frame: test images.
            query: (Q,) rows of it.
            gallery: (G,) rows of it.
            results: by mode.
        """
        path, person, parts = frame["path"].to_numpy(), frame["person_id"].to_numpy(), []
        for mode, result in results.items():
            count, top = result.top_indices.shape
            flat = result.top_indices.reshape(-1)
            shown = flat >= 0
            q, g = query.repeat(top)[shown], gallery[flat[shown]]
            parts.append(pd.DataFrame({
                "mode": mode, "query": path[q], "rank": (np.arange(count * top) % top + 1)[shown], "gallery": path[g],
                "similarity": result.top_similarities.reshape(-1)[shown], "correct": person[q] == person[g]}))
        self.write_table("rankings.parquet", pd.concat(parts, ignore_index=True))
        self.write_table("queries.parquet", query_table(frame, query, results))

    def write_protocol(self, *protocols: dict[str, Any] | None) -> None:
        """``protocol.json``: the split and the galleries that were drawn, or a list of them; none for fixed ones."""
        if protocols[0] is not None:
            self.write_text("protocol.json", json.dumps(protocols[0] if len(protocols) == 1 else protocols) + "\n")

    def write_results(self, results: dict[str, Any]) -> None:
        """``results.json``, with versions."""
        self.write_json("results.json", results | {"versions": versions()})


def query_table(frame: pd.DataFrame, query: np.ndarray, results: Results) -> pd.DataFrame:
    """Scores of each query, in every mode with a fixed gallery; NaN and ranks of 0 where it has no match.

    Args:
        frame: test images.
        query: (Q,) rows of it.
        results: by mode.
    """
    path, person = (frame[name].to_numpy()[query] for name in ("path", "person_id"))
    return pd.concat([pd.DataFrame({
        "mode": mode, "query": path, "person_id": person, **{name: getattr(result, name) for name in (
            "average_precision", "average_precision_trapz", "num_matches", "rank_of_first_match",
            "rank_of_last_match")}})
        for mode, result in results.items() if isinstance(result, RankingResult)], ignore_index=True)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that figures depend on."""
    found = {"python": platform.python_version(), "platform": platform.platform(terse=True)}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value
