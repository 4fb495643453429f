"""When a data root is not what a card expects: what was found instead, and which folder is the right one."""
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path

from mprd_pyg.data.cards.layouts import split_folder, walk_images
from mprd_pyg.data.cards.schema import DataRootError

_SAMPLE, _ENTRIES, _SIBLINGS = 200, 2000, 50    # images judged, entries looked at, neighbouring folders tried


def expected_folders(card) -> str:
    """What the card expects below its root, in words."""
    needed = [name for split in card.splits.values() if not split.optional
              for name in (" or ".join(split.folder), *split.lists)]
    needed += [card.repeats.file] if card.repeats and card.repeats.file else []
    if card.table:
        return f"the table {card.table.file}, and the images that it names"
    if needed == ["."]:
        return f"images whose paths match {card.pattern}"
    return "the folders " + ", ".join(dict.fromkeys(needed))


def found_entries(folder: Path) -> str:
    """The first names in a folder, in words."""
    names = sorted(os.listdir(folder))
    more = f", ... ({len(names)} entries)" if len(names) > 5 else ""
    shown = ", ".join(name + "/" * (folder / name).is_dir() for name in names[:5]) + more
    return shown.encode("utf-8", "backslashreplace").decode()


def check_root(card, root: str | Path) -> Path:
    """Return ``root`` as an absolute path if it is a folder with something in it; raise otherwise."""
    path = Path(os.path.abspath(Path(root).expanduser()))
    expected = f"card {card.name!r} expects a folder that holds {expected_folders(card)}{_usual_name(card)}"
    if not path.exists():
        parent = next(p for p in path.parents if p.exists())
        raise FileNotFoundError(f"data root {path} does not exist; {expected}. "
                                f"The nearest folder that exists, {parent}, holds: {found_entries(parent)}")
    if not path.is_dir():
        raise DataRootError(f"data root {path} is a file (unpack an archive first: python -m pipelines.extract "
                            f"--archive {path} --out DIR); {expected}")
    if not os.listdir(path):
        raise DataRootError(f"data root {path} is empty; {expected}")
    return path


def fits(card, root: Path) -> bool:
    """Whether the folder looks like the card's data: its folders exist and most sampled names match."""
    recorded, table = card.repeats and card.repeats.file, card.table and card.table.file
    if any(name and not (root / name).is_file() for name in (card.counts_file, recorded, table)):
        return False
    try:
        for split in card.splits.values():
            prefix = split_folder(root, split)
            if prefix is None or not all((root / name).is_file() for name in split.lists):
                if split.optional:
                    continue
                return False
            names = list(itertools.islice(walk_images(root / prefix, limit=_ENTRIES), _SAMPLE))
            if split.optional and not names:
                continue
            regex = re.compile(split.pattern or card.pattern)
            if 2 * sum(regex.fullmatch(name) is not None for name in names) <= len(names):
                return False
    except OSError:             # a neighbouring folder that may not be read is no candidate
        return False
    return True


def explain(card, root: Path, problem: str, others: Iterable) -> str:
    """The full message for a root that does not fit: problem, expectation, what was found, and the remedy."""
    lines = [f"data root {root} does not fit the card {card.name!r}: {problem}",
             f"  expected below the root: {expected_folders(card)}{_usual_name(card)}",
             f"  found there: {found_entries(root)}"]
    archive = next((root / name for name in card.archives if (root / name).is_file()), None)
    if archive is not None:
        return "\n".join([*lines, f"  not extracted yet, or not whole: python -m pipelines.extract --archive {archive} "
                                  f"--out {root}"])
    below = [child for child in _subfolders(root) if fits(card, child)]
    if below:
        lines.append(f"  this is one level too high; use {below[0]}")
    elif root.parent != root and fits(card, root.parent):
        lines.append(f"  this is one level too low; use {root.parent}")
    else:
        alike = look_alike(root, others)
        if alike is not None:
            lines.append(f"  this looks like the data of the card {alike!r}: use that card")
    return "\n".join(lines)


def look_alike(root: Path, cards: Iterable) -> str | None:
    """The name of the first card whose data the folder looks like."""
    return next((card.name for card in cards if fits(card, root)), None)


def _usual_name(card) -> str:
    return f" (the root is usually called {card.root_hint!r})" if card.root_hint else ""


def _subfolders(root: Path) -> list[Path]:
    children = sorted(child for child in root.iterdir() if not child.name.startswith("."))
    return list(itertools.islice((child for child in children if child.is_dir()), _SIBLINGS))
