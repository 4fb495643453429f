"""Scans of random trees: right splits or the documented error, in an order of their own."""
import os
import random
import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.data import DataCard, DataRootError, check_table

FOLDERS = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}


def write_files(root, paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def rows(frame):
    return list(frame[["path", "person_id", "camera_id", "split"]].itertuples(index=False, name=None))


def parse_market_name(name):
    """(person, camera) of a Market-1501 file name by hand, None if it is not one."""
    stem, dot, suffix = name.rpartition(".")
    parts = stem.split("_")
    digits = set(string.digits)
    if suffix not in ("jpg", "png") or len(parts) != 4 or not all(parts) or "/" in name:
        return None
    person, view, frame, box = parts
    person_digits = person.removeprefix("-")
    if not person_digits or not set(person_digits + frame + box) <= digits:
        return None
    if len(view) != 4 or view[0] != "c" or view[2] != "s" or not {view[1], view[3]} <= digits:
        return None
    return int(person), int(view[1])


market_names = st.builds("{}_c{}s{}_{}_{}.{}".format, st.sampled_from(["-1", "0000", "0001", "7", "x"]),
                         st.integers(1, 11), st.integers(1, 9), st.integers(0, 999), st.integers(0, 99),
                         st.sampled_from(["jpg", "png", "JPG", "txt", "jpg.bak"]))
other_names = st.sampled_from(["Thumbs.db", ".0001_c1s1_1_1.jpg", "0001_c1s1_1.jpg", "a.jpg",
                               "0001_c1s1_1_1 .jpg"])
tree_paths = st.tuples(st.sampled_from(["bounding_box_train/", "query/", "bounding_box_test/", "gt_bbox/", "",
                                        "query/nested/", "bounding_box_train/query/"]),
                       market_names | other_names).map("".join)
full = [f"{folder}/0009_c1s1_1_1.jpg" for folder in FOLDERS.values()]


@settings(deadline=None, max_examples=60)
@given(st.sets(tree_paths, max_size=15), st.booleans())
def test_random_trees_give_the_right_splits_or_the_documented_error(paths, complete):
    paths = paths | set(full) if complete else paths
    expected, parsed = set(), {split: 0 for split in FOLDERS}
    for path in paths:
        folder, _, name = path.partition("/")
        found = parse_market_name(name)
        for split in FOLDERS:
            if folder == FOLDERS[split] and found is not None:
                parsed[split] += 1
                if found[0] != -1:
                    expected.add((path, *found, split))
    with tempfile.TemporaryDirectory() as root:
        write_files(Path(root), paths)
        try:
            frame = DataCard.load("market1501").scan(root)
        except DataRootError as error:
            assert not all(parsed.values()) or not expected or "looks like the data" in str(error)
            return
    check_table(frame)
    assert all(parsed.values()) and set(rows(frame)) == expected


class ShuffledScan:
    """``os.scandir`` on a file system that lists its folders in another order."""

    real = staticmethod(os.scandir)

    def __init__(self, path="."):
        with self.real(path) as entries:
            self.entries = list(entries)
        random.shuffle(self.entries)

    def __enter__(self):
        return iter(self.entries)

    def __exit__(self, *_):
        return None


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(1, 40), min_size=2, max_size=12, unique=True), st.randoms())
def test_the_order_of_the_table_does_not_depend_on_the_file_system(ids, order):
    paths = [f"train/{'sub/' if i % 3 == 0 else ''}{i}_c{i % 4}.jpg" for i in ids] + ["query/1_c1.jpg"]
    with tempfile.TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        write_files(Path(root), paths)
        expected = rows(DataCard.load("folder").scan(root))
        assert [row[0] for row in expected] == sorted(paths[:-1]) + paths[-1:]
        random.seed(order.random())
        patch.setattr(os, "scandir", ShuffledScan)
        assert rows(DataCard.load("folder").scan(root)) == expected
