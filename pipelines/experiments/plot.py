"""The plot of a table (rows as dots) or of a sweep (the paper's axes)."""
import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mprd_pyg.files import replacing
from pipelines.experiments.figures import Figures
from pipelines.experiments.table import CARD_TITLES, METRICS

COLOURS = {"standard": "#2654c8", "cross": "#d1741f", "single_shot": "#1f8a5b"}
MARKERS = ("x", "+", "1")
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "experiments"}


def write_plot(figures: Figures) -> None:
    """Write ``plot.png`` and ``plot.svg`` into the plan's folder."""
    with matplotlib.rc_context(STYLE):
        figure = plot_sweep(figures) if figures.plan.table.axis else plot_table(figures)
        for kind, metadata in (("png", None), ("svg", {"Date": None})):
            with replacing(figures.plan.out / f"plot.{kind}") as part:
                figure.savefig(part, format=kind, dpi=150, metadata=metadata)


def plot_table(figures: Figures) -> Figure:
    """A column per metric, a line per row: ours with its spread, and the paper's."""
    plan = figures.plan
    rows, metrics, modes = plan.table.rows, plan.table.metrics, figures.modes
    figure = Figure(figsize=(2.2 + 2.9 * len(metrics), 1.5 + 0.33 * len(rows)), layout="constrained")
    place = np.arange(len(rows))
    axes = np.atleast_1d(figure.subplots(1, len(metrics), sharey=True))
    for axis, metric in zip(axes, metrics, strict=True):
        for shift, mode in zip(np.linspace(-0.12, 0.12, len(modes)) if len(modes) > 1 else [0], modes, strict=True):
            mean, spread = 100 * figures.ours(mode, metric)
            axis.errorbar(mean, place + shift, xerr=np.nan_to_num(spread), fmt="o", ms=5, capsize=2,
                          color=COLOURS[mode], label=f"ours, {mode}")
        for marker, card in zip(MARKERS, figures.cards, strict=False):
            axis.plot(figures.published(card, metric), place, marker, color="#666666", ms=6,
                      label=f"paper, {CARD_TITLES.get(card, card)}")
        axis.set_xlabel(f"{METRICS[metric]} (%)")
        axis.set_xlim(0, 100)
        axis.grid(color="#e4e2dd", lw=0.6)
        axis.set_axisbelow(True)
    axes[0].set_yticks(place, [row.name for row in rows])
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    _finish(figure, axes[0], f"{plan.table.title}, ours on {CARD_TITLES.get(plan.card, plan.card)}")
    return figure


def plot_sweep(figures: Figures) -> Figure:
    """A column per mode: the metrics over the swept option's values."""
    table, card = figures.plan.table, figures.plan.card
    figure = Figure(figsize=(1 + 3.6 * len(figures.modes), 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(figures.modes)))
    values = np.array([row.value for row in table.rows])
    for axis, mode in zip(axes, figures.modes, strict=True):
        for metric, line, marker in zip(table.metrics, ("-", "--", ":"), "os^", strict=False):
            mean, spread = 100 * figures.ours(mode, metric)
            there = ~np.isnan(mean)
            axis.errorbar(values[there], mean[there], yerr=np.nan_to_num(spread[there]), fmt=marker + line, capsize=2,
                          ms=5, color=COLOURS[mode], label=METRICS[metric])
        axis.set_xlabel(table.axis)
        axis.set_ylabel("%")
        axis.set_xticks(values, [f"{value:g}" for value in values])
        axis.set_title(f"{CARD_TITLES.get(card, card)}, {mode}", fontsize=9)
        axis.grid(color="#e4e2dd", lw=0.6)
    _finish(figure, axes[0], table.title)
    return figure


def _finish(figure: Figure, axis: Axes, title: str) -> None:
    figure.suptitle(title, fontsize=10)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
