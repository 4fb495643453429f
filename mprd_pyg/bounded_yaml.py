"""YAML from files that somebody else may have written: plain values, of bounded size, or an error of one line."""
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 4_000_000
MAX_DEPTH = 50
MAX_VALUES = 200_000  # what an alias repeats counts again
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; errors are those of :func:`read_text` and :func:`parse_yaml`."""
    return parse_yaml(read_text(path), str(path))


def read_text(path: str | Path) -> str:
    """A text file in UTF-8 of ``MAX_BYTES`` at most.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is larger, or of another encoding.
    """
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} has more than {MAX_BYTES:,} bytes, which no file of this kind needs")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8 (byte {error.start}): save it as UTF-8") from error


def parse_yaml(text: str, where: str) -> dict[str, Any]:
    """The mapping that a YAML text holds.

    Args:
        text: to parse.
        where: named in errors.

    Raises:
        ValueError: it is not valid, no mapping, or too large or too deep once its aliases are followed.
    """
    try:
        _check_size(text)
        value = yaml.load(text, LOADER)
    except Exception as error:  # PyYAML raises other kinds for dates and numbers that are none
        raise ValueError(f"{where}: not valid YAML: {' '.join(str(error).split())[:500]}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{where}: expected keys and values, found {' '.join(repr(value)[:200].split())}")
    return value


def _check_size(text: str) -> None:
    """Count values and depth without building them."""
    total, open_from, sizes = 0, [], {}
    for event in yaml.parse(text, LOADER):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if anchor not in sizes:
                raise ValueError(f"the alias *{anchor} names nothing that stands before it")
            total += sizes[anchor]
        elif isinstance(event, yaml.ScalarEvent):
            total += 1
            sizes[anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            total += 1
            sizes.pop(anchor, None)
            open_from.append((anchor, total))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, begun = open_from.pop()
            sizes[anchor] = total - begun + 1
        if total > MAX_VALUES or len(open_from) > MAX_DEPTH:
            raise ValueError(f"it holds more than {MAX_VALUES:,} values, or {MAX_DEPTH} inside one another")
