"""Rows of a CSV or Parquet file that lists images, as text; what cannot be used is told in one line."""
import csv
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from mprd_pyg.data.cards.schema import LEFT_OUT, SPLITS, Table, TableError
from mprd_pyg.data.cards.typed_yaml import nearest
from mprd_pyg.parquet import read_parquet

ROLES = ("path", "identity", "camera", "split", "date", "tracklet")
"""What a column can say, the keys of :class:`Table` that name it."""

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")


def is_table_name(name: str | Path) -> bool:
    """Whether a file's name ends as that of a table does."""
    return Path(name).suffix.lower() in SUFFIXES


def read_columns(file: Path) -> pd.DataFrame:
    """All columns of a table as text: names as they stand (``007``, ``NA``), empty for missing cells.

    Args:
        file: Parquet, or text in UTF-8 with a line of names, separated by comma, semicolon or tab.

    Raises:
        TableError: it cannot be read, or has no rows.
    """
    if not is_table_name(file):
        raise TableError(f"{file}: a table's name ends in {', '.join(SUFFIXES)}")
    try:
        frame = read_parquet(file) if file.suffix.lower() == ".parquet" else _read_text(file)
    except Exception as error:  # whatever the readers make of a damaged file
        said = " ".join(str(error).split())[:300]
        raise TableError(f"{file} cannot be read as a table: {said}; save it as CSV in UTF-8 or as Parquet") from None
    if not len(frame):
        raise TableError(f"{file} has no rows: give one for each image")
    frame.columns = [str(name).strip() for name in frame.columns]
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise TableError(f"{file}: two columns are called {twice[0]!r}: rename one")
    return frame.apply(_as_text)


def read_rows(root: Path, table: Table) -> Iterator[dict[str, str]]:
    """One dictionary per image of a split, of :data:`ROLES`; ``""`` where a column or a cell is missing.

    Args:
        root: data root; the file and all its paths lie below it.
        table: of a card.

    Raises:
        TableError: a column or a path is missing, a path lies outside the root, a file is not there or stands in two
            rows, or a split is unknown. The message names file, row and value; rows count from 1 without the names.
    """
    file = root / table.file
    if not file.is_file():
        raise TableError(f"the table {table.file} is not in {root}: give the folder that holds it as root, or name it "
                         "in the card (table: {file: NAME.csv})")
    columns = read_columns(file)
    rows = pd.DataFrame({role: columns[name] if (name := _column(file, columns, table, role)) else ""
                         for role in ROLES}, index=columns.index)
    rows["split"] = _splits(file, rows["split"], table)
    rows["path"] = _paths(file, rows["path"])
    rows = rows[rows["split"] != LEFT_OUT]
    absent = [path for path in rows["path"] if not (root / path).is_file()]
    if absent:
        raise TableError(f"{file}: {len(absent)} of {len(rows)} images are not below {root}, first: {absent[0]!r}: "
                         "give the folder that the paths are relative to as root, or remove their rows")
    return iter(rows.to_dict("records"))


def _read_text(file: Path) -> pd.DataFrame:
    with open(file, encoding="utf-8-sig", newline="") as text:
        separator = max(",;\t", key=text.readline().count)  # the first of equals: a comma
        text.seek(0)
        lines = [line for line in csv.reader(text, delimiter=separator, strict=True) if line]
    if not lines:
        raise ValueError("it is empty")
    uneven = next((row for row, line in enumerate(lines) if len(line) != len(lines[0])), None)
    if uneven is not None:
        raise ValueError(f"row {uneven} has {len(lines[uneven])} cells, and there are {len(lines[0])} names")
    return pd.DataFrame(lines[1:], columns=lines[0], dtype=object)


def _as_text(column: pd.Series) -> pd.Series:
    """Cells as text; whole numbers stored as floating ones, as pandas does beside missing cells, without their .0."""
    if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
        column = column.astype("Int64")
    return column.astype("string").fillna("").astype(object).str.strip()


def _column(file: Path, columns: pd.DataFrame, table: Table, role: str) -> str | None:
    """The column of a role, None where there is none and need not be."""
    name, default = getattr(table, role), Table.__dataclass_fields__[role].default
    if name is None or name in columns:
        return name
    if name == default and role not in ("path", "identity"):
        return None
    without = ", or identity: null where none is known" if role == "identity" else ""
    raise TableError(f"{file} has no column {name!r} for the {role}{nearest(name, columns.columns)} (columns: "
                     f"{', '.join(columns.columns[:20])}): name it in the card, table: {{{role}: NAME}}{without}")


def _at(cells: pd.Series, wrong: pd.Series) -> str:
    """How many rows, and the first of them."""
    row = int(wrong.to_numpy().argmax())
    return f"{int(wrong.sum())} rows, first row {row + 1}: {cells.iloc[row]!r}"


def _splits(file: Path, cells: pd.Series, table: Table) -> pd.Series:
    known = {name: name for name in SPLITS} | table.split_names
    if (cells == "").all():
        return cells
    wrong = ~cells.isin(list(known))
    if wrong.any():
        raise TableError(f"{file}: unknown split in {_at(cells, wrong)}: expected {', '.join(known)}; say what it "
                         f"means in the card, table: {{split_names: {{VALUE: train, query, gallery or {LEFT_OUT}}}}}, "
                         "or use no splits, split: null")
    return cells.map(known)


def _paths(file: Path, cells: pd.Series) -> pd.Series:
    if (cells == "").any():
        raise TableError(f"{file}: no path in {_at(cells, cells == '')}: give each row the path of its image, or "
                         "remove the row")
    paths = cells.str.replace("\\", "/", regex=False)
    outside = paths.str.match(r"/|[A-Za-z]:") | paths.str.split("/").map(lambda parts: ".." in parts)
    if outside.any():
        raise TableError(f"{file}: a path outside the root in {_at(cells, outside)}: give paths relative to the root, "
                         "without '..'")
    paths = paths.map(lambda path: PurePosixPath(path).as_posix())
    twice = paths.duplicated()
    if twice.any():
        raise TableError(f"{file}: a path that an earlier row has in {_at(paths, twice)}: an image shows one "
                         "individual; cut out one image for each, or remove the row")
    return paths
