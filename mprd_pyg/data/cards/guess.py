"""Which part of a file name is the person and which the camera: fields of the names, their scores, a pattern."""
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import PurePosixPath

import numpy as np

CAMERA_WORDS = frozenset({"c", "cam", "camera", "cid", "camid", "view", "sensor"})
PERSON_WORDS = frozenset({"p", "pid", "id", "person", "people", "ped", "pedestrian", "subject", "identity"})
OTHER_WORDS = frozenset({"s", "seq", "f", "fr", "frame", "t", "time", "ts", "img", "image", "crop", "n", "det", "v"})
"""What the letters before a number say of it."""


@dataclass(frozen=True)
class Field:
    """A part of every path that could be the person or the camera.

    Args:
        component: which folder (0 is the outermost), the file's name being the last.
        run: which number in it, from 0; None for the whole folder name.
        folders: how many folders the paths have.
        values: (N,) its text in each path, ``""`` where it is missing.
        word: the letters before the number (for a whole folder name: its first ones), in lower case.
    """

    component: int
    run: int | None
    folders: int
    values: tuple[str, ...]
    word: str

    @property
    def code(self) -> np.ndarray:
        """(N,) the values as numbers 0, 1, ..."""
        return np.unique(np.array(self.values), return_inverse=True)[1]

    @property
    def distinct(self) -> list[str]:
        """The different values, sorted."""
        return sorted(set(self.values) - {""})

    def __str__(self):
        name = "the file name" if self.component == self.folders else f"folder {self.component + 1}"
        return f"the whole of {name}" if self.run is None else f"number {self.run + 1} of {name}"


def split_path(path: str) -> list[str]:
    """The folders of a path and the file's name without its suffix."""
    return [*PurePosixPath(path).parts[:-1], PurePosixPath(path).stem]


def usual_depth(paths: Sequence[str]) -> list[str]:
    """The paths that have the most common number of folders (the deeper, where two are as common)."""
    depth = Counter(len(split_path(path)) for path in paths)
    best = max(depth, key=lambda d: (depth[d], d))
    return [path for path in paths if len(split_path(path)) == best]


