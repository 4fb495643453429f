"""A data card for a folder of crops that has none: its splits, its names, and what was found in it."""
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mprd_pyg.data.cards.card import DataCard
from mprd_pyg.data.cards.counts import compare_counts
from mprd_pyg.data.cards.guess import Field, choose, find_fields, make_pattern, usual_depth
from mprd_pyg.data.cards.layouts import walk_images
from mprd_pyg.data.cards.schema import DataRootError, Split
from mprd_pyg.data.table import ImageTable

FOLDERS = {"train": ("bounding_box_train", "train", "training"), "query": ("query", "queries", "probe"),
           "gallery": ("bounding_box_test", "gallery", "test")}
TERMS = "yours to say. The people in your pictures have rights too: ask whether they agreed, and to what"


@dataclass
class Proposal:
    """A card, the table it gives, and how it came about.

    Args:
        card: the card.
        frame: the folder's image table by that card.
        fields: what could have been person and camera, in the order in which ``--person`` counts them from 1.
        person: the field taken for the identity.
        camera: the field taken for the camera.
        notes: what was decided, one sentence each.
    """

    card: DataCard
    frame: ImageTable
    fields: list[Field]
    person: Field | None
    camera: Field | None
    notes: list[str]


def propose_card(folder: str | Path, name: str | None = None, pattern: str | None = None, person: str = "auto",
                 camera: str = "auto", split: str = "auto") -> Proposal:
    """Look at a folder of crops and propose its card.

    Args:
        folder: it holds images, in any folders. Folders called train, query and gallery (or as Market-1501 calls
            them) directly below it are the splits.
        name: of the card; the folder's by default.
        pattern: use this regular expression (groups ``person`` and ``camera``) instead of guessing.
        person: which field is the identity: its number in :attr:`Proposal.fields`, ``"none"``, or ``"auto"``.
        camera: likewise.
        split: without split folders: ``"identity"`` trains on every other identity and ranks the others, ``"none"``
            trains on all images, ``"auto"`` splits where the rest can be ranked.

    Raises:
        DataRootError: there are no images, or the pattern fits none.
        ValueError: an override names no field.
    """
    folder = Path(os.path.abspath(Path(folder).expanduser()))
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    if split not in ("auto", "identity", "none"):
        raise ValueError(f"split must be auto, identity or none, got {split!r}")
    splits, notes = find_splits(folder)
    names = {split: list(walk_images(folder / s.folder[0])) for split, s in splits.items()}
    if not names["train"]:
        raise DataRootError(f"{folder} holds no image (file names ending in .jpg, .png, ...)")
    usual = usual_depth(names["train"])
    fields, who, where = find_fields(usual), None, None
    if pattern is None:
        who, where = choose(_candidates(fields, person, "person"), _candidates(fields, camera, "camera"))
        depth, every = usual[0].count("/"), [path for part in names.values() for path in part]
        pattern = make_pattern([path for path in every if path.count("/") == depth], who, where)
    groups = re.compile(pattern).groupindex
    card = DataCard(name=name or _safe(folder.name), pattern=pattern, splits=splits, title=folder.name,
                    obtaining="your own", terms=TERMS)
    if "person" in groups and re.search(r"\(\?P<person>-", pattern):
        card = card.replace(junk_ids=[-1])
        notes.append("person -1 is junk, as in Market-1501: those images are dropped")
    if set(splits) == {"train"}:
        card, more = _without_split_folders(card, folder, split)
        notes += more
    elif "gallery" not in splits and "query" in splits:
        card = card.replace(gallery_includes_query=True)
    card, more = _evaluable(_distractors(card, folder, notes), folder)
    frame = card.scan(folder)
    return Proposal(_with_counts(card, frame), frame, fields, who, where, notes + more)


