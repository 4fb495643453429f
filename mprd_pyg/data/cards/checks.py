"""A card that makes sense; a scanned table against it: counts, shared identities, whether it can be ranked."""
import json
import logging
import re
from pathlib import Path

from mprd_pyg.data.cards.layouts import ONE_FOLDER, READERS
from mprd_pyg.data.cards.schema import FIGURES, SPLITS, CardError, Counts, check_below, nearest
from mprd_pyg.data.table import ImageTable

logger = logging.getLogger(__name__)


def check_card(card) -> None:
    """Raise :class:`CardError` for keys of a card that do not go together."""
    if card.layout not in READERS:
        raise CardError(f"unknown layout {card.layout!r}{nearest(card.layout, READERS)} "
                        f"(layouts: {', '.join(READERS)})")
    allowed = ("all",) if card.layout in ONE_FOLDER else SPLITS
    for key, names in (("splits", allowed), ("counts", SPLITS)):
        for name in getattr(card, key):
            if name not in names:
                raise CardError(f"{key}: unknown split {name!r}{nearest(name, names)} (for layout "
                                f"{card.layout!r}: {', '.join(names)})")
    if not card.splits:
        raise CardError(f"splits: at least one of {', '.join(allowed)} is needed")
    for name, split in card.splits.items():
        if card.layout == "listfile" and not split.lists:
            raise CardError(f"split {name!r}: the layout 'listfile' needs the key 'lists'")
    for pattern in [card.pattern, *(s.pattern for s in card.splits.values() if s.pattern)]:
        try:
            re.compile(pattern)
        except re.error as error:
            raise CardError(f"the pattern {pattern!r} is not a regular expression: {error}") from None
    if card.swap and card.layout != "by_identity":
        raise CardError(f"swap needs the layout 'by_identity'; the card's layout is {card.layout!r}")
    if (card.repeats is not None) != (card.layout == "repeated"):
        raise CardError(f"the layout 'repeated' and the key 'repeats' need each other; the layout is {card.layout!r}")
    count = card.repeats.count if card.repeats else 1
    if not 0 <= card.split < count:
        raise CardError(f"split {card.split}: the card {card.name!r} has " + (
            f"{count} splits, numbered 0 to {count - 1}" if card.repeats else "one fixed split, number 0"))
    for name in card.archives:
        check_below(name)
    for method, figures in card.reference.items():
        for name, value in figures.items():
            if name not in FIGURES or not 0 <= value <= 100:
                raise CardError(f"reference: {method}: {name}: {value}: expected {', '.join(FIGURES)}, in percent")


def expected_counts(card, root: str | None) -> dict[str, Counts]:
    """The counts the card promises per split; for a card with a ``counts_file``, also those in that file.

    The file holds ``{"counts": {split: images or {"images": ..., "identities": ..., "cameras": ...}}}``;
    whatever else stands there is passed over.
    """
    counts = dict(card.counts)
    if card.counts_file and root and (Path(root) / card.counts_file).is_file():
        try:
            found = json.loads((Path(root) / card.counts_file).read_text(encoding="utf-8"))["counts"].items()
        except (ValueError, KeyError, TypeError, AttributeError):
            logger.warning("%s: %s holds no readable counts", card.name, Path(root) / card.counts_file)
            found = ()
        for split, values in found:
            values = values if isinstance(values, dict) else {"images": values}
            known = {key: value for key, value in values.items()
                     if key in Counts.__dataclass_fields__ and type(value) is int}
            counts.setdefault(split, Counts(**known))
    if card.swap:
        exchange = {"train": "query", "query": "train"}
        counts = {exchange.get(split, split): count for split, count in counts.items()}
    return counts


def deviations(card, frame: ImageTable) -> list[str]:
    """What differs between the table and the card's counts, one sentence per figure."""
    texts = []
    junk = frame.attrs.get("junk", {})
    for split, expected in expected_counts(card, frame.attrs.get("root")).items():
        rows = frame[frame["split"] == split]
        persons = rows["person_id"]
        found = {"images": len(rows), "cameras": rows["camera_id"].nunique(), "junk": junk.get(split, 0),
                 "identities": persons[(persons >= 0) & ~persons.isin(card.distractor_ids)].nunique()}
        for what, number in found.items():
            promised = getattr(expected, what)
            if promised is not None and promised != number:
                texts.append(f"split {split!r}: {number:,} {what} found, {promised:,} expected "
                             f"({abs(number - promised):,} {'more' if number > promised else 'fewer'})")
    return texts


