"""Our figures beside the published ones: Markdown, CSV, LaTeX and a plot."""
import os
from pathlib import Path

import numpy as np
import pandas as pd

from mprd_pyg.evaluation import MODES, SINGLE_SHOT
from pipelines.experiments.sweep import Sweep
from pipelines.experiments.table import METRICS
from pipelines.runs.finished_run import FinishedRun, Group
from pipelines.runs.markdown import markdown_table, percent

TITLES = {"market1501": "Market-1501", "dukemtmc_reid": "DukeMTMC-reID", "msmt17": "MSMT17", "cuhk03": "CUHK03",
          "cuhk01": "CUHK01", "viper": "VIPeR"}


def write_report(sweep: Sweep, failed: dict[Path, str]) -> str:
    """Write ``table.md``, ``.csv``, ``.tex`` and ``plot.png``, ``.svg``; returns the Markdown.

    Args:
        sweep: with some or all of its runs finished.
        failed: run folder -> reason.
    """
    groups = {row.name: Group(row.name, [FinishedRun(job.folder) for job in (
        sweep.job(row, seed) for seed in sweep.seeds) if job.finished]) for row in sweep.rows}
    measured = {mode for group in groups.values() for run in group.runs for mode in run.metrics}
    modes = [mode for mode in (SINGLE_SHOT, *MODES) if mode in measured]
    long = long_table(sweep, groups)
    table = shown_table(sweep, groups, modes, {folder.parent.name for folder in failed})
    note = notes(sweep, failed)
    markdown = f"### {sweep.table.title}, on {sweep.card}\n\n{markdown_table(table)}\n\n{note}\n"
    for name, text in (("table.md", markdown), ("table.csv", long.to_csv(index=False)),
                       ("table.tex", latex(table, sweep.table.title, note))):
        part = sweep.out / (name + ".part")
        part.write_text(text, encoding="utf-8")
        os.replace(part, sweep.out / name)
    if any(group.runs for group in groups.values()):
        from pipelines.experiments.plot import draw  # matplotlib takes a second to import
        draw(sweep, groups, modes)
    return markdown


def published_cards(sweep: Sweep) -> list[str]:
    """The card itself if the paper has it, else all that it has."""
    return [sweep.card] if sweep.card in sweep.table.cards else sweep.table.cards


def long_table(sweep: Sweep, groups: dict[str, Group]) -> pd.DataFrame:
    """A line per figure: row, source (ours or paper), card, mode, seed, metric, percent."""
    lines = []
    for row in sweep.table.rows:
        for run in groups[row.name].runs if row.name in groups else ():
            lines += [(row.name, "ours", sweep.card, mode, run.seed, METRICS[metric], 100 * figures[metric])
                      for mode, figures in run.metrics.items() for metric in METRICS if metric in figures]
        for card, figures in row.published.items():
            lines += [(row.name, "paper", card, "standard", None, METRICS[metric], value)
                      for metric, value in zip(sweep.table.metrics, figures, strict=True) if value is not None]
    frame = pd.DataFrame(lines, columns=["row", "source", "card", "mode", "seed", "metric", "percent"])
    return frame.astype({"seed": "Int64"})


def shown_table(sweep: Sweep, groups: dict[str, Group], modes: list[str], failed: set[str]) -> pd.DataFrame:
    """The paper's table with ours before it: mean ± sd in percent."""
    rows = []
    for row in sweep.table.rows:
        shown: dict[str, object] = {"row": row.name}
        group = groups.get(row.name)
        runs = group.runs if group else []
        shown["seeds"] = "cited" if row.cited else (
            f"{len(runs)}" if len(runs) == len(sweep.seeds) else f"{len(runs)} of {len(sweep.seeds)}") + (
            ", failed" if sweep.same.get(row.name, row).slug in failed else "")
        for mode in modes:
            for metric in sweep.table.metrics:
                shown[f"{mode} {METRICS[metric]}"] = percent(*group.figures(mode, metric)) if runs else ""
        for card in published_cards(sweep):
            for metric, value in zip(sweep.table.metrics, row.published.get(card, [None] * len(sweep.table.metrics)),
                                     strict=True):
                shown[f"paper, {TITLES.get(card, card)} {METRICS[metric]}"] = "" if value is None else f"{value:.1f}"
        rows.append(shown)
    return pd.DataFrame(rows)


def notes(sweep: Sweep, failed: dict[Path, str]) -> str:
    """What a reader must know about the table."""
    seeds = f"seeds {', '.join(map(str, sweep.seeds))}"
    lines = [f"Percent; ours: mean{' ± standard deviation' if len(sweep.seeds) > 1 else ''} over {seeds}, last epoch, "
             f"configuration `{sweep.config}`."]
    if sweep.table.cards and sweep.card not in sweep.table.cards:
        lines.append("The paper's figures are of other data: the order of the rows may be compared, the values not.")
    if sweep.table.axis and not sweep.table.cards:
        lines.append("The paper gives its curves as a picture only.")
    for name, same in sweep.same.items():
        if same.name != name:
            lines.append(f"{name} has the same options as {same.name} here: one run stands for both.")
    lines += [f"Failed: {folder.parent.name}, {folder.name}: {reason.splitlines()[0]}"
              for folder, reason in failed.items()]
    return "\n".join(lines)


def latex(table: pd.DataFrame, title: str, note: str) -> str:
    """A ``booktabs`` table."""
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", rf"\caption{{{escape(title)}. {escape(note)}}}",
             r"\centering", rf"\begin{{tabular}}{{ll{'r' * (table.shape[1] - 2)}}}", r"\toprule",
             " & ".join(map(escape, table.columns)) + r" \\", r"\midrule"]
    lines += [" & ".join(escape(str(cell)) for cell in row) + r" \\" for row in table.to_numpy()]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def escape(text: str) -> str:
    """Text with LaTeX's own characters escaped."""
    special = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
               "μ": r"$\mu$", "λ": r"$\lambda$", "\n": " "} | {char: "\\" + char for char in "_%&#${}"}
    return "".join(special.get(char, char) for char in text)


def series(sweep: Sweep, groups: dict[str, Group], mode: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd in percent, one per row of the table; NaN where there is none."""
    figures = [groups[row.name].figures(mode, metric) if row.name in groups and groups[row.name].runs else
               (np.nan, np.nan) for row in sweep.table.rows]
    mean, spread = 100 * np.array(figures).T
    return mean, np.nan_to_num(spread)
