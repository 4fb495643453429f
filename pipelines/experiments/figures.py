"""Our figures of a table's rows beside the published ones, as numbers."""
import numpy as np
import pandas as pd

from mprd_pyg.evaluation import MODES, SINGLE_SHOT
from pipelines.experiments.plan import Plan
from pipelines.experiments.table import METRICS
from pipelines.runs.comparison import Group
from pipelines.runs.run import Run


class Figures:
    """What the finished runs of a plan gave.

    Args:
        plan: with some or all of its runs finished.

    Attributes:
        groups: row's name -> its finished runs; rows that are only cited have none.
        modes: ways of ranking that some run has figures of.
        cards: of the published figures to show: the card itself if the paper has it, else all that it has.
    """

    def __init__(self, plan: Plan):
        self.plan = plan
        self.groups = {row.name: Group(row.name, [Run(job.folder) for job in (
            plan.job(row, seed) for seed in plan.seeds) if job.finished]) for row in plan.rows}
        measured = {mode for group in self.groups.values() for run in group.runs for mode in run.metrics}
        self.modes = [mode for mode in (SINGLE_SHOT, *MODES) if mode in measured]
        self.cards = [plan.card] if plan.card in plan.table.cards else plan.table.cards

    def count(self, name: str) -> int:
        """How many runs of a row are finished."""
        return len(self.groups[name].runs) if name in self.groups else 0

    def long_table(self) -> pd.DataFrame:
        """A line per figure: row, source (ours or paper), card, mode, seed, metric, percent."""
        lines = []
        for row in self.plan.table.rows:
            for run in self.groups[row.name].runs if row.name in self.groups else ():
                lines += [(row.name, "ours", self.plan.card, mode, run.seed, METRICS[metric], 100 * figures[metric])
                          for mode, figures in run.metrics.items() for metric in METRICS if metric in figures]
            for card, figures in row.published.items():
                lines += [(row.name, "paper", card, "standard", None, METRICS[metric], value)
                          for metric, value in zip(self.plan.table.metrics, figures, strict=True) if value is not None]
        frame = pd.DataFrame(lines, columns=["row", "source", "card", "mode", "seed", "metric", "percent"])
        return frame.astype({"seed": "Int64"})

    def ours(self, mode: str, metric: str) -> np.ndarray:
        """(2, rows of the table) mean and standard deviation, as fractions; NaN where there is none."""
        return np.array([self.groups[row.name].figures(mode, metric) if self.count(row.name) else (np.nan, np.nan)
                         for row in self.plan.table.rows]).T

    def published(self, card: str, metric: str) -> np.ndarray:
        """The paper's figures in percent, one per row of the table; NaN where there is none."""
        column = self.plan.table.metrics.index(metric)
        return np.array([row.published[card][column] if card in row.published else None
                         for row in self.plan.table.rows], dtype=float)
