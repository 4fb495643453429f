"""A table of our figures beside the published ones: Markdown, CSV, LaTeX and a plot."""
from pathlib import Path

import numpy as np
import pandas as pd

from mprd_pyg.files import replacing
from pipelines.experiments.figures import Figures
from pipelines.experiments.plan import Plan
from pipelines.experiments.table import CARD_TITLES, METRICS
from pipelines.runs.markdown import markdown_table, percent


def write_report(plan: Plan, failed: dict[Path, str]) -> str:
    """Write ``table.md``, ``.csv``, ``.tex`` and ``plot.png``, ``.svg``; returns the Markdown.

    Args:
        plan: with some or all of its runs finished.
        failed: run folder -> reason.
    """
    figures, note = Figures(plan), notes(plan, failed)
    table = shown_table(figures, {folder.parent.name for folder in failed})
    markdown = f"### {plan.table.title}, on {plan.card}\n\n{markdown_table(table)}\n\n{note}\n"
    for name, text in (("table.md", markdown), ("table.csv", figures.long_table().to_csv(index=False)),
                       ("table.tex", latex(table, plan.table.title, note))):
        with replacing(plan.out / name) as part:
            part.write_text(text, encoding="utf-8")
    if figures.modes:
        from pipelines.experiments.plot import write_plot  # matplotlib takes a second to import
        write_plot(figures)
    return markdown


def shown_table(figures: Figures, failed: set[str]) -> pd.DataFrame:
    """The paper's table with ours before it: mean ± standard deviation in percent."""
    plan = figures.plan
    seeds = [_seeds(figures, row, failed) for row in plan.table.rows]
    columns: dict[str, list[str]] = {"row": [row.name for row in plan.table.rows], "seeds": seeds}
    for mode in figures.modes:
        for metric in plan.table.metrics:
            columns[f"{mode} {METRICS[metric]}"] = [percent(*pair) for pair in figures.ours(mode, metric).T]
    for card in figures.cards:
        for metric in plan.table.metrics:
            columns[f"paper, {CARD_TITLES.get(card, card)} {METRICS[metric]}"] = [
                "" if np.isnan(value) else f"{value:.1f}" for value in figures.published(card, metric)]
    return pd.DataFrame(columns)


def _seeds(figures: Figures, row, failed: set[str]) -> str:
    if row.cited:
        return "cited"
    count, wanted = figures.count(row.name), len(figures.plan.seeds)
    return f"{count}" + f" of {wanted}" * (count < wanted) + ", failed" * (figures.plan.same[row.name].slug in failed)


def notes(plan: Plan, failed: dict[Path, str]) -> str:
    """What a reader must know about the table."""
    seeds = f"seeds {', '.join(map(str, plan.seeds))}"
    lines = [f"Percent; ours: mean{' ± standard deviation' if len(plan.seeds) > 1 else ''} over {seeds}, last epoch, "
             f"configuration `{plan.config}`."]
    if plan.table.cards and plan.card not in plan.table.cards:
        lines.append("The paper's figures are of other data: the order of the rows may be compared, the values not.")
    if plan.table.axis and not plan.table.cards:
        lines.append("The paper gives its curves as a picture only.")
    lines += [f"{name} has the same options as {same.name} here: one run stands for both."
              for name, same in plan.same.items() if same.name != name]
    lines += [f"Failed: {folder.parent.name}, {folder.name}: {reason.splitlines()[0]}"
              for folder, reason in failed.items()]
    return "\n".join(lines)


def latex(table: pd.DataFrame, title: str, note: str) -> str:
    """A ``booktabs`` table."""
    text = table.map(escape).rename(columns=escape).to_latex(
        index=False, escape=False, column_format="ll" + "r" * (table.shape[1] - 2), position="tb",
        caption=f"{escape(title)}. {escape(note)}")
    return "% \\usepackage{booktabs}\n" + text


def escape(text: str) -> str:
    """Text with LaTeX's own characters escaped."""
    special = {"\\": r"\textbackslash{}", "±": r"$\pm$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
               "μ": r"$\mu$", "λ": r"$\lambda$", "\n": " "} | {char: "\\" + char for char in "_%&#${}"}
    return "".join(special.get(char, char) for char in text)
