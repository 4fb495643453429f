"""Which keys of a data card go together."""
import re

from mprd_pyg.data.cards.layouts import ONE_FOLDER, READERS
from mprd_pyg.data.cards.patterns import may_take_for_ever
from mprd_pyg.data.cards.schema import PUBLISHED_FIGURES, SPLITS, check_below
from mprd_pyg.data.cards.typed_yaml import CardError, nearest


def _check_table(card) -> None:
    if card.table is None:
        raise CardError("the layout 'table' needs the key 'table': {file: NAME.csv}, and in it the columns that are "
                        "not called path, identity, camera, split or date")
    if card.layout not in ("table", *ONE_FOLDER):
        raise CardError(f"table: the layout {card.layout!r} reads folders; give layout: table, or remove the table")
    if card.splits or card.pattern is not None:
        raise CardError("the table lists the images and their splits: leave out 'pattern' and 'splits'")


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
    if card.table is not None or card.layout == "table":
        _check_table(card)
    elif card.pattern is None:
        raise CardError("the key 'pattern' is missing")
    elif not card.splits:
        raise CardError(f"splits: at least one of {', '.join(allowed)} is needed")
    for name, split in card.splits.items():
        if card.layout == "listfile" and not split.lists:
            raise CardError(f"split {name!r}: the layout 'listfile' needs the key 'lists'")
    patterns = [card.pattern, *(split.pattern for split in card.splits.values())]
    for pattern in (pattern for pattern in patterns if pattern is not None):
        try:
            re.compile(pattern)
        except re.error as error:
            raise CardError(f"the pattern {pattern!r} is not a regular expression: {error}") from None
        if may_take_for_ever(pattern):
            raise CardError(f"the pattern {pattern!r} repeats a repetition, or alternatives, that nothing separates: "
                            f"some names would take for ever. Write \\w+ for (\\w+)+, (?:[^/]+/)* for (?:.+/)*")
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
            if name not in PUBLISHED_FIGURES or not 0 <= value <= 100:
                raise CardError(f"reference: {method}: {name}: {value}: expected {', '.join(PUBLISHED_FIGURES)}, "
                                "in percent")
