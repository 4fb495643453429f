"""Run a table or a sweep of the papers: every row, every seed, and our figures beside the published ones.

python -m pipelines.experiments mprd_table1 --card synthetic --seeds 0 1 2
python -m pipelines.experiments link_prediction --graphs USAir.mat NS.mat --seeds 0 1 2 3 4
python -m pipelines.experiments paul_table3 --card market1501 --data.root DIR --source.card msmt17 --source.root DIR
"""
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import Namespace

from pipelines.command_line import cli
from pipelines.experiments import link_table
from pipelines.experiments.plan import Job, Plan
from pipelines.experiments.processes import execute
from pipelines.experiments.report import write_report
from pipelines.experiments.table import load_table, shipped_tables
from pipelines.runs.run import Run


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.experiments", description=__doc__.splitlines()[0])
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


def run(parser: cli.Parser, cfg: Namespace) -> int:
    """Plan, run what is not finished, and write the table after each run; 1 if a run failed."""
    table = load_table(cfg.table)
    out = Path(cfg.out or f"runs/{table.name}-{Path(cfg.card).stem}")
    plan = Plan(table, cfg.card, out, cfg.seeds, options_of(cfg), cfg.base, cfg.initial)
    jobs = plan.jobs()
    plan.record(jobs)
    todo = [job for job in jobs if not job.finished]
    print(f"{table.title}: {len(jobs)} runs in {plan.out}, {len(jobs) - len(todo)} of them finished", flush=True)
    failed: dict[Path, str] = {}
    for number, job in enumerate(todo, 1):
        print(f"[{number}/{len(todo)}] {job.label} ...", end=" ", flush=True)
        started = time.monotonic()
        if job.needs is not None and not job.needs.finished:
            failed[job.folder] = f"{job.needs.label} failed"
        elif reason := execute(job, plan.out / "logs"):
            failed[job.folder] = reason
        print(failed.get(job.folder) or f"{summary(job)} ({(time.monotonic() - started) / 60:.1f} min)", flush=True)
        write_report(plan, failed)
    print("\n" + write_report(plan, failed) + f"\nfolder: {plan.out}")
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(jobs)} runs failed; the same command tries them again\n")
    return int(bool(failed))


def options_of(cfg: Namespace) -> dict[str, Any]:
    """The options of every row, by dotted name."""
    options = {"accelerator": cfg.accelerator, "precision": cfg.precision, "data.root": cfg["data"].root,
               "source.card": cfg["source"].card, "source.root": cfg["source"].root}
    options = {name: value for name, value in options.items() if value is not None}
    for part in cfg.set:
        name, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"--set takes OPTION=VALUE, found {part!r}")
        options[name] = yaml.safe_load(value)
    return options


def summary(job: Job) -> str:
    """The mAP of a finished run."""
    metrics = Run(job.folder).metrics if job.pipeline != "pretrain" else {}
    return ", ".join(f"{mode} mAP {100 * figures['mAP']:.1f}" for mode, figures in metrics.items()) or "done"


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0, 1 when runs failed, 2 for mistakes in the input, 130 when stopped."""
    asked = sys.argv[1:] if argv is None else argv
    if asked[:1] == ["link_prediction"]:  # over graphs, not over a table's rows
        return cli.main(link_table.make_parser(), link_table.run, asked[1:])
    return cli.main(make_parser(), run, asked)


if __name__ == "__main__":
    sys.exit(main())
