"""Run a table or a sweep of the papers: every row, every seed, and our figures beside the published ones.

python -m pipelines.experiments mprd_table1 --card synthetic --seeds 0 1 2
python -m pipelines.experiments paul_table3 --card market1501 --data.root DIR --source.card msmt17 --source.root DIR
"""
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from pipelines.command_line import cli
from pipelines.experiments.report import write_report
from pipelines.experiments.sweep import Job, Sweep
from pipelines.experiments.table import load_table, shipped_tables
from pipelines.runs.finished_run import FinishedRun


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.experiments", description=__doc__.splitlines()[0])
    parser.shipped = None
    parser.add_argument("table", type=str, help=f"a YAML file, or one of {', '.join(shipped_tables())}")
    parser.add_argument("--card", type=str, required=True, help="data card of the target; synthetic draws its images")
    parser.add_argument("--data.root", type=str | None, default=None, help="folder of the target")
    parser.add_argument("--source.card", type=str | None, default=None, help="data card of a labelled source")
    parser.add_argument("--source.root", type=str | None, default=None, help="folder of the source")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of each row")
    parser.add_argument("--base", type=str | None, default=None,
                        help="configuration below the rows' options (default: the pipeline's own of the card)")
    parser.add_argument("--initial", type=str | None, default=None, help="checkpoint that every row starts from")
    parser.add_argument("--set", type=str, nargs="+", default=[], metavar="OPTION=VALUE",
                        help="options of every row, such as method.epochs=4")
    parser.add_argument("--accelerator", type=str, default="auto", help="cpu, cuda, mps or auto")
    parser.add_argument("--precision", type=str, default="32-true", help="as of Lightning Fabric: bf16-mixed ...")
    parser.add_argument("--out", type=str | None, default=None,
                        help="folder (default: runs/TABLE-CARD); what is finished in it is not run again")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Plan, run what is not finished, and write the table after each run."""
    table = load_table(cfg.table)
    cfg.out = cfg.out or f"runs/{table.name}-{Path(cfg.card).stem}"
    if len(set(cfg.seeds)) < len(cfg.seeds):
        raise ValueError(f"a seed was given twice: {cfg.seeds}")
    options: dict[str, Any] = {"accelerator": cfg.accelerator, "precision": cfg.precision}
    options |= {name: value for name, value in (("data.root", cfg["data"].root), ("source.card", cfg["source"].card),
                                                ("source.root", cfg["source"].root)) if value is not None}
    for part in cfg.set:
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"--set takes OPTION=VALUE, found {part!r}")
        options[name] = yaml.safe_load(value)
    sweep = Sweep(table, cfg.card, Path(cfg.out), cfg.seeds, options, cfg.base, cfg.initial)
    jobs = sweep.jobs()
    remember(sweep, jobs)
    todo = [job for job in jobs if not job.finished]
    print(f"{table.title}: {len(jobs)} runs in {sweep.out}, {len(jobs) - len(todo)} of them finished", flush=True)
    failed: dict[Path, str] = {}
    for number, job in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] {job.label} ...", end=" ", flush=True)
        started = time.monotonic()
        if job.needs is not None and not job.needs.finished:
            failed[job.folder] = f"{job.needs.label} failed"
        else:
            status, log = execute(job, sweep.out / "logs")
            if status:
                failed[job.folder] = f"status {status}: {last_words(log)}\n      all of it: {log}"
        print(failed.get(job.folder) or f"{summary(job)} ({(time.monotonic() - started) / 60:.1f} min)", flush=True)
        write_report(sweep, failed)
    print("\n" + write_report(sweep, failed) + f"\nfolder: {sweep.out}")
    if failed:
        raise FailedRows(f"{len(failed)} of {len(jobs)} runs failed; the same command tries them again")


class FailedRows(Exception):  # noqa: N818  (the others are finished, the table is written)
    """Some rows failed."""


class SweepStopped(Exception):  # noqa: N818  (not an error: the user asked for it)
    """The sweep was stopped by the user; the run of the moment kept its last step."""


def remember(sweep: Sweep, jobs: list[Job]) -> None:
    """Write what each run's options are; refuse a folder in which they were others.

    Raises:
        ValueError: the first run whose options differ.
    """
    path = sweep.out / "experiment.json"
    runs = {str(job.folder.relative_to(sweep.out)): [job.pipeline, *job.argv] for job in jobs}
    before = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.is_file() else {}
    for name, argv in runs.items():
        if before.get(name, argv) != argv:
            changed = Counter(pairs(argv))
            changed.subtract(Counter(pairs(before[name])))
            listed = ", ".join(f"{'now' if count > 0 else 'before'} {part}" for part, count in changed.items() if count)
            raise ValueError(f"{sweep.out} was begun with other options ({name}: {listed}): give another --out")
    sweep.out.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    record = {"table": sweep.table.title, "card": sweep.card, "runs": before | runs}
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def pairs(argv: list[str]) -> list[str]:
    """Flags with their values."""
    return [argv[0], *(f"{flag} {value}" for flag, value in zip(argv[1::2], argv[2::2], strict=True))]


def execute(job: Job, logs: Path) -> tuple[int, Path]:
    """Run a job in a process of its own; its output goes to a log. Returns exit status and log.

    The process ends when this one does, however it ends; Ctrl-C is passed on once, so that the run keeps its last step.
    """
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{job.folder.parent.name}-{job.folder.name}.log"
    command = [sys.executable, "-m", "pipelines.experiments.child", job.pipeline, *job.command()]
    with (open(log, "ab") as file,
          subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT,
                           start_new_session=True) as process, passing_on(process)):
        status = process.wait()
    return status or int(not job.finished), log


@contextmanager
def passing_on(process: subprocess.Popen) -> Iterator[None]:
    """Ctrl-C and SIGTERM go to the process; when it has ended, :class:`SweepStopped` is raised."""
    asked = []

    def ask(number: int, frame: object) -> None:
        asked.append(number)
        sys.stderr.write("\nstopping the run after its step; once more stops it at once\n")
        process.send_signal(signal.SIGTERM if len(asked) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise SweepStopped


def last_words(log: Path) -> str:
    """The last line of a log."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def summary(job: Job) -> str:
    """The mAP of a finished run."""
    metrics = FinishedRun(job.folder).metrics if job.pipeline != "pretrain" else {}
    return ", ".join(f"{mode} mAP {100 * figures['mAP']:.1f}" for mode, figures in metrics.items()) or "done"


def main(argv: list[str] | None = None) -> int:
    """As the other pipelines; 1 when rows failed, 130 when stopped."""
    parser = make_parser()
    try:
        return cli.main(parser, run, argv)
    except FailedRows as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    except SweepStopped:
        sys.stderr.write("stopped; the same command goes on\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