def find_splits(folder: Path) -> tuple[dict[str, Split], list[str]]:
    """The split folders directly below ``folder``, or all of it for training; and what to say about it."""
    below = {entry.name.lower(): entry.name for entry in sorted(folder.iterdir(), reverse=True)
             if entry.is_dir() and next(walk_images(entry), None) is not None}
    found = {split: below[name] for split, names in FOLDERS.items() for name in reversed(names) if name in below}
    if "train" not in found:
        return {"train": Split()}, []
    notes = [f"splits: {', '.join(f'{name}/ is {split}' for split, name in found.items())}"]
    if "gallery" in found and "query" not in found:
        found["query"] = found.pop("gallery")
        notes = [f"splits: {found['train']}/ is train; every image of {found['query']}/ is a query, and the gallery is "
                 "all of them"]
    if "query" not in found:
        notes.append("there is no query or gallery folder: training only")
    left = sorted(set(below.values()) - set(found.values()))
    if left:
        notes.append(f"left out: {', '.join(name + '/' for name in left)}")
    return {split: Split(folder=(name,)) for split, name in found.items()}, notes


def _candidates(fields: Sequence[Field], want: str, key: str) -> list[Field | None]:
    if want in ("auto", "none"):
        return [None, *fields] if want == "auto" else [None]
    if want.isdigit() and 1 <= int(want) <= len(fields):
        return [fields[int(want) - 1]]
    raise ValueError(f"--{key} {want}: expected auto, none, or the number of a field: "
                     + "; ".join(f"{i} = {field}" for i, field in enumerate(fields, 1)))


def _without_split_folders(card: DataCard, folder: Path, split: str) -> tuple[DataCard, list[str]]:
    """All images train, or the identities are split, when the other half of them can then be ranked."""
    if split == "none" or "person" not in re.compile(card.pattern).groupindex:
        if split == "identity":
            raise ValueError("a split by identity needs identities; none were found in the names (give --person)")
        return card, ["there are no train, query and gallery folders: all images train"]
    halves = card.replace(layout="by_identity", splits={"all": Split()}, gallery_includes_query=True)
    try:
        halves.check_evaluable(_scan(halves, folder))
    except ValueError as error:
        if split == "identity":
            raise
        return card, ["there are no train, query and gallery folders, and a part held back could not be ranked "
                      f"({str(error).partition(': ')[2]}): all images train"]
    return halves, ["there are no train, query and gallery folders: every other identity, sorted, trains, the others "
                    "are query and gallery (--split none trains on all)"]


def _distractors(card: DataCard, folder: Path, notes: list[str]) -> DataCard:
    """Person 0 of the gallery alone is nobody in particular, as in Market-1501."""
    if "query" not in card.splits or "gallery" not in card.splits:
        return card
    frame = _scan(card, folder)
    if set(frame["split"][frame["person_id"] == 0]) != {"gallery"}:
        return card
    notes.append("person 0 is in the gallery only: taken for distractors, as in Market-1501")
    return card.replace(distractor_ids=[0])


def _evaluable(card: DataCard, folder: Path) -> tuple[DataCard, list[str]]:
    """Without query and gallery where they could not be ranked, because a run would stop there."""
    if "query" not in card.splits:
        return card, []
    try:
        card.check_evaluable(_scan(card, folder))
    except ValueError as error:
        return (card.replace(splits={"train": card.splits["train"]}, gallery_includes_query=False),
                [f"query and gallery are left out, because they could not be ranked: {error}"])
    return card, []


def _scan(card: DataCard, folder: Path) -> ImageTable:
    """A scan on the way, whose warnings would only be said again by the last one."""
    logger = logging.getLogger("mprd_pyg.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return card.scan(folder)
    finally:
        logger.setLevel(level)


def _with_counts(card: DataCard, frame: ImageTable) -> DataCard:
    """The card with the counts of what was found, so that a later check tells what has changed."""
    rows = {split: {figure: found for figure, (found, _) in row.items() if figure != "distractors"}
            for split, row in sorted(compare_counts(card, frame).items())}
    return card.replace(counts={split: row | {"junk": row["junk"] or None} for split, row in rows.items()
                                if row["images"]})


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "crops"
