"""Link prediction over graphs and seeds: every scorer beside the baselines of its runs and the published figures."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jsonargparse import Namespace

from mprd_pyg.bounded_yaml import read_yaml
from mprd_pyg.files import replacing
from pipelines.command_line import cli
from pipelines.experiments.plan import Job, flags
from pipelines.experiments.processes import execute
from pipelines.runs.markdown import markdown_table, percent
from pipelines.runs.run import Run

PUBLISHED = Path(__file__).parent.parent / "tables" / "published" / "link_prediction.yaml"


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.experiments link_prediction", description=__doc__)
    parser.add_argument("--graphs", type=str, nargs="+", required=True, help="graph files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of split and model")
    parser.add_argument("--base", type=str | None, default=None,
                        help="configuration, such as link_prediction/planetoid.yaml")
    parser.add_argument("--set", type=str, nargs="+", default=[], metavar="OPTION=VALUE",
                        help="options of every run, such as negatives=heart")
    parser.add_argument("--out", type=str, default="runs/link_prediction",
                        help="folder; what is finished in it is not run again")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> int:
    """Run what is not finished, and write the table after each graph; 1 if a run failed."""
    options = dict(part.split("=", 1) for part in cfg.set if "=" in part)
    if len(options) < len(cfg.set):
        raise ValueError(f"--set takes OPTION=VALUE, found {cfg.set}")
    for graph in cfg.graphs:
        if not Path(graph).is_file():
            raise FileNotFoundError(f"--graphs: no file {graph}")
    base, failed, runs = ["--config", cfg.base] if cfg.base else [], 0, []
    for graph in cfg.graphs:
        for seed in cfg.seeds:
            name, given = Path(graph).name, {"graph": str(Path(graph).absolute()), "seed": seed, "progress": False}
            job = Job("link_prediction", f"{name}, seed {seed}", Path(cfg.out).absolute() / name / f"seed_{seed}",
                      [*base, *flags(given), *(part for key, value in options.items() for part in (f"--{key}", value))])
            reason = None if job.finished else execute(job, Path(cfg.out) / "logs")
            failed += reason is not None
            print(f"{job.label}: {reason or 'done'}", flush=True)
            if reason is None:
                runs.append((name, Run(job.folder).results))
        text = table(runs)
        with replacing(Path(cfg.out) / "table.md") as part:
            part.write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\nfolder: {cfg.out}")
    return int(failed > 0)


def table(runs: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Mean ± standard deviation over the seeds, in percent, of the test pairs; a Markdown table.

    Args:
        runs: names of graphs, and the ``results.json`` of their runs.
    """
    lines = []
    for graph, results in runs:
        scorers = {"the result": results["metrics"], **results["scorers"], **results["baselines"]}
        lines += [{"graph": graph, "scorer": name, **figures["test"]} for name, figures in scorers.items()]
    frame = pd.DataFrame(lines)
    grouped = frame.groupby(["graph", "scorer"], sort=False)
    mean, spread, count = grouped.mean(), grouped.std(), grouped.size()
    shown = pd.DataFrame({name: list(map(percent, mean[name], spread[name])) for name in mean}, index=mean.index)
    shown.insert(0, "seeds", count)
    published = read_yaml(PUBLISHED)
    cited = [{"graph": graph, "scorer": f"published: {source}", "seeds": "", **{k: str(v) for k, v in figures.items()}}
             for graph in dict.fromkeys(frame["graph"]) for source, figures in published.get(graph, {}).items()]
    return markdown_table(pd.concat([shown.reset_index(), pd.DataFrame(cited)], ignore_index=True))
