"""Reading Parquet files that somebody else may have written."""
from collections.abc import Sequence
from pathlib import Path

import pandas as pd


def read_parquet(path: str | Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A Parquet file, or some of its columns, with all text decoded.

    pandas decodes text when it is first looked at; bytes that are no UTF-8 are an error here instead.
    """
    frame = pd.read_parquet(path, columns=None if columns is None else list(columns))
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.StringDtype):
            frame[name].to_numpy(dtype=object)
    return frame
