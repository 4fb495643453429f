"""A run folder as the report reads it: whatever is there, from the folder alone."""
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NAMES = {"mprd": "MPRD", "paul": "PAUL", "patch_mprd": "PatchMPRD", "pretrain": "Supervised pre-training",
         "link_prediction": "Link prediction"}


class Missing(Exception):  # noqa: N818  (not an error: it is told in the report)
    """Why a part of the report cannot be made."""


class NotApplicable(Missing):
    """The part is about something that this run does not have; without a reason it goes without saying."""


class Run:
    """What a run left behind; nothing is required but one of its files.

    Args:
        folder: the run folder, of a finished or unfinished run.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it holds no run.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"no run folder {folder}")
        if not any((self.folder / name).is_file() for name in ("run.json", "results.json", "config.yaml")):
            raise ValueError(f"{folder} holds no run: none of run.json, results.json and config.yaml is there; "
                             f"give the folder that a pipeline printed as its run folder")
        self.record: dict[str, Any] = self._json("run.json")
        self.results: dict[str, Any] = self._json("results.json")

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return bool(self.results)

    @property
    def pipeline(self) -> str:
        """Its pipeline's name, or ``"run"``."""
        return self.record.get("pipeline") or self.results.get("pipeline") or "run"

    @property
    def title(self) -> str:
        """The method in words."""
        return NAMES.get(self.pipeline, self.pipeline)

    @property
    def card(self) -> str:
        """The data card's name, or the graph file's."""
        graph = Path(str(self.results.get("graph", {}).get("file", ""))).name
        return self.record.get("card", {}).get("name") or self.results.get("card") or graph or "unknown data"

    def fact(self, name: str, default: Any = None) -> Any:
        """A value of the results, or else of the record written at the start."""
        value = self.results.get(name)
        return self.record.get(name, default) if value is None else value

    @cached_property
    def history(self) -> pd.DataFrame:
        """One line per epoch done; none before the first is."""
        path = self.folder / "logs" / "history.csv"
        return pd.read_csv(path) if path.is_file() and path.stat().st_size > 1 else pd.DataFrame({"epoch": []})

    @cached_property
    def images(self) -> pd.DataFrame:
        """The training table."""
        return self.table("images.parquet")

    @cached_property
    def root(self) -> Path:
        """The folder that image paths are relative to."""
        if "root" not in self.record:
            raise Missing("the run folder does not say where the images are (it has no run.json)")
        root = (self.folder / self.record["root"]).absolute()  # stays as it is where it is absolute already
        if not root.is_dir():
            raise Missing(f"the images are no longer at {root}")
        return root

    def image(self, path: str) -> Path:
        """The file of an image of the dataset."""
        if os.path.isabs(path) or ".." in path.split("/"):
            raise Missing(f"{path!r} is no path below the data root")
        return self.root / path

    def table(self, name: str) -> pd.DataFrame:
        """A Parquet file of the folder."""
        if not (self.folder / name).is_file():
            raise Missing(f"the run folder has no {name}" + ("" if self.finished else " yet"))
        return pd.read_parquet(self.folder / name)

    @property
    def latest(self) -> str:
        """``"after"``, or ``"before"`` where a run was not evaluated since it began."""
        if self.pipeline == "link_prediction":
            raise NotApplicable
        for line in self.fact("missing", []):
            if line.startswith("evaluation:"):
                raise NotApplicable(line.removeprefix("evaluation: "))
        for when in ("after", "before"):
            if (self.folder / "evaluation" / when).is_dir():
                return when
        raise Missing("no evaluation was kept in the run folder" + ("" if self.finished else " yet"))

    @property
    def which(self) -> str:
        """Of which network the latest evaluation is, a sentence to add; empty for a finished run."""
        if self.finished:
            return ""
        return (" This is the network before training: the run is not finished." if self.latest == "before" else
                " This is the network at the latest evaluation: the run is not finished.")

    def evaluated(self, name: str, when: str = "") -> pd.DataFrame:
        """A table of the evaluation before or after training, by default the latest."""
        return self.table(f"evaluation/{when or self.latest}/{name}")

    def features(self, when: str = "") -> dict[str, np.ndarray]:
        """The sample of test features: ``features``, ``path``, ``person_id``, ``camera_id``."""
        when = when or self.latest
        path = self.folder / "evaluation" / when / "features.npz"
        if not path.is_file():
            raise Missing(f"the run folder has no evaluation/{when}/features.npz")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def pair_epochs(self) -> list[tuple[int, Path]]:
        """The files of believed pairs, by epoch."""
        files = sorted((self.folder / "pairs").glob("epoch_*.parquet"))
        if not files:
            raise Missing("no pairs were recorded" + ("" if self.finished else " yet"))
        return [(int(path.stem.split("_")[1]), path) for path in files]

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        if not path.is_file():
            return {}
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is not valid JSON ({error}): restore it, or remove it and report the "
                             f"run without it") from error
        return value if isinstance(value, dict) else {}
