"""A data card for crops that have none: of a folder, by its names and split folders."""
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mprd_pyg.data.cards.card import DataCard
from mprd_pyg.data.cards.choose_evaluation import check_split_choice, choose_split, evaluable, quiet_scan, with_counts
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
        frame: the image table by that card.
        fields: what could have been person and camera, in the order in which ``--person`` counts them from 1; of a
            table its columns.
        person: the field taken for the identity.
        camera: the field taken for the camera.
        notes: what was decided, one sentence each.
    """

    card: DataCard
    frame: ImageTable
    fields: Sequence[Any]
    person: Any | None
    camera: Any | None
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
            trains on all images, ``"auto"`` splits where the rest can be ranked across cameras. Where it cannot,
            leave one out ranks.

    Raises:
        DataRootError: there are no images, or the pattern fits none.
        ValueError: an override names no field.
    """
    folder = Path(os.path.abspath(Path(folder).expanduser()))
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    check_split_choice(split)
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
    card = DataCard(name=name or safe_name(folder.name), pattern=pattern, splits=splits, title=folder.name,
                    obtaining="your own", terms=TERMS)
    if "person" in groups and re.search(r"\(\?P<person>-", pattern):
        card = card.replace(junk_ids=[-1])
        notes.append("person -1 is junk, as in Market-1501: those images are dropped")
    if set(splits) == {"train"}:
        card, more = choose_split(card, folder, split)
        notes += more
    elif "gallery" not in splits and "query" in splits:
        card = card.replace(gallery_includes_query=True)
    card, more = evaluable(_distractors(card, folder, notes), folder)
    frame = card.scan(folder)
    return Proposal(with_counts(card, frame), frame, fields, who, where, notes + more)


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


def _distractors(card: DataCard, folder: Path, notes: list[str]) -> DataCard:
    """Person 0 of the gallery alone is nobody in particular, as in Market-1501."""
    if "query" not in card.splits or "gallery" not in card.splits:
        return card
    frame = quiet_scan(card, folder)
    if set(frame["split"][frame["person_id"] == 0]) != {"gallery"}:
        return card
    notes.append("person 0 is in the gallery only: taken for distractors, as in Market-1501")
    return card.replace(distractor_ids=[0])


def safe_name(name: str) -> str:
    """A name that can be a card's file name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower() or "crops"
