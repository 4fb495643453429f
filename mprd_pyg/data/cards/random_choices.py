"""Random choices that a dataset's protocol needs, the same on every platform and in every library version."""
import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mprd_pyg.data.cards.naming import is_number
from mprd_pyg.data.cards.schema import DataRootError

logger = logging.getLogger(__name__)


def shuffled(names: Iterable[str], *stream: int | str) -> list[str]:
    """Names in a random order that depends on nothing but each name and the stream.

    Each name's place is decided by the sha256 of stream and name, so neither a generator's version nor the
    order in which the names come matters, and a name that is added or missing changes no other's order.
    """
    prefix = "/".join(map(str, stream))
    return sorted(set(names), key=lambda name: (hashlib.sha256(f"{prefix}/{name}".encode()).digest(), name))


def random_split(persons: Iterable[str], train_fraction: float, seed: int, number: int) -> set[str]:
    """The training identities of split ``number``: the first ``int(fraction * count)`` in a shuffled order.

    Args:
        persons: identities as they stand in the paths; ``1`` and ``001`` are one.
        train_fraction: of the identities, rounded down.
        seed: of all splits.
        number: of the split, from 0.
    """
    persons = set(persons)
    known = {person: str(int(person)) if is_number(person) else person for person in persons}
    order = shuffled(known.values(), "split", seed, number)
    train = set(order[:int(train_fraction * len(order) + 1e-9)])
    return {person for person in persons if known[person] in train}


def recorded_split(file: str | Path, number: int, persons: set[str]) -> set[str]:
    """The test identities of split ``number`` in a JSON file ``{"test": [[name, ...], ...]}``.

    Args:
        file: the recorded splits.
        number: of the split, from 0.
        persons: identities that have images; recorded ones without are reported and left out.
    """
    file = Path(file)
    if not file.is_file():
        raise DataRootError(f"missing: the recorded splits {file.name}")
    try:
        splits = json.loads(file.read_text(encoding="utf-8"))["test"]
        test = [set(map(str, split)) for split in splits]
    except (ValueError, KeyError, TypeError):
        raise DataRootError(f'{file.name} holds no recorded splits: expected {{"test": [[name, ...], ...]}}') from None
    if number >= len(test):
        raise DataRootError(f"{file.name} holds {len(test)} splits, numbered from 0; split {number} was asked for")
    absent = sorted(test[number] - persons)
    if absent:
        logger.warning("split %d: %d of its %d test identities have no image, first: %s", number, len(absent),
                       len(test[number]), ", ".join(absent[:5]))
    return test[number] & persons


def single_shot_draws(paths: Sequence[str], person_id: np.ndarray, camera_id: np.ndarray, draws: int,
                      seed: int = 0) -> np.ndarray:
    """Choose one image per identity and camera, several times.

    Args:
        paths: (G,) of the images to choose from, relative to the root.
        person_id: (G,) identities; images below 0 are never chosen.
        camera_id: (G,) cameras.
        draws: how often. Where every identity has one image per camera there is one draw, as all would be alike.
        seed: of the draws.

    Returns:
        (draws, S) int64 positions in ``paths``, ascending in each row.
    """
    person_id, camera_id = np.asarray(person_id), np.asarray(camera_id)
    place = {path: i for i, path in enumerate(paths) if person_id[i] >= 0}
    groups = len({(person_id[i], camera_id[i]) for i in place.values()})
    rows = []
    for draw in range(draws if groups < len(place) else 1):
        chosen = {}
        for path in shuffled(place, "draw", seed, draw):
            chosen.setdefault((person_id[place[path]], camera_id[place[path]]), place[path])
        rows.append(sorted(chosen.values()))
    return np.array(rows, dtype=np.int64).reshape(len(rows), groups)
