"""YAML becomes typed, frozen dataclasses; an unknown key or a wrong value says what was meant."""
import difflib
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any


class CardError(ValueError):
    """A data card that cannot be used: unknown key, wrong value, or a layout without a reader."""


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
