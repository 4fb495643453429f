"""A finished run, read back: its figures, its options, and each query's precision."""
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from mprd_pyg.evaluation import Difference, paired_bootstrap
from mprd_pyg.evaluation import MODES

# What belongs to a machine or to one call, not to the experiment.
APART = {"seed", "progress", "accelerator", "resume", "out", "config", "checkpoint_every", "evaluate_every",
         "data.root", "data.workers", "source.root", "source.workers"}


class FinishedRun:
    """A folder with ``results.json``.

    Args:
        path: run folder.

    Raises:
        FileNotFoundError, ValueError: no finished run, or one without ranking figures.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.name = self.path.resolve().name
        file = self.path / "results.json"
        if not file.is_file():
            begun = (self.path / "config.yaml").is_file()
            raise FileNotFoundError(f"{self.path} holds no finished run (no results.json)" +
                                    (f": go on with it by --resume {self.path}" if begun else ""))
        try:
            self.results = json.loads(file.read_text(encoding="utf-8"))
            self.metrics: dict[str, dict[str, float]] = self.results["metrics"]
            self.seed, self.fingerprint = self.results["seed"], self.results["data"]["fingerprint"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{file} is no result of a pipeline ({type(error).__name__}: {error})") from error
        if not self.metrics:
            raise ValueError(f"{file} has no ranking figures: {self.results.get('missing')}")

    def __repr__(self) -> str:
        return f"FinishedRun({self.path})"

    @cached_property
    def options(self) -> dict[str, Any]:
        """Resolved options by dotted name; those of the run that it started from lie below ``initial``."""
        options: dict[str, Any] = {"pipeline": self.results["pipeline"]}
        if (self.path / "config.yaml").is_file():
            options |= flatten(yaml.safe_load((self.path / "config.yaml").read_text(encoding="utf-8")))
        start = options.get("initial", self.results.get("checkpoint"))
        if start is not None:
            before = Path(start) if Path(start).is_dir() else Path(start).parent.parent
            if (before / "config.yaml").is_file():
                more = flatten(yaml.safe_load((before / "config.yaml").read_text(encoding="utf-8")))
                options |= {f"initial.{name}": value for name, value in more.items() if name not in APART}
                options.pop("initial", None)
        return options

    @property
    def group(self) -> str:
        """Equal for runs that differ in the seed only."""
        kept = {name: value for name, value in self.options.items() if name not in APART}
        return json.dumps([kept, self.results["card"]], sort_keys=True, default=str)

    @cached_property
    def queries(self) -> pd.DataFrame | None:
        """``queries.parquet``, or None for a run that has none."""
        file = self.path / "queries.parquet"
        return pd.read_parquet(file) if file.is_file() else None


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed only.

    Attributes:
        name: of the first one, without its seed.
        runs: in the order given.
    """

    name: str
    runs: list[FinishedRun]

    def figures(self, mode: str, metric: str) -> tuple[float, float]:
        """Mean and standard deviation (n - 1) over the seeds; NaN where there is none."""
        values = np.array([run.metrics.get(mode, {}).get(metric, np.nan) for run in self.runs], dtype=float)
        return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def group_runs(runs: Sequence[FinishedRun]) -> list[Group]:
    """Runs grouped by everything but the seed, in the order in which they come."""
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    names: list[str] = []
    for members in groups.values():
        seed, first = f"seed_{members[0].seed}", members[0]
        name = first.path.resolve().parent.name if first.name == seed else first.name.removesuffix("-" + seed)
        names.append(name if name not in names else f"{name} ({len(names) + 1})")
    return [Group(name, members) for name, members in zip(names, groups.values(), strict=True)]


def difference(first: Group, second: Group, mode: str, by_person: bool = False, **options) -> Difference | str:
    """Bootstrap of the difference of mAP, each query's precision averaged over the seeds; or why there is none."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; expected one of {MODES}")
    runs = [*first.runs, *second.runs]
    without = [run.name for run in runs if run.queries is None]
    if without:
        return f"{', '.join(without)}: no queries.parquet (pipelines.evaluate makes one)"
    if len({run.fingerprint for run in runs}) > 1:
        return "the runs are of different data"
    scores = []
    for group in (first, second):
        parts = [run.queries[run.queries["mode"] == mode].set_index("query") for run in group.runs]
        if any(not len(part) for part in parts):
            return f"not evaluated in the mode {mode}"
        scores.append(pd.concat([part["average_precision"] for part in parts], axis=1).mean(axis=1, skipna=False))
    if set(scores[0].index) != set(scores[1].index) or not all(score.index.is_unique for score in scores):
        return "the runs have different queries"
    one = first.runs[0].queries.query("mode == @mode").set_index("query")
    return paired_bootstrap(scores[0].to_numpy(), scores[1].reindex(scores[0].index).to_numpy(),
                            one["person_id"].reindex(scores[0].index).to_numpy() if by_person else None, **options)


def different_options(groups: Sequence[Group]) -> pd.DataFrame:
    """A row per option whose value is not the same in all groups, a column per group; absent ones are empty."""
    columns = {group.name: group.runs[0].options for group in groups}
    names = sorted({name for options in columns.values() for name in options} - APART)
    rows = {name: [str(options.get(name, "")) for options in columns.values()] for name in names}
    rows = {name: values for name, values in rows.items() if len(set(values)) > 1}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(columns))


def flatten(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return flat
