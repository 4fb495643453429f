"""Figures as text: percent with its spread, and Markdown tables."""
import math

import pandas as pd


def percent(mean: float, spread: float = float("nan")) -> str:
    """``51.1 ± 0.4`` of fractions; the spread is left out, and the whole empty, where it is NaN."""
    if math.isnan(mean):
        return ""
    return f"{100 * mean:.1f}" + ("" if math.isnan(spread) else f" ± {100 * spread:.1f}")


def markdown_table(frame: pd.DataFrame) -> str:
    """A GitHub table; ``|`` in a cell is escaped, missing cells are empty."""
    cells = [[str(name) for name in frame.columns], *(
        ["" if pd.isna(value) else str(value) for value in row] for row in frame.itertuples(index=False, name=None))]
    lines = ["| " + " | ".join(cell.replace("|", r"\|").replace("\n", " ") for cell in row) + " |" for row in cells]
    return "\n".join([lines[0], "|---" * len(frame.columns) + "|", *lines[1:]])