def find_fields(paths: Sequence[str]) -> list[Field]:
    """All fields of paths of one depth: each folder's name where it varies, and each number in folders and name."""
    rows = [split_path(path) for path in paths]
    folders, fields = len(rows[0]) - 1, []
    for component in range(folders + 1):
        texts = [row[component] for row in rows]
        parts = [re.split(r"(\d+)", text) for text in texts]   # text, number, text, number, ..., text
        runs = sorted(len(part) // 2 for part in parts)[len(parts) // 50]
        worded = len({tuple(part[::2]) for part in parts}) > 1
        if component < folders and len(set(texts)) > 1 and (worded or runs > 1):
            first = [re.match(r"[A-Za-z]*", text)[0] for text in texts]
            fields.append(Field(component, None, folders, tuple(texts), _word(first)))
        for run in range(runs):
            values = tuple(part[2 * run + 1] if len(part) > 2 * run + 1 else "" for part in parts)
            fields.append(Field(component, run, folders, values, _word([part[2 * run] for part in parts])))
    return fields


def _word(texts: list[str]) -> str:
    """The letters that end most of the texts, a separator apart: ``_cam`` and ``cam-`` give ``cam``."""
    words = Counter(re.search(r"([A-Za-z]*)[\s_\-.]?$", text)[1].lower() for text in texts)
    return words.most_common(1)[0][0]


def person_score(field: Field) -> float:
    """How much a field looks like an identity; -inf if it cannot be one."""
    values = [value for value in field.values if value]
    count = Counter(values)
    each = len(values) / max(1, len(count))
    hinted, folder = field.word in PERSON_WORDS, field.component < field.folders
    if len(count) < 2 or field.word in OTHER_WORDS | CAMERA_WORDS:
        return -math.inf
    if not hinted and sum(n for n in count.values() if n > 1) < 0.7 * len(values):
        return -math.inf                            # a counter: nearly every image has its own
    if not hinted and not folder and len(count) <= 6 and each > 50:
        return -math.inf                            # few values with many images each: rather a camera
    padded = field.run is not None and len({len(v) for v in count}) == 1 and len(next(iter(count))) >= 3
    if not hinted and not folder and field.run and not padded:
        return -math.inf
    late = 0.0 if hinted or folder else -0.5 * field.run
    return (3.0 * hinted + 2.0 * folder + (field.run in (0, None)) + padded + late
            + min(1.0, math.log(len(count)) / math.log(20)))


def camera_score(field: Field, person: Field | None) -> float:
    """How much a field looks like a camera beside that person field; -inf if it cannot be one."""
    count = len(field.distinct)
    hinted = field.word in CAMERA_WORDS
    if not 2 <= count <= 100 or field.word in OTHER_WORDS | PERSON_WORDS:
        return -math.inf
    if person is None:
        return 3.0 if hinted else 0.5 if count <= 16 and len(field.values) >= 20 * count else -math.inf
    seen = len(set(zip(person.code.tolist(), field.code.tolist(), strict=True)))
    per_person, each = seen / len(person.distinct), len(field.values) / seen
    if not hinted and (each < 1.5 or per_person < 1.1 or seen / count < 2):
        return -math.inf    # a counter within each person, or a part of the person's own name
    early = -0.1 * (field.run or 0)
    return 3.0 * hinted + (per_person > 1.5) + min(2.0, math.log2(max(1.0, each)) / 2) - 0.02 * count + early


def choose(persons: Sequence[Field | None], cameras: Sequence[Field | None]) -> tuple[Field | None, Field | None]:
    """The best pair (person, camera) of the candidates, None standing for "not in the names".

    A number in the file name that is a counter within each camera is no person: names such as ``cam1/0001.jpg`` are
    read as images without identities, because wrong identities do harm and missing ones do not.

    Args:
        persons: candidates for the person; a single one is taken whatever its score.
        cameras: candidates for the camera, likewise.
    """
    best, pair = -math.inf, (None, None)
    for person, camera in product(persons, cameras):
        if person is not None and person is camera:
            continue
        free = len(persons) > 1
        score = 0.0 if person is None or not free else person_score(person)
        score += 0.0 if camera is None or len(cameras) == 1 else camera_score(camera, person)
        if score > best and not (free and _counts_within(person, camera)):
            best, pair = score, (person, camera)
    return pair


def _counts_within(person: Field | None, camera: Field | None) -> bool:
    if person is None or camera is None or person.component < person.folders or person.word in PERSON_WORDS:
        return False
    pairs = set(zip(person.code.tolist(), camera.code.tolist(), strict=True))
    return len(person.values) < 1.2 * len(pairs)


def make_pattern(paths: Sequence[str], person: Field | None, camera: Field | None) -> str:
    """The regular expression that reads those fields from paths of one depth (any depth, if only names matter)."""
    rows, suffixes = [split_path(path) for path in paths], {PurePosixPath(path).suffix[1:].lower() for path in paths}
    chosen = {(f.component, f.run): group for f, group in ((person, "person"), (camera, "camera")) if f is not None}
    folders, ending = len(rows[0]) - 1, rf"\.(?i:{'|'.join(sorted(suffixes))})"
    if not chosen:
        return ".*" + ending
    pieces = []
    for component in range(folders + 1):
        runs = [run for place, run in chosen if place == component and run is not None]
        if (component, None) in chosen:
            pieces.append(f"(?P<{chosen[component, None]}>[^/]+)")
        elif runs:
            texts = [row[component] for row in rows]
            ends = {re.split(r"\d+", text, maxsplit=max(runs) + 1)[-1] for text in texts}
            tail = "" if ends == {""} and component < folders else "[^/]*"
            pieces.append(_numbers(texts, component, max(runs), chosen) + tail)
        else:
            same = {row[component] for row in rows}
            pieces.append(_literal(same.pop()) if len(same) == 1 and component < folders else "[^/]+")
    if all(place == folders for place, _ in chosen):
        return "(?:.*/)?" * (folders > 0) + pieces[-1] + ending
    return "/".join(pieces) + ending


def _numbers(texts: list[str], component: int, last: int, chosen: dict) -> str:
    """The expression of a name up to its number ``last``: text that never varies is kept as it stands."""
    parts = [part for part in (re.split(r"(\d+)", text) for text in texts) if len(part) > 2 * last + 1]
    expression = ""
    for run in range(last + 1):
        before, group = {part[2 * run] for part in parts}, chosen.get((component, run))
        signed = group == "person" and before == {"", "-"}      # Market-1501's junk is person -1
        expression += "" if signed else _literal(before.pop()) if len(before) == 1 else r"[^\d/]*"
        number = r"-?\d+" if signed else r"\d+"
        expression += f"(?P<{group}>{number})" if group else number
    return expression


def _literal(text: str) -> str:
    return re.escape(text).replace(r"\-", "-").replace(r"\ ", " ")
