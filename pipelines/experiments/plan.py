"""What a table takes on one card: its runs, where they lie, what they start from, and their commands."""
import hashlib
import importlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mprd_pyg.data import write_synthetic
from mprd_pyg.files import replacing
from mprd_pyg.manifest import refusing_damage
from pipelines.command_line import cli
from pipelines.experiments.table import Row, Table

QUIET = {"evaluate_every": 0, "ablation": False}  # in every row, where the pipeline has the option


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        pipeline: name below ``pipelines``.
        label: to show.
        folder: run folder.
        argv: of a new run, without ``--out``.
        needs: run that it starts from, or None.
    """

    pipeline: str
    label: str
    folder: Path
    argv: list[str] = field(repr=False)
    needs: "Job | None" = None

    @property
    def finished(self) -> bool:
        """Whether it has its results."""
        return (self.folder / "results.json").is_file()

    def command(self) -> list[str]:
        """Arguments that begin the run, or go on with it."""
        if (self.folder / "config.yaml").is_file():
            return ["--resume", str(self.folder)]
        return [*self.argv, "--out", str(self.folder)]


class Plan:
    """A table's runs on one card.

    Args:
        table: what to run.
        card: name or file of the data card.
        out: folder of everything; generated data are written there at once, if they are needed.
        seeds: of the runs.
        options: of every row, stronger than the table's: ``data.root``, ``source.card`` and the like.
        config: configuration below all options; by default ``<pipeline>/<card>.yaml`` or that of ``market1501``.
        initial: checkpoint that all rows start from, instead of a pre-training.

    Raises:
        ValueError, FileNotFoundError: an option that does not fit or data that are not there, before any run.
    """

    def __init__(self, table: Table, card: str, out: Path, seeds: Sequence[int], options: dict[str, Any],
                 config: str | None = None, initial: str | None = None):
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"a seed was given twice: {list(seeds)}")
        self.table, self.card, self.out, self.seeds = table, card, out.absolute(), list(seeds)
        self.options, self.initial = options, initial
        self.module = importlib.import_module(f"pipelines.{table.pipeline}")
        self.parser = self.module.make_parser()
        self.known = {action.dest for action in self.parser._actions}
        shipped = [f"{table.pipeline}/{name}.yaml" for name in (card, "market1501", "synthetic")]
        self.config = config or next(name for name in shipped if cli.shipped_config(name).is_file())
        self.rows = [row for row in table.rows if not row.cited]
        self.roots: dict[str, str] = {}
        self.resolved = {row.name: self._resolved(row) for row in self.rows}
        self._find_data(self.resolved[self.rows[0].name])
        for resolved in self.resolved.values():
            for name, root in self.roots.items():
                resolved[name.split(".")[0]]["root"] = root
        self.same: dict[str, Row] = {}  # rows with equal options are one run
        by_options: dict[str, Row] = {}
        for row in self.rows:
            key = json.dumps([row.direct, self.resolved[row.name]], sort_keys=True)
            self.same[row.name] = by_options.setdefault(key, row)

    def jobs(self) -> list[Job]:
        """All runs, those that others start from first; seed by seed."""
        jobs: dict[Path, Job] = {}
        for seed in self.seeds:
            for row in self.rows:
                job = self.job(row, seed)
                for each in (job.needs, job):
                    if each is not None:
                        jobs.setdefault(each.folder, each)
        return list(jobs.values())

    def record(self, jobs: list[Job]) -> None:
        """Write each run's options to ``experiment.json``; refuse a folder in which they were others.

        Raises:
            ValueError: the first run whose options differ.
        """
        path = self.out / "experiment.json"
        runs = {str(job.folder.relative_to(self.out)): [job.pipeline, *job.argv] for job in jobs}
        with refusing_damage(path, "remove it"):
            found = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else {}
            before = {name: [str(part) for part in argv] for name, argv in found.items()}
        for name, argv in runs.items():
            if before.get(name, argv) != argv:
                changed = Counter(_flag_values(argv))
                changed.subtract(Counter(_flag_values(before[name])))
                listed = ", ".join(f"{'now' if count > 0 else 'before'} {part}"
                                   for part, count in changed.items() if count)
                raise ValueError(f"{self.out} was begun with other options ({name}: {listed}): give another --out")
        with replacing(path) as part:
            record = {"table": self.table.title, "card": self.card, "runs": before | runs}
            part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def job(self, row: Row, seed: int) -> Job:
        """The run of a row (or of the row before that is the same) and a seed."""
        row = self.same[row.name]
        resolved = self.resolved[row.name]
        start = self._start(row, resolved, seed)
        checkpoint = self.initial or (str(start.folder / "checkpoints" / "last.pt") if start else None)
        folder, label = self.out / "runs" / row.slug / f"seed_{seed}", f"{row.name}, seed {seed}"
        more = ["--seed", str(seed), "--progress", "false"]
        if row.direct:
            data = {f"data.{name}": value for name, value in resolved["data"].items()
                    if name not in ("height", "width")}
            common = {name: resolved[name] for name in ("accelerator", "precision")}
            return Job("evaluate", label, folder, ["--checkpoint", str(checkpoint), *flags(data | common), *more],
                       start)
        if checkpoint:
            more += ["--pretrain", "false", "--initial", checkpoint]
        return Job(self.table.pipeline, label, folder, [*self._argv(row), *more], start)

    def _start(self, row: Row, resolved: dict[str, Any], seed: int) -> Job | None:
        """The pre-training that a row shares with all rows of the same network, source and options."""
        if self.initial or not resolved.get("pretrain"):
            if row.direct and not self.initial:
                raise ValueError(f"row {row.name!r} ranks the network before training: give a labelled source "
                                 f"(--source.card, --source.root, --set pretrain=true) or --initial CHECKPOINT")
            return None
        network = resolved["network"]
        if "class_path" not in network:
            network = {"class_path": "mprd_pyg.models.ImageEmbedder", "init_args": network}
        config = {"data": resolved["source"], "network": network, "method": resolved["pretraining"],
                  "learner": resolved["pretraining_learner"],
                  "evaluate_every": 0, **{name: resolved[name] for name in ("accelerator", "precision")}}
        text = yaml.safe_dump(config)
        key = f"{network['class_path'].rpartition('.')[2]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        path = self.out / "pretrained" / f"{key}.yaml"
        if not path.is_file():
            with replacing(path) as part:
                part.write_text(text, encoding="utf-8")
        return Job("pretrain", f"pre-training {key}, seed {seed}", self.out / "pretrained" / key / f"seed_{seed}",
                   ["--config", str(path), "--seed", str(seed), "--progress", "false"])

    def _argv(self, row: Row) -> list[str]:
        optional = {name: value for name, value in (QUIET | row.if_known).items() if name in self.known}
        options = {"data.card": self.card, **optional, **self.table.card_options.get(self.card, {}), **row.options,
                   **self.roots, **self.options}
        return ["--config", self.config, *flags(options)]

    def _resolved(self, row: Row) -> dict[str, Any]:
        """Every option of a row, as plain values."""
        cfg = cli.parse(self.parser, self._argv(row))
        cfg.pop("config", None)
        return yaml.safe_load(self.parser.dump(cfg, skip_unset=False))

    def _find_data(self, resolved: dict[str, Any]) -> None:
        """Roots of target and source; the synthetic card is drawn once, for all rows and seeds."""
        wanted = {"data": "target"} | ({"source": "source"} if resolved.get("pretrain") and not self.initial else {})
        for key, domain in wanted.items():
            data = resolved[key]
            if data["root"] is None and data["card"] == "synthetic":
                self.roots[f"{key}.root"] = str(write_synthetic(
                    self.out / "data" / domain, domain=domain, height=data["height"], width=data["width"],
                    **resolved["synthetic"]))
            elif data["root"] is None:
                raise ValueError(f"where are the images of {data['card']!r}? Give --{key}.root DIR")
            elif not Path(data["root"]).is_dir():
                raise FileNotFoundError(f"--{key}.root: no folder {data['root']}")


def flags(options: dict[str, Any]) -> list[str]:
    """Options as command-line flags; values as JSON, which is YAML too, strings as they are."""
    return [part for name, value in options.items() if value is not None
            for part in (f"--{name}", value if isinstance(value, str) else json.dumps(value))]


def _flag_values(argv: list[str]) -> list[str]:
    """The pipeline, and each flag with its value."""
    return [argv[0], *(f"{flag} {value}" for flag, value in zip(argv[1::2], argv[2::2], strict=True))]
