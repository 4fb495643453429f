"""Put runs side by side: figures, options that differ, and how sure the difference of mAP is.

python -m pipelines.compare runs/ONE runs/TWO ...       # the others against the first
"""
import sys
from collections.abc import Sequence

import pandas as pd
from jsonargparse import Namespace

from mprd_pyg.evaluation import MODES, SINGLE_SHOT
from pipelines.command_line import cli
from pipelines.runs.comparison import Group, difference, different_options, group_runs
from pipelines.runs.markdown import markdown_table, percent
from pipelines.runs.run import Run
from pipelines.runs.run_folder import RunFolder

METRICS = {"mAP": "mAP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mINP": "mINP"}


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.compare", description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=str, nargs="+", help="run folders; those that differ in the seed only are grouped")
    parser.add_argument("--by_person", type=bool, default=False,
                        help="resample identities instead of queries: wider, for queries of one person are alike")
    parser.add_argument("--samples", type=int, default=10_000, help="of the bootstrap")
    parser.add_argument("--level", type=float, default=0.95, help="of its intervals")
    parser.add_argument("--seed", type=int, default=0, help="of its resampling")
    parser.add_argument("--out", type=str | None, default=None, help="folder for compare.md and CSV files")
    return parser


def figures_table(groups: Sequence[Group]) -> pd.DataFrame:
    """A row per group, a column per mode and metric, as mean ± sd in percent."""
    return pd.DataFrame([{"run": group.name, "seeds": len(group.runs)} | {
        f"{mode} {shown}": percent(*group.figures(mode, metric)) for mode in (*MODES, SINGLE_SHOT)
        for metric, shown in METRICS.items()
        if any(mode in run.metrics for each in groups for run in each.runs)} for group in groups])


def differences_table(groups: Sequence[Group], by_person: bool = False, samples: int = 10_000, level: float = 0.95,
                      seed: int = 0) -> pd.DataFrame:
    """A row per mode and group after the first: difference of mAP to the first in points, interval, p-value."""
    rows = []
    for mode in MODES:
        if not all(mode in run.metrics for group in groups for run in group.runs):
            continue
        for group in groups[1:]:
            found = difference(groups[0], group, mode, by_person, samples=samples, level=level, seed=seed)
            row = {"mode": mode, "run": group.name, "against": groups[0].name}
            rows.append(row | ({"difference of mAP": found} if isinstance(found, str) else {
                "difference of mAP": f"{100 * found.mean:+.2f}",
                f"{100 * level:g} % interval": f"{100 * found.low:+.2f} to {100 * found.high:+.2f}",
                "p": f"{found.p_value:.2g}", "queries": found.queries,
                "resampled": f"{found.groups} {'identities' if by_person else 'queries'}"}))
    return pd.DataFrame(rows)


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Read, compare, show."""
    runs = [Run(path) for path in cfg.runs]
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise ValueError("a run was given twice")
    groups = group_runs(runs)
    figures, options = figures_table(groups), different_options(groups)
    differences = differences_table(groups, cfg.by_person, cfg.samples, cfg.level, cfg.seed)
    fingerprints = {run.fingerprint for run in runs}
    parts = [f"{len(runs)} runs, percent, mean ± standard deviation over seeds\n\n{markdown_table(figures)}"]
    if len(fingerprints) > 1:
        parts.append(f"The runs are of {len(fingerprints)} different sets of images: figures do not compare.")
    if len(groups) > 1:
        named = options.rename_axis("option").reset_index()
        parts.append(f"Options that differ\n\n{markdown_table(named)}" if len(options) else "No option differs.")
    if len(differences):
        parts.append(f"Paired bootstrap over queries, each query's precision averaged over the seeds\n\n"
                     f"{markdown_table(differences)}\n\nThe interval is about other queries, not other training seeds: "
                     f"the standard deviations above are.")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if cfg.out is not None:
        folder = RunFolder(cfg.out, "compare")
        folder.write_text("compare.md", text)
        for name, frame in (("figures", figures), ("differences", differences), ("options", options)):
            folder.write_text(f"{name}.csv", frame.to_csv(index=name == "options"))
        print(f"written to {folder.path}")


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
