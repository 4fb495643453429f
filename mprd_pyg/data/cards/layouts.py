"""How each kind of card lists its images: one reader per layout, all giving a Listing."""
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mprd_pyg.data.cards.annotation_table import read_rows
from mprd_pyg.data.cards.naming import is_number, number_names
from mprd_pyg.data.cards.random_choices import random_split, recorded_split
from mprd_pyg.data.cards.schema import DataRootError, Split

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


class Entry(NamedTuple):
    """One image as its name or table row tells it: posix path below the root, names as text (None: not there)."""

    path: str
    person: str | None
    camera: str | None
    split: str
    tracklet: str | None = None
    date: str | None = None


@dataclass
class Listing:
    """What a reader found: the images kept, the paths no pattern matched, and the junk dropped per split."""

    entries: list[Entry] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    junk: Counter = field(default_factory=Counter)


def is_image_name(path: str) -> bool:
    """Whether a path ends in an image suffix, in either case."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def walk_images(folder: str | Path, limit: int | None = None) -> Iterator[str]:
    """Yield the image files below ``folder`` as posix paths relative to it, sorted folder by folder.

    Hidden files, files without an image suffix (``Thumbs.db``) and folders of CamStyle's images (their names end in
    ``_camstyle``) are passed over; links are followed, loops are not. At most ``limit`` directory entries are
    looked at.
    """
    seen = 0

    def visit(path: str, prefix: str, ancestors: frozenset) -> Iterator[str]:
        nonlocal seen
        real = os.path.realpath(path)
        if real in ancestors:
            return
        with os.scandir(path) as iterator:
            entries = sorted(iterator, key=lambda entry: entry.name)
        for entry in entries:
            seen += 1
            if limit is not None and seen > limit:
                return
            if entry.name.startswith("."):
                continue
            if entry.is_dir() and not entry.name.endswith("_camstyle"):
                yield from visit(entry.path, f"{prefix}{entry.name}/", ancestors | {real})
            elif is_image_name(entry.name) and (entry.is_file() or entry.is_symlink()):
                yield prefix + entry.name

    yield from visit(str(folder), "", frozenset())


def split_folder(root: Path, split: Split) -> str | None:
    """The split's folder below ``root`` as a posix prefix (``""`` for the root itself), None if absent."""
    for name in split.folder:
        if (root / name).is_dir():
            prefix = PurePosixPath(name).as_posix()
            return "" if prefix == "." else prefix + "/"
    return None


def _collect(card, listing: Listing, split_name: str, prefix: str, names: Iterable[str]) -> None:
    split = card.splits[split_name]
    pattern = split.pattern or card.pattern
    regex = re.compile(pattern)
    matched, unmatched = 0, []
    for name in names:
        match = regex.fullmatch(name) if _is_text(name) else None
        if match is None:
            unmatched.append(name)
            continue
        matched += 1
        groups = match.groupdict()
        person = groups.get("person") or None
        if is_number(person) and int(person) in card.junk_ids:
            listing.junk[split_name] += 1
            continue
        listing.entries.append(Entry(prefix + name, _shift(person, split.person_offset),
                                     _camera(card, groups.get("camera") or None, prefix + name), split_name,
                                     groups.get("tracklet") or None))
    listing.unmatched += [prefix + name for name in unmatched]
    where = f"the folder {prefix or './'} (split {split_name!r})"
    if unmatched and not matched:
        raise DataRootError(f"{where}: none of its {len(unmatched)} images matches the pattern {pattern} ; "
                            f"first names: {', '.join(map(repr, sorted(unmatched)[:5]))}")
    if not matched and not split.optional:
        raise DataRootError(f"{where} holds no image")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:      # a file name that is not UTF-8: it could be written to no table
        return False
    return True


def _camera(card, name: str | None, path: str) -> str | None:
    if name is not None and card.camera_names:
        if name not in card.camera_names:
            raise DataRootError(f"camera {name!r} in {path!r}: the card's camera_names are "
                                f"{', '.join(map(repr, card.camera_names))}")
        name = str(card.camera_names[name])
    return _shift(name, card.camera_offset)


def _shift(name: str | None, offset: int) -> str | None:
    return str(int(name) + offset) if offset and is_number(name) else name


