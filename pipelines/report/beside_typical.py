"""A table of pairs with their statistics, above what is typical of either kind."""
from collections.abc import Sequence

import pandas as pd

from pipelines.report.blocks import Table


def beside_typical(header: Sequence[str], labels: Sequence[Sequence[str]], shown: pd.DataFrame, known: pd.DataFrame,
                   truth: pd.Series, kinds: tuple[str, str], caption: str) -> Table:
    """A line per pair, then the medians of true and of false pairs.

    Args:
        header: of the first columns.
        labels: what they say of each pair.
        shown: (R rows) statistics of those pairs; a column each.
        known: (P rows) the same of all pairs whose truth is known.
        truth: (P,) bool.
        kinds: names of the two last lines, of true and of false pairs.
        caption: below the table.
    """
    lines = [[*label, *map(_figure, row)] for label, row in zip(labels, shown.itertuples(index=False), strict=True)]
    for kind, which in zip(kinds, (truth, ~truth), strict=True):
        lines.append([kind, *[""] * (len(header) - 1), *map(_figure, known[which].median())])
    return Table([*header, *(name.replace("_", " ") for name in shown)], lines, caption, numeric=True)


def _figure(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
