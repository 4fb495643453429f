"""A data card for a table of images, by the names of its columns and the values of its splits."""
import os
from dataclasses import dataclass
from pathlib import Path

from mprd_pyg.data.cards.annotation_table import ROLES, read_columns
from mprd_pyg.data.cards.card import DataCard
from mprd_pyg.data.cards.choose_evaluation import check_split_choice, choose_split, evaluable, with_counts
from mprd_pyg.data.cards.propose import FOLDERS, TERMS, Proposal, safe_name
from mprd_pyg.data.cards.schema import LEFT_OUT, Table, TableError

NAMES = {
    "path": ("path", "file_path", "filepath", "image_path", "img_path", "file_name", "filename", "file", "image",
             "img"),
    "identity": ("identity", "identity_id", "individual", "individual_id", "individual_name", "animal", "animal_id",
                 "person", "person_id", "pid", "subject", "label", "name"),
    "camera": ("camera", "camera_id", "cam", "cam_id", "camid", "camera_station", "station"),
    "split": ("split", "subset", "partition", "set"),
    "date": ("date", "datetime", "date_time", "timestamp", "date_taken"),
    "tracklet": ("tracklet", "tracklet_id", "track", "track_id"),
}
"""What columns are usually called, the surest name first; compared without regard to case."""


@dataclass(frozen=True)
class Column:
    """A column of the table: its name and its different values, sorted."""

    name: str
    distinct: list[str]

    def __str__(self):
        return f"the column {self.name!r}"


def propose_table(file: str | Path, root: str | Path | None = None, name: str | None = None, path: str = "auto",
                  person: str = "auto", camera: str = "auto", split: str = "auto") -> Proposal:
    """Look at a table of images and propose its card.

    Args:
        file: CSV or Parquet with a row per image.
        root: the folder that its paths are relative to, which holds the table at any depth; the table's by default.
        name: of the card; the table's by default.
        path: the column of the paths, or ``"auto"``.
        person: the column of the identities, ``"none"``, or ``"auto"``.
        camera: the column of the cameras, likewise.
        split: where the table has no splits, see :func:`propose_card`.

    Raises:
        TableError: the table cannot be used, see :func:`~mprd_pyg.data.cards.annotation_table.read_rows`.
        ValueError: an override names no column, or the table lies outside the root.
    """
    check_split_choice(split)
    file = Path(os.path.abspath(Path(file).expanduser()))
    root = Path(os.path.abspath(Path(root).expanduser())) if root else file.parent
    if not file.is_file():
        raise FileNotFoundError(f"{file} is no file")
    if not file.is_relative_to(root):
        raise ValueError(f"the table {file} is not below the root {root}: copy it there")
    cells = read_columns(file)
    lower = {column.lower(): column for column in reversed(cells.columns)}
    chosen = {role: next((lower[name] for name in NAMES[role] if name in lower), None) for role in ROLES}
    for role, option, want in (("path", "path", path), ("identity", "person", person), ("camera", "camera", camera)):
        if want != "auto":
            chosen[role] = None if want == "none" else want
        if chosen[role] not in cells and (want != "none" or role == "path") and (want != "auto" or role != "camera"):
            said = NAMES[role][0] if want == "auto" else want
            raise TableError(f"{file} has no column {said!r} for the {role} (columns: "
                             f"{', '.join(cells.columns[:20])}): --{option} NAME names it"
                             + ", --person none does without" * (role == "identity"))
    names, notes, query_only = {}, [], False
    if chosen["split"]:
        names, query_only, notes = _split_names(sorted(set(cells[chosen["split"]])))
        chosen["split"] = chosen["split"] if names else None
    table = Table(file=file.relative_to(root).as_posix(), split_names={
        value: split for value, split in names.items() if value != split}, **{
        role: column for role, column in chosen.items() if column or role in cells or role == "identity"})
    card = DataCard(name=name or safe_name(file.stem), layout="table", table=table, title=file.stem,
                    gallery_includes_query=query_only, obtaining="your own", terms=TERMS)
    card, more = evaluable(card, root) if names else choose_split(card, root, split)
    frame = card.scan(root)
    fields = [Column(column, sorted(set(cells[column]) - {""})) for column in cells.columns]
    by_name = {field.name: field for field in fields}
    return Proposal(with_counts(card, frame), frame, fields, by_name.get(chosen["identity"]),
                    by_name.get(chosen["camera"]), notes + more)


def _split_names(values: list[str]) -> tuple[dict[str, str], bool, list[str]]:
    """What each value of the split column means, whether the queries are the gallery, and what to say about it.

    Nothing, where none of them means training.
    """
    known = {name: split for split, names in FOLDERS.items() for name in names}
    names = {value: known.get(value.lower(), LEFT_OUT) for value in values}
    found = set(names.values())
    if "train" not in found:
        return {}, False, []
    if "gallery" in found and "query" not in found:
        names = {value: "query" if split == "gallery" else split for value, split in names.items()}
    notes = ["splits: " + ", ".join(f"{value!r} is {'left out' if split == LEFT_OUT else split}"
                                    for value, split in names.items())]
    only = "query" in names.values() and "gallery" not in names.values()
    return names, only, notes + ["the gallery is all query images"] * only
