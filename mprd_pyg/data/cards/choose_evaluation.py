"""What of a proposed card's images trains, and how the rest, or all of them, can be ranked."""
import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

from mprd_pyg.data.cards.card import DataCard
from mprd_pyg.data.cards.counts import compare_counts
from mprd_pyg.data.cards.schema import LEFT_OUT, Split
from mprd_pyg.data.table import ImageTable

IN_A_ROW = "pictures taken in a row are nearly alike and make its figures high"


def check_split_choice(split: str) -> None:
    """Raise ``ValueError`` for an unknown way to split."""
    if split not in ("auto", "identity", "none"):
        raise ValueError(f"split must be auto, identity or none, got {split!r}")


def choose_split(card: DataCard, root: Path, split: str) -> tuple[DataCard, list[str]]:
    """All images train, or every other identity, as the rest can then be ranked across cameras.

    Args:
        card: all of its images train.
        root: data root.
        split: ``"auto"``, ``"identity"`` or ``"none"``, see :func:`propose_card`.

    Returns:
        The card, and what was decided.
    """
    check_split_choice(split)
    frame = quiet_scan(card, root)
    without = "the table names no splits" if card.table else "there are no train, query and gallery folders"
    if (frame["person_id"] < 0).all():
        if split == "identity":
            raise ValueError("a split by identity needs identities; none were found (give --person)")
        return card, [f"{without}: all images train"]
    halves = card.replace(layout="by_identity", splits={} if card.table else {"all": Split()},
                          gallery_includes_query=True)
    cameras, alone = frame["camera_id"].nunique() > 1, leave_one_out(card)
    candidates = {"none": [] if cameras else [alone], "identity": [halves, leave_one_out(halves)],
                  "auto": [halves, alone] if cameras else [alone]}[split]
    found, why = _first_evaluable(candidates, root)
    if found is None:
        if split == "identity":
            raise ValueError(why)
        return card, [f"{without}, and a part held back could not be ranked ({why}): all images train" if why else
                      f"{without}: all images train"]
    if found.layout == "by_identity":
        note = (f"{without}: every other identity, sorted, trains, the others are query and gallery (--split none "
                "trains on all)")
        return found, [note, *_about(found, root)] if found.evaluation.leave_one_out else [note]
    seen = "no identity is seen in two cameras" if cameras else "there are no cameras"
    return found, [f"{without}: all images train", f"{seen}: every image is a query against all others, leave one out; "
                   f"{IN_A_ROW} (--split identity keeps every other identity from training)", *_singles(found, root)]


def evaluable(card: DataCard, root: Path) -> tuple[DataCard, list[str]]:
    """By leave one out where cameras do not serve; without query and gallery where neither does: a run would stop."""
    try:
        card.check_evaluable(quiet_scan(card, root))
        return card, []
    except ValueError as error:
        why = str(error)
    if not {"query", "gallery"} & set(quiet_scan(card, root)["split"]):
        return card, []
    found = _first_evaluable([leave_one_out(card)], root)[0]
    if found is not None:
        return found, _about(found, root)
    if card.table:
        names = {name: name for name in ("query", "gallery")} | card.table.split_names
        left = {value: LEFT_OUT if name in ("query", "gallery") else name for value, name in names.items()}
        card = card.replace(table=dataclasses.replace(card.table, split_names=left), gallery_includes_query=False)
    else:
        card = card.replace(splits={"train": card.splits["train"]}, gallery_includes_query=False)
    return card, [f"query and gallery are left out, because they could not be ranked: {why}"]


def leave_one_out(card: DataCard) -> DataCard:
    """The card, ranking each query against all others."""
    return card.replace(evaluation=dataclasses.replace(card.evaluation, ignore="itself"))


def quiet_scan(card: DataCard, root: Path) -> ImageTable:
    """A scan on the way, whose warnings would only be said again by the last one."""
    return _quiet(lambda: card.scan(root))


def with_counts(card: DataCard, frame: ImageTable) -> DataCard:
    """The card with the counts of what was found, so that a later check tells what has changed."""
    rows = {split: {figure: found for figure, (found, _) in row.items() if figure != "distractors"}
            for split, row in sorted(compare_counts(card, frame).items())}
    return card.replace(counts={split: row | {"junk": row["junk"] or None} for split, row in rows.items()
                                if row["images"]})


def _about(card: DataCard, root: Path) -> list[str]:
    return ["no identity is seen in two cameras among query and gallery: nothing but the query itself is ignored, "
            f"leave one out; {IN_A_ROW}", *_singles(card, root)]


def _singles(card: DataCard, root: Path) -> list[str]:
    alone = int((card.other_images(quiet_scan(card, root)) == 0).sum())
    return [f"{alone:,} images are the only one of their identity: as queries they are counted, and left out of the "
            "means"] if alone else []


def _first_evaluable(cards: list[DataCard], root: Path) -> tuple[DataCard | None, str]:
    """The first card whose images can be ranked, or None and why the last cannot."""
    reasons = []
    for card in cards:
        try:
            _quiet(lambda card=card: card.check_evaluable(card.scan(root)))
            return card, ""
        except ValueError as error:
            reasons.append(str(error).partition(": ")[2] or str(error))
    return None, reasons[-1] if reasons else ""


def _quiet(call: Callable):
    logger = logging.getLogger("mprd_pyg.data")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return call()
    finally:
        logger.setLevel(level)