def shared_identities(card, frame: ImageTable) -> list[str]:
    """A sentence if identities occur both in the training split and among query and gallery."""
    known = frame[(frame["person_id"] >= 0) & ~frame["person_id"].isin(card.distractor_ids)]
    train = known["split"] == "train"
    shared = sorted(set(known["person_id"][train]) & set(known["person_id"][~train]))
    if not shared:
        return []
    return [f"{len(shared)} identities are both in train and in query or gallery, first: "
            f"{', '.join(map(str, shared[:5]))}; figures on them do not measure new people"]


def check_evaluable(card, frame: ImageTable) -> None:
    """Raise ``ValueError`` unless some query has an image of its identity in another camera's gallery."""
    query, gallery = (frame.iloc[rows] for rows in card.evaluation_sets(frame))
    for name, rows in (("query", query), ("gallery", gallery)):
        if len(rows) == 0:
            raise ValueError(f"card {card.name!r}: no {name} images, so nothing can be ranked; only training "
                             f"is possible. Expected below the root: {_source(card, name)}")
        unknown = rows["path"][rows["person_id"] < 0]
        if len(unknown):
            raise ValueError(f"card {card.name!r}: {len(unknown)} {name} images have no identity, first: "
                             f"{', '.join(unknown.iloc[:5])}; to rank, the pattern needs the group 'person'")
    pairs = [rows.loc[~rows["person_id"].isin(card.distractor_ids), ["person_id", "camera_id"]]
             .drop_duplicates() for rows in (query, gallery)]
    both = pairs[0].merge(pairs[1], on="person_id", suffixes=("_query", "_gallery"))
    if not (both["camera_id_query"] != both["camera_id_gallery"]).any():
        cameras = ", ".join(map(str, sorted(set(query["camera_id"]) | set(gallery["camera_id"]))[:10]))
        raise ValueError(f"card {card.name!r}: no identity is seen in two cameras among query and gallery "
                         f"(cameras found: {cameras}), so every query would be skipped; check the group "
                         f"'camera' in the pattern {card.pattern}")
    cameras = sorted(set(query["camera_id"]) | set(gallery["camera_id"]))
    if card.evaluation.single_shot and len(cameras) != 2:
        raise ValueError(f"card {card.name!r}: single shot needs exactly two cameras among query and gallery, found "
                         f"{', '.join(map(str, cameras[:10]))}: give camera_names that join them, or leave single_shot")
    if not card.evaluation.cross_camera_valid:
        logger.warning("%s: camera labels are meaningless; no cross-camera figure is valid", card.name)


def _source(card, split: str) -> str:
    source = card.splits.get(split)
    return " or ".join(source.folder) if source else f"the card declares no split {split!r}"


def describe(card) -> str:
    """The card in words, one line per fact."""
    lines = [f"{card.name}: {card.title}".rstrip(": "), f"layout: {card.layout}; pattern: {card.pattern}"]
    for name, split in card.splits.items():
        pattern = f", pattern {split.pattern}" if split.pattern else ""
        lists = f", listed in {' and '.join(split.lists)}" if split.lists else ""
        lines.append(f"split {name}: {' or '.join(split.folder)}{lists}{pattern}"
                     f"{' (optional)' if split.optional else ''}")
    for name, count in card.counts.items():
        figures = [f"{getattr(count, what):,} {what}" for what in Counts.__dataclass_fields__
                   if getattr(count, what) is not None]
        lines.append(f"expected in {name}: {', '.join(figures)}")
    if card.repeats:
        how = f"listed in {card.repeats.file}" if card.repeats.file else f"drawn from seed {card.repeats.seed}"
        lines.append(f"split number {card.split} of {card.repeats.count}, by identity, {how}")
    lines.append(f"evaluation: {card.evaluation.protocol}"
                 + ("" if card.evaluation.cross_camera_valid else " (camera labels are meaningless)"))
    lines += [f"{what}: {text.strip()}" for what, text in
              (("obtaining", card.obtaining), ("terms", card.terms), ("citation", card.citation)) if text]
    lines += [f"trap: {trap}" for trap in card.traps]
    return "\n".join(lines + [f"published, {method}: " + ", ".join(f"{name} {value:g}" for name, value in row.items())
                              for method, row in card.reference.items()])
