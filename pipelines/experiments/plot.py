"""The plot of a table (rows as dots) or of a sweep (the paper's axes)."""
import os

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.experiments.report import TITLES, published_cards, series
from pipelines.experiments.sweep import Sweep
from pipelines.experiments.table import METRICS
from pipelines.runs.finished_run import Group

COLOURS = {"standard": "#2654c8", "cross": "#d1741f", "single_shot": "#1f8a5b"}
SIGNS = ("x", "+", "1")
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "experiments"}


def draw(sweep: Sweep, groups: dict[str, Group], modes: list[str]) -> None:
    """Write ``plot.png`` and ``plot.svg`` into the sweep's folder."""
    with matplotlib.rc_context(STYLE):
        figure = _sweep(sweep, groups, modes) if sweep.table.axis else _table(sweep, groups, modes)
        for name in ("plot.png", "plot.svg"):
            part = sweep.out / f"part-{name}"
            figure.savefig(part, dpi=150, metadata={"Date": None} if name.endswith("svg") else None)
            os.replace(part, sweep.out / name)


def _table(sweep: Sweep, groups: dict[str, Group], modes: list[str]) -> Figure:
    rows, metrics = sweep.table.rows, sweep.table.metrics
    figure = Figure(figsize=(2.2 + 2.9 * len(metrics), 1.5 + 0.33 * len(rows)), layout="constrained")
    place = np.arange(len(rows))
    axes = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for column, (axis, metric) in enumerate(zip(axes, metrics, strict=True)):
        for shift, mode in zip(np.linspace(-0.12, 0.12, len(modes)) if len(modes) > 1 else [0], modes, strict=True):
            mean, spread = series(sweep, groups, mode, metric)
            axis.errorbar(mean, place + shift, xerr=spread, fmt="o", ms=5, capsize=2, color=COLOURS[mode],
                          label=f"ours, {mode}")
        for sign, card in zip(SIGNS, published_cards(sweep), strict=False):
            values = [row.published.get(card, [None] * len(metrics))[column] for row in rows]
            axis.plot([np.nan if value is None else value for value in values], place, sign, color="#666666", ms=6,
                      label=f"paper, {TITLES.get(card, card)}")
        axis.set_xlabel(f"{METRICS[metric]} (%)")
        axis.set_xlim(0, 100)
        axis.grid(color="#e4e2dd", lw=0.6)
        axis.set_axisbelow(True)
    axes[0].set_yticks(place, [row.name for row in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    _finish(figure, axes[0], f"{sweep.table.title}, ours on {TITLES.get(sweep.card, sweep.card)}")
    return figure


def _sweep(sweep: Sweep, groups: dict[str, Group], modes: list[str]) -> Figure:
    figure = Figure(figsize=(1 + 3.6 * len(modes), 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, max(1, len(modes))))
    values = np.array([row.value for row in sweep.table.rows])
    for axis, mode in zip(axes, modes, strict=True):
        for metric, line, sign in zip(sweep.table.metrics, ("-", "--", ":"), "os^", strict=False):
            mean, spread = series(sweep, groups, mode, metric)
            there = ~np.isnan(mean)
            axis.errorbar(values[there], mean[there], yerr=spread[there], fmt=sign + line, capsize=2, ms=5,
                          color=COLOURS[mode], label=METRICS[metric])
        axis.set_xlabel(sweep.table.axis)
        axis.set_ylabel("%")
        axis.set_xticks(values, [f"{value:g}" for value in values])
        axis.set_title(f"{TITLES.get(sweep.card, sweep.card)}, {mode}", fontsize=9)
        axis.grid(color="#e4e2dd", lw=0.6)
    _finish(figure, axes[0], sweep.table.title)
    return figure


def _finish(figure: Figure, axis: Axes, title: str) -> None:
    figure.suptitle(title, fontsize=10)
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
