"""The image table: a pandas frame in a fixed order, so that row = memory slot = graph node."""
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pandas as pd

from mprd_pyg.data.cards.schema import SPLITS

ImageTable = pd.DataFrame
"""A frame that :func:`check_table` accepts; ``attrs`` holds ``root`` and ``card`` (a name), both text."""

COLUMNS = ("path", "person_id", "camera_id", "split")


def make_table(rows: Iterable[tuple[str, int, int, str]]) -> ImageTable:
    """Build a table from rows (path, person_id, camera_id, split) in any order; checked and sorted."""
    rows = sorted(rows, key=lambda row: (SPLITS.index(row[3]), row[0]))
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"person_id": "int64", "camera_id": "int64"})
    check_table(frame)
    return frame


def check_table(frame: ImageTable) -> None:
    """Say what a legal image table is, by raising ``ValueError`` on any other.

    - columns ``path``, ``person_id``, ``camera_id``, ``split``, perhaps ``tracklet_id``; more are allowed; at least
      one row;
    - ``path``: text, posix, relative to the root, no two alike;
    - ``person_id``: int64, -1 where unknown; ``camera_id``: int64, 0 where the names carry none; ``tracklet_id``:
      int64, -1 for none, images of one are known to show one individual;
    - ``split``: ``train``, ``query`` or ``gallery``;
    - rows sorted by split in that order, then by path; the index is 0, 1, 2, ...

    Args:
        frame: (N rows) the table to check.
    """
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise ValueError(f"an image table has columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}")
    if len(frame) == 0:
        raise ValueError("an image table needs at least one row")
    for column, least in (("person_id", -1), ("camera_id", 0), ("tracklet_id", -1)):
        if column not in frame.columns:
            continue
        if frame[column].dtype != "int64":
            raise ValueError(f"column {column} must be int64, found {frame[column].dtype}")
        if frame[column].min() < least:
            row = int(frame[column].argmin())
            raise ValueError(f"column {column} must be at least {least}; row {row} "
                             f"({frame['path'].iloc[row]}) has {frame[column].iloc[row]}")
    strange = sorted({str(split) for split in frame["split"].unique()} - set(SPLITS))
    if strange:
        raise ValueError(f"column split must hold {', '.join(SPLITS)}; found {', '.join(strange)}")
    paths = frame["path"].tolist()
    for path in paths:
        if not isinstance(path, str) or path != PurePosixPath(path).as_posix() or path.startswith("/") \
                or path == "." or ".." in path.split("/"):
            raise ValueError(f"column path must hold posix paths relative to the data root, found {path!r}")
    twice = frame["path"][frame["path"].duplicated()]
    if len(twice):
        raise ValueError(f"{len(twice)} paths stand in the table twice, first: {', '.join(twice.iloc[:5])} "
                         "(do two splits of the card read the same folder with patterns that overlap?)")
    order = {split: i for i, split in enumerate(SPLITS)}
    keys = list(zip(frame["split"].map(order).tolist(), paths, strict=True))
    if keys != sorted(keys):
        raise ValueError(f"rows must be sorted by split ({', '.join(SPLITS)}), then by path: use make_table")
    if not frame.index.equals(pd.RangeIndex(len(frame))):
        raise ValueError("the index must be 0, 1, 2, ...: use frame.reset_index(drop=True)")


def table_root(frame: ImageTable, root: str | Path | None = None) -> Path:
    """The folder that the table's paths are relative to: ``root``, or else ``frame.attrs['root']``."""
    root = frame.attrs.get("root") if root is None else root
    if root is None:
        raise ValueError("the table carries no attrs['root']: pass the data root")
    return Path(root).expanduser()


def fingerprint(frame: ImageTable, root: str | Path | None = None) -> str:
    """The sha256 over every row's path, ids, camera, split and file size, independent of where the root is.

    Args:
        frame: the image table.
        root: the data root; None takes ``frame.attrs["root"]``. A missing file raises ``FileNotFoundError``.

    Returns:
        64 hexadecimal digits.
    """
    root = table_root(frame, root)
    digest = hashlib.sha256()
    for row in frame[list(COLUMNS)].itertuples(index=False):
        size = os.stat(root / row.path).st_size
        digest.update(f"{row.path}\0{row.person_id}\0{row.camera_id}\0{row.split}\0{size}\n".encode())
    return digest.hexdigest()
