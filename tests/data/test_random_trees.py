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


def scanned(card, paths, texts=None):
    """The rows of a card on a tree of empty files, None where the documented error is raised; twice in any order."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        root = write_files(Path(folder), paths)
        for name, text in (texts or {}).items():
            (root / name).write_text(text, encoding="utf-8")
        try:
            frame = card.scan(root)
        except DataRootError:
            return None
        check_table(frame)
        patch.setattr(os, "scandir", ShuffledScan)
        assert rows(card.scan(root)) == rows(frame)
        return rows(frame)


duke_names = st.builds("{}_c{}_f{}.{}".format, st.sampled_from(["0001", "7002", "-1", "12", "x"]), st.integers(1, 11),
                       st.integers(0, 10**7), st.sampled_from(["jpg", "png", "JPG", "txt"]))


@settings(deadline=None, max_examples=30)
@given(st.sets(st.tuples(st.sampled_from([*FOLDERS.values(), "other"]), duke_names | other_names)
               .map("/".join), max_size=12))
def test_random_trees_in_dukes_layout(paths):
    def parse(path):
        folder, name = path.split("/", 1)
        person, *rest = name.rpartition(".")[0].split("_")
        good = name[-4:] in (".jpg", ".png") and len(rest) == 2 and person.isdigit() and len(rest[0]) == 2 \
            and rest[0][0] == "c" and rest[0][1].isdigit() and rest[1][:1] == "f" and rest[1][1:].isdigit()
        return folder, (int(person), int(rest[0][1])) if good else None
    found = scanned(DataCard.load("dukemtmc_reid"), paths | {p.replace("_c1s1_1_1", "_c1_f1") for p in full})
    if found is not None:
        expected = {(path, *parse(path)[1], split) for path in paths for split, folder in FOLDERS.items()
                    if parse(path) == (folder, parse(path)[1]) and parse(path)[1]}
        assert set(found) - {(f"{folder}/0009_c1_f1.jpg", 9, 1, split) for split, folder in FOLDERS.items()} \
            == expected - {(f"{folder}/0009_c1_f1.jpg", 9, 1, split) for split, folder in FOLDERS.items()}


repeated_files = st.sets(st.tuples(st.integers(1, 12), st.integers(1, 6)), max_size=30)
odd_files = st.sets(st.sampled_from(["campus/00010010.png", "campus/x.png", "campus/0001005.png", "0002001.png",
                                     "campus/deep/0001001.png", "campus/Thumbs.db", "splits.txt"]))


@settings(deadline=None, max_examples=30)
@given(repeated_files, odd_files, st.integers(0, 9))
def test_random_trees_in_cuhk01s_layout(files, odd, number):
    paths = {f"campus/{person:04d}00{image}.png" for person, image in files} | odd
    found = scanned(DataCard.load("cuhk01").replace(split=number), paths)
    good = {(person, image) for person, image in files if image <= 4}
    if found is None:
        assert not good     # (an empty campus) or nothing there at all
        return
    assert {(path, person, camera) for path, person, camera, _ in found} == {
        (f"campus/{person:04d}00{image}.png", person, 1 if image < 3 else 2) for person, image in good}
    train, test = ({row[1] for row in found if row[3] == split} for split in ("train", "query"))
    assert not train & test and len(train) == len({person for person, _ in good}) // 2
    assert {row[3] for row in found} <= {"train", "query"}


BASE = [("train", 9, 1, 0), ("test", 9, 2, 0), ("test", 9, 3, 1)]     # one image of each split
msmt_files = st.lists(st.tuples(st.sampled_from(["train", "mask_train_v2", "test", "mask_test_v2"]),
                                st.integers(0, 3), st.integers(1, 15), st.integers(0, 3)), max_size=20, unique=True)


@settings(deadline=None, max_examples=30)
@given(msmt_files, st.sets(st.integers(2, 40), max_size=5), st.booleans(),
       st.sampled_from(["", "", "", "# odd", "/abs.jpg 1", "../up.jpg", "gone.jpg 0"]))
def test_random_lists_in_msmt17s_layout(files, unlisted, second, odd):
    files = [(f"mask_{kind}_v2" if second else kind, *rest) for kind, *rest in BASE] + files
    lists, expected, paths = {"train": [], "val": [], "query": [], "gallery": []}, set(), set()
    folders = {kind: next((name for name in (kind, f"mask_{kind}_v2") if any(f == name for f, *_ in files)), None)
               for kind in ("train", "test")}
    for i, (folder, person, camera, number) in enumerate(files):
        name = f"{person:04d}/{person:04d}_{number:03d}_{camera:02d}_0303noon_{i:04d}_0.jpg"
        paths.add(f"{folder}/{name}")
        if i in unlisted or folder not in folders.values():
            continue
        part = ("train", "val")[i % 2] if "train" in folder else ("query", "gallery")[i % 2]
        lists[part].append(f"{name} {person}")
        expected.add((f"{folder}/{name}", person + 1041 * ("test" in folder), camera,
                      "train" if part in ("train", "val") else part))
    texts = {f"list_{part}.txt": "\n".join([*lines, odd] if part == "val" else lines) for part, lines in lists.items()}
    found = scanned(DataCard.load("msmt17"), paths, texts)
    complete = all(folders.values()) and {row[3] for row in expected} == {"train", "query", "gallery"}
    assert (found is not None) == (complete and odd == "")
    if found is not None:
        assert set(found) == expected


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
