"""Random splits and draws: the same everywhere, whatever the order of the files."""
import hashlib
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.data import DataRootError, random_split, single_shot_draws
from mprd_pyg.data.cards.random_choices import recorded_split, shuffled

people = st.sets(st.text("abc0123456789é_", min_size=1, max_size=4), min_size=1, max_size=20)


def test_the_order_is_that_of_the_hashes():
    names = ["1", "2", "3", "004", "anna"]
    assert shuffled(names, "split", 5, 2) == sorted(
        names, key=lambda name: hashlib.sha256(b"split/5/2/" + name.encode()).hexdigest())
    # written out once: another platform, Python or library must give the same
    assert shuffled(map(str, range(8)), "split", 0, 0) == ["0", "4", "5", "7", "2", "3", "1", "6"]


@settings(deadline=None, max_examples=60)
@given(people, st.integers(0, 9), st.integers(0, 9), st.randoms())
def test_a_split_is_a_fraction_and_depends_on_no_order(persons, seed, number, order):
    train = random_split(persons, 0.5, seed, number)
    mixed = sorted(persons)
    order.shuffle(mixed)
    assert random_split(mixed, 0.5, seed, number) == train <= persons
    spelled = {person.lstrip("0") or "0" if person.isdigit() and person.isascii() else person for person in persons}
    kept = {person.lstrip("0") or "0" if person.isdigit() and person.isascii() else person for person in train}
    assert len(kept) == len(spelled) // 2


def test_two_spellings_of_a_number_are_one_identity():
    for number in range(20):
        train = random_split({"1", "001", "2", "3"}, 0.4, 0, number)      # one of three
        assert train in ({"1", "001"}, {"2"}, {"3"})


def test_splits_differ_and_cover():
    persons = {f"{i:04d}" for i in range(1, 972)}
    splits = [random_split(persons, 0.5, 0, number) for number in range(10)]
    assert all(len(split) == 485 for split in splits)
    assert all(200 < len(one & two) < 285 for one, two in zip(splits, splits[1:], strict=False))   # 242 by chance
    assert set().union(*splits) == persons


def test_recorded_splits(tmp_path, caplog):
    file = tmp_path / "splits.json"
    with pytest.raises(DataRootError, match="missing: the recorded splits splits.json"):
        recorded_split(file, 0, {"a"})
    for broken in ("[", "[]", '{"test": 3}', '{"test": [3]}', '{"train": []}'):
        file.write_text(broken)
        with pytest.raises(DataRootError, match="splits.json holds no recorded splits: expected"):
            recorded_split(file, 0, {"a"})
    file.write_text(json.dumps({"test": [["a", "b"], ["c"]]}))
    assert recorded_split(file, 0, {"a", "c"}) == {"a"} and "1 of its 2 test identities have no image, first: b" \
        in caplog.text
    with pytest.raises(DataRootError, match="holds 2 splits, numbered from 0; split 2"):
        recorded_split(file, 2, {"a"})


rows = st.lists(st.tuples(st.integers(-1, 4), st.integers(1, 2)), min_size=1, max_size=25)


@settings(deadline=None, max_examples=60)
@given(rows, st.integers(1, 4), st.integers(0, 5))
def test_each_draw_has_one_image_per_identity_and_camera(rows, draws, seed):
    paths = [f"{i}.jpg" for i in range(len(rows))]
    person, camera = np.array(rows).T
    chosen = single_shot_draws(paths, person, camera, draws, seed)
    groups = {row for row in rows if row[0] >= 0}
    assert len(chosen) == (draws if len(groups) < sum(p >= 0 for p, _ in rows) else 1)
    for draw in chosen:
        assert draw.tolist() == sorted(draw) and len(draw) == len(groups)
        assert {rows[i] for i in draw} == groups
    order = list(range(len(rows)))
    random.shuffle(order)
    again = single_shot_draws([paths[i] for i in order], person[order], camera[order], draws, seed)
    assert [{paths[order[i]] for i in draw} for draw in again] == [{paths[i] for i in draw} for draw in chosen]


def test_draws_are_even():
    paths = [f"{i}.jpg" for i in range(4)]
    chosen = single_shot_draws(paths, np.zeros(4, int), np.ones(4, int), 2000)
    share = np.bincount(chosen[:, 0], minlength=4) / 2000
    assert abs(share - 0.25).max() < 0.05       # five standard deviations
