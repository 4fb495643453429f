"""Runs side by side: groups of seeds, options that differ, and the difference of mAP."""
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mprd_pyg.evaluation import MODES, Difference, paired_bootstrap
from pipelines.runs.run import Run

# What belongs to a machine or to one call, not to the experiment.
NOT_COMPARED = {"seed", "progress", "accelerator", "resume", "out", "config", "checkpoint_every", "evaluate_every",
                "data.root", "data.workers", "source.root", "source.workers"}


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed only.

    Attributes:
        name: of the first one, without its seed.
        runs: in the order given.
    """

    name: str
    runs: list[Run]

    def figures(self, mode: str, metric: str) -> tuple[float, float]:
        """Mean and standard deviation (n - 1) over the seeds; NaN where there is none."""
        values = np.array([run.metrics.get(mode, {}).get(metric, np.nan) for run in self.runs], dtype=float)
        return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs grouped by everything but the seed, in the order in which they come."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        kept = {name: value for name, value in compared_options(run).items() if name not in NOT_COMPARED}
        groups.setdefault(json.dumps([kept, run.data_name], sort_keys=True, default=str), []).append(run)
    names: list[str] = []
    for members in groups.values():
        seed, first = f"seed_{members[0].seed}", members[0]
        name = first.folder.resolve().parent.name if first.name == seed else first.name.removesuffix("-" + seed)
        names.append(name if name not in names else f"{name} ({len(names) + 1})")
    return [Group(name, members) for name, members in zip(names, groups.values(), strict=True)]


def difference(first: Group, second: Group, mode: str, by_person: bool = False, **options) -> Difference | str:
    """Bootstrap of the difference of mAP, each query's precision averaged over the seeds; or why there is none."""
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; expected one of {MODES}")
    runs = [*first.runs, *second.runs]
    without = [run.name for run in runs if not run.has("queries.parquet")]
    if without:
        return f"{', '.join(without)}: no queries.parquet (pipelines.evaluate makes one)"
    if len({run.fingerprint for run in runs}) > 1:
        return "the runs are of different data"
    tables = [[run.queries[run.queries["mode"] == mode].set_index("query") for run in group.runs]
              for group in (first, second)]
    if not all(len(table) for group in tables for table in group):
        return f"not evaluated in the mode {mode}"
    scores = [pd.concat([table["average_precision"] for table in group], axis=1).mean(axis=1, skipna=False)
              for group in tables]
    order = scores[0].index
    if set(order) != set(scores[1].index) or not all(score.index.is_unique for score in scores):
        return "the runs have different queries"
    person = tables[0][0]["person_id"].reindex(order).to_numpy() if by_person else None
    return paired_bootstrap(scores[0].to_numpy(), scores[1].reindex(order).to_numpy(), person, **options)


def different_options(groups: Sequence[Group]) -> pd.DataFrame:
    """A row per option whose value is not the same in all groups, a column per group; absent ones are empty."""
    columns = {group.name: compared_options(group.runs[0]) for group in groups}
    names = sorted({name for options in columns.values() for name in options} - NOT_COMPARED)
    rows = {name: [str(options.get(name, "")) for options in columns.values()] for name in names}
    rows = {name: values for name, values in rows.items() if len(set(values)) > 1}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(columns))


def compared_options(run: Run) -> dict[str, Any]:
    """Options of a run by dotted name; those of the run that its network came from lie below ``initial``."""
    options = {"pipeline": run.pipeline} | flatten(run.options)
    start = options.get("initial", run.results.get("checkpoint"))
    folder = None if start is None else Path(start) if Path(start).is_dir() else Path(start).parent.parent
    if folder is not None and (folder / "config.yaml").is_file():
        earlier = flatten(Run(folder).options)
        options |= {f"initial.{name}": value for name, value in earlier.items() if name not in NOT_COMPARED}
        options.pop("initial", None)
    return options


def flatten(options: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested options by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return flat
