"""A card's YAML becomes typed, frozen values; an unknown key or a wrong value says what was meant."""
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import PurePosixPath
from typing import Any

SPLITS = ("train", "query", "gallery")
"""The values of a table's ``split`` column, in the order in which its rows are sorted."""


class CardError(ValueError):
    """A data card that cannot be used: unknown key, wrong value, or a layout without a reader."""


class DataRootError(ValueError):
    """A data root that does not hold what the card promises; the message names the remedy."""


def nearest(word: str, known: Iterable[str]) -> str:
    """The clause ``"; did you mean 'x'?"``, or nothing when no known word is close."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def build(cls: type, values: Any, where: str) -> Any:
    """Make the dataclass ``cls`` from a YAML mapping; :class:`CardError` names the offending key."""
    if isinstance(values, cls):
        return values
    if not isinstance(values, Mapping):
        raise CardError(f"{where}: expected keys and values, found {values!r}")
    known = [f.name for f in fields(cls)]
    for key in values:
        if key not in known:
            raise CardError(f"{where}: unknown key {key!r}{nearest(key, known)} (known: {', '.join(known)})")
    for f in fields(cls):
        if f.name not in values and f.default is MISSING and f.default_factory is MISSING:
            raise CardError(f"{where}: the key {f.name!r} is missing")
    try:
        return cls(**values)
    except CardError as error:
        raise CardError(f"{where}: {error}") from None


def coerce(value: Any, hint: Any, where: str) -> Any:
    """Return ``value`` as the annotated type ``hint`` (lists become tuples), or raise :class:`CardError`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else coerce(value, arguments[0], where)
    if origin is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(coerce(item, arguments[0], where) for item in items)
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise CardError(f"{where}: expected names with values, found {value!r}")
        return {key: coerce(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(hint):
        return build(hint, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        names = {str: "text (quote it)", bool: "true or false", int: "a whole number", float: "a number"}
        raise CardError(f"{where}: expected {names[hint]}, found {value!r}")
    return value


class Checked:
    """Base of the card's dataclasses: every field is checked against its annotation on construction."""

    def __post_init__(self):
        hints = typing.get_type_hints(type(self))
        for f in fields(self):
            object.__setattr__(self, f.name, coerce(getattr(self, f.name), hints[f.name], f"key {f.name!r}"))


def check_below(name: str) -> None:
    """Raise :class:`CardError` unless a path lies below the root."""
    if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise CardError(f"{name!r} must lie below the root: give a relative path without '..'")


@dataclass(frozen=True)
class Split(Checked):
    """Where one split's images are.

    Args:
        folder: folder below the root; several names are alternatives, the first that exists is read.
        pattern: regular expression of this split's paths; None: the card's.
        lists: list files below the root (layout ``listfile``): one path per line, relative to ``folder``.
        optional: the folder may be absent.
        person_offset: added to the person numbers, for datasets that count each split from 0.
    """

    folder: tuple[str, ...] = (".",)
    pattern: str | None = None
    lists: tuple[str, ...] = ()
    optional: bool = False
    person_offset: int = 0

    def __post_init__(self):
        super().__post_init__()
        if not self.folder:
            raise CardError("key 'folder': at least one folder name is needed")
        for name in self.folder + self.lists:
            check_below(name)


@dataclass(frozen=True)
class Counts(Checked):
    """What a split should hold; None is not checked.

    Args:
        images: images kept.
        identities: identities among them, distractors not counted.
        cameras: cameras among them.
        junk: images dropped because their id is a junk id.
    """

    images: int | None = None
    identities: int | None = None
    cameras: int | None = None
    junk: int | None = None


@dataclass(frozen=True)
class Repeats(Checked):
    """Repeated splits of the identities into training and test, of which one at a time is used.

    Args:
        count: how many splits there are.
        train_fraction: of the identities, rounded down; the others test.
        seed: of the draw (see :func:`~mprd_pyg.data.cards.splits.random_split`).
        file: JSON file below the root whose ``test`` holds the test identities of each split, as they stand in
            the paths; nothing is drawn then, and all other identities train.
    """

    count: int = 10
    train_fraction: float = 0.5
    seed: int = 0
    file: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.count < 1 or not 0 < self.train_fraction < 1:
            raise CardError(f"count={self.count}, train_fraction={self.train_fraction}: expected at least 1, and a "
                            "fraction between 0 and 1")
        if self.file is not None:
            check_below(self.file)


@dataclass(frozen=True)
class Evaluation(Checked):
    """How the dataset is evaluated.

    Args:
        protocol: what is ranked and which gallery images are ignored, in words.
        cross_camera_valid: false when camera labels are meaningless, so that no cross-camera figure is.
        single_shot: also rank a gallery of one image per identity, of the camera that the query is not from,
            drawn ``draws`` times; needs exactly two cameras.
        draws: how often; the figures are means over the draws.
        draw_seed: of the draws.
        query_cameras: cameras whose test images are queries; empty for all.
    """

    protocol: str = "single query; gallery images of the query's identity and camera are ignored"
    cross_camera_valid: bool = True
    single_shot: bool = False
    draws: int = 10
    draw_seed: int = 0
    query_cameras: tuple[int, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if self.draws < 1:
            raise CardError(f"draws={self.draws}: expected at least 1")


FIGURES = ("mAP", "rank1", "rank5", "rank10")
"""The published figures that a card may name, in percent."""


def plain(card: Any) -> dict:
    """The card as a YAML-ready mapping without the values that equal their defaults."""
    def strip(value: Any) -> Any:
        if is_dataclass(value):
            kept = {}
            for f in fields(value):
                default = f.default_factory() if f.default_factory is not MISSING else f.default
                if (item := getattr(value, f.name)) != default:
                    kept[f.name] = strip(item)
            return kept
        if isinstance(value, Mapping):
            return {key: strip(item) for key, item in value.items()}
        return [strip(item) for item in value] if isinstance(value, tuple) else value
    return strip(card)
