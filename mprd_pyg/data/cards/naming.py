"""Person and camera names, as they stand in paths, become the integer ids of the image table."""
import logging
import re
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from mprd_pyg.data.cards.schema import DataRootError
from mprd_pyg.data.table import ImageTable, make_table

logger = logging.getLogger(__name__)


def is_number(name: str | None) -> bool:
    """Whether a name in a path is a whole number that fits the table's int64."""
    return name is not None and re.fullmatch(r"-?[0-9]{1,18}", name) is not None


def number_names(names: Iterable[str], keep: Iterable[int] = ()) -> dict[str, int]:
    """Map names to ids: their own numbers if all are numbers, otherwise 1, 2, ... in sorted order.

    Args:
        names: person or camera names, repeats allowed.
        keep: numbers with a meaning of their own (distractors), which stay what they are.
    """
    names, keep = sorted(set(names)), set(keep)
    if all(is_number(name) for name in names):
        return {name: int(name) for name in names}
    kept = {name: int(name) for name in names if is_number(name) and int(name) in keep}
    first = max([0, *keep]) + 1
    return kept | {name: first + i for i, name in enumerate(n for n in names if n not in kept)}


def to_table(card, listing) -> ImageTable:
    """The image table of what a reader listed; ids are numbered over all splits together.

    Args:
        card: a :class:`~mprd_pyg.data.DataCard`; its name and distractor ids are used.
        listing: a :class:`~mprd_pyg.data.cards.layouts.Listing` with at least one entry.
    """
    attrs = {"card": card.name, "junk": dict(listing.junk)}
    ids = {}
    for kind, keep in (("person", card.distractor_ids), ("camera", ())):
        names = {getattr(entry, kind) for entry in listing.entries} - {None}
        ids[kind] = number_names(names, keep)
        numeric = all(map(is_number, names))
        attrs[f"{kind}_names"] = {} if numeric else ids[kind]
        if numeric:
            _check_numbers(kind, ids[kind], listing.entries)
    frame = make_table((entry.path, ids["person"].get(entry.person, -1), ids["camera"].get(entry.camera, 0),
                        entry.split) for entry in listing.entries)
    _add_tracklets(frame, listing.entries)
    dates = {entry.path: entry.date for entry in listing.entries if entry.date is not None}
    if dates:
        frame["date"] = frame["path"].map(dates)
    frame.attrs.update(attrs)
    return frame


def _add_tracklets(frame: ImageTable, entries: list) -> None:
    """Add the column ``tracklet_id`` if there are tracklets: numbers from 0, one per camera and name, -1 for none."""
    named = {entry.path: (entry.camera or "", entry.tracklet) for entry in entries if entry.tracklet is not None}
    if not named:
        return
    seen: dict[tuple[str, str], Any] = {}
    for entry in entries:
        if entry.tracklet is None or entry.person is None:
            continue
        first = seen.setdefault(named[entry.path], entry)
        if first.person != entry.person:
            raise DataRootError(f"the tracklet {entry.tracklet!r} holds {first.path!r} of {first.person!r} and "
                                f"{entry.path!r} of {entry.person!r}: a tracklet shows one individual; correct the "
                                "names, or let the group 'tracklet' take in more of the path")
    number = {key: i for i, key in enumerate(sorted(set(named.values())))}
    frame["tracklet_id"] = [number[named[path]] if path in named else -1 for path in frame["path"]]


def _check_numbers(kind: str, ids: dict[str, int], entries: list) -> None:
    negative = sorted(name for name, number in ids.items() if number < 0)
    if negative:
        path = min(entry.path for entry in entries if getattr(entry, kind) == negative[0])
        raise DataRootError(f"{kind} number {negative[0]} in {path!r}: numbers below 0 are reserved; list a "
                            "person under junk_ids to drop such images, or correct the pattern")
    spelled = defaultdict(list)
    for name, number in sorted(ids.items()):
        spelled[number].append(name)
    for number, names in spelled.items():
        if len(names) > 1:
            logger.warning("the %s names %s are all read as number %d", kind, ", ".join(names), number)