def _folders(card, root: Path) -> dict[str, str]:
    found = {name: split_folder(root, split) for name, split in card.splits.items()}
    missing = [" or ".join(card.splits[name].folder) + f" (split {name!r})"
               for name, prefix in found.items() if prefix is None and not card.splits[name].optional]
    if missing:
        raise DataRootError(f"missing: {', '.join(missing)}")
    return {name: prefix for name, prefix in found.items() if prefix is not None}


def read_folders(card, root: Path) -> Listing:
    """Layout ``folders``: every split is a folder."""
    listing = Listing()
    for name, prefix in _folders(card, root).items():
        _collect(card, listing, name, prefix, walk_images(root / prefix))
    return listing


def read_table(card, root: Path) -> Listing:
    """Layout ``table``: a row per image; without a column of splits all images train."""
    listing = Listing()
    for row in read_rows(root, card.table):
        person, split = row["identity"] or None, row["split"] or "train"
        if is_number(person) and int(person) in card.junk_ids:
            listing.junk[split] += 1
            continue
        listing.entries.append(Entry(row["path"], person, _camera(card, row["camera"] or None, row["path"]), split,
                                     row["tracklet"] or None, row["date"] or None))
    return listing


def _with_identities(card, root: Path) -> Listing:
    listing = read_table(card, root) if card.table else read_folders(card, root)
    unknown = [entry.path for entry in listing.entries if entry.person is None]
    if unknown:
        source = f"the table {card.table.file} has none in {len(unknown)} rows" if card.table else \
            f"the pattern {card.pattern} finds none in {len(unknown)} names"
        raise DataRootError(f"a split by identity needs every identity; {source}, first: "
                            f"{', '.join(map(repr, sorted(unknown)[:5]))}")
    return listing


def read_by_identity(card, root: Path) -> Listing:
    """Layout ``by_identity``: one folder; identities sorted, positions 0, 2, 4, ... train, the others query.

    ``card.swap`` exchanges the two, for tuning without a look at the test identities.
    """
    listing = _with_identities(card, root)
    number = number_names((entry.person for entry in listing.entries), card.distractor_ids)
    first, second = ("query", "train") if card.swap else ("train", "query")
    position = {person: i for i, person in enumerate(sorted(set(number.values())))}
    listing.entries = [entry._replace(split=second if position[number[entry.person]] % 2 else first)
                       for entry in listing.entries]
    return listing


def read_repeated(card, root: Path) -> Listing:
    """Layout ``repeated``: one folder; the identities of split number ``card.split`` train, the others query."""
    listing = _with_identities(card, root)
    persons = {entry.person for entry in listing.entries}
    if card.repeats.file:
        test = recorded_split(root / card.repeats.file, card.split, persons)
    else:
        test = persons - random_split(persons, card.repeats.train_fraction, card.repeats.seed, card.split)
    listing.entries = [entry._replace(split="query" if entry.person in test else "train") for entry in listing.entries]
    return listing


def read_listfile(card, root: Path) -> Listing:
    """Layout ``listfile``: every split's paths stand in text files, one a line, relative to its folder."""
    listing = Listing()
    for name, prefix in _folders(card, root).items():
        names = []
        for list_name in card.splits[name].lists:
            if not (root / list_name).is_file():
                raise DataRootError(f"missing: the list file {list_name} (split {name!r})")
            lines = (root / list_name).read_text(encoding="utf-8-sig").splitlines()
            names += [_listed_path(line, list_name) for line in lines if line.strip()]
        absent = [n for n in names if not (root / prefix / n).is_file()]
        if absent:
            raise DataRootError(f"split {name!r}: {len(absent)} of {len(names)} listed files are not in the "
                                f"folder {prefix or './'}, first: {', '.join(map(repr, absent[:5]))}")
        _collect(card, listing, name, prefix, names)
    return listing


def _listed_path(line: str, list_name: str) -> str:
    path = line.strip().replace("\\", "/")
    if not is_image_name(path):
        path = path.rpartition(" ")[0].strip()          # a label follows the path
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise DataRootError(f"{list_name}: expected a relative image path, perhaps a label; found {line!r}")
    return PurePosixPath(path).as_posix()


READERS = {"folders": read_folders, "by_identity": read_by_identity, "listfile": read_listfile,
           "repeated": read_repeated, "table": read_table}
ONE_FOLDER = ("by_identity", "repeated")
"""Layouts whose one folder holds training and test identities."""
