"""The image table's contract: what is legal, in which order, and what its fingerprint sees."""
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.data import check_table, fingerprint, make_table

ROWS = [("b/2.jpg", 4, 2, "train"), ("a/1.jpg", -1, 0, "train"), ("c/1.jpg", 7, 1, "gallery"),
        ("z/9.jpg", 7, 2, "query")]


def test_rows_are_sorted_by_split_then_path():
    frame = make_table(ROWS)
    assert frame["path"].tolist() == ["a/1.jpg", "b/2.jpg", "z/9.jpg", "c/1.jpg"]
    assert frame["split"].tolist() == ["train", "train", "query", "gallery"]
    assert frame["person_id"].dtype == frame["camera_id"].dtype == np.int64
    check_table(frame.assign(style=0))      # further columns are allowed


@settings(deadline=None, max_examples=30)
@given(st.permutations(ROWS))
def test_the_order_of_the_rows_given_does_not_matter(rows):
    pd.testing.assert_frame_equal(make_table(rows), make_table(ROWS))


@pytest.mark.parametrize("change, message", [
    (lambda f: f.drop(columns="camera_id"), "missing: camera_id"),
    (lambda f: f.iloc[:0], "at least one row"),
    (lambda f: f.astype({"person_id": "float64"}), "person_id must be int64, found float64"),
    (lambda f: f.assign(person_id=[-1, -2, 7, 7]), r"person_id must be at least -1; row 1 \(b/2.* has -2"),
    (lambda f: f.assign(camera_id=[0, 1, -1, 1]), r"camera_id must be at least 0; row 2 \(z/9.jpg\) has -1"),
    (lambda f: f.assign(split=["train", "train", "val", "test"]), "found test, val"),
    (lambda f: f.assign(path=["a/1.jpg", "/b/2.jpg", "z/9.jpg", "c/1.jpg"]), "relative.*'/b/2.jpg'"),
    (lambda f: f.assign(path=["a/1.jpg", "b/../2.jpg", "z/9.jpg", "c/1.jpg"]), "'b/../2.jpg'"),
    (lambda f: f.assign(path=["a/1.jpg", "b//2.jpg", "z/9.jpg", "c/1.jpg"]), "'b//2.jpg'"),
    (lambda f: f.assign(path=["a/1.jpg", None, "z/9.jpg", "c/1.jpg"]), "posix paths"),
    (lambda f: f.assign(path=["a/1.jpg", "b/2.jpg", "z/9.jpg", "z/9.jpg"]), "1 paths stand.*twice"),
    (lambda f: f.iloc[[1, 0, 2, 3]].reset_index(drop=True), "must be sorted"),
    (lambda f: f.iloc[[0, 1, 3, 2]].reset_index(drop=True), "must be sorted"),
    (lambda f: f.iloc[1:], "the index must be 0, 1, 2"),
])
def test_illegal_tables(change, message):
    with pytest.raises(ValueError, match=message):
        check_table(change(make_table(ROWS)))


def write(root, sizes):
    for path, size in sizes.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x" * size)


SIZES = {"a/1.jpg": 3, "b/2.jpg": 4, "c/1.jpg": 5, "z/9.jpg": 6}


def test_fingerprint_is_the_same_for_a_copy_and_another_for_any_change(tmp_path):
    for copy in ("one", "two"):
        write(tmp_path / copy, SIZES)
    frame = make_table(ROWS)
    frame.attrs["root"] = str(tmp_path / "one")
    expected = fingerprint(frame)
    assert len(expected) == 64 and expected == fingerprint(frame, tmp_path / "two")
    others = [fingerprint(frame.assign(person_id=[-1, 5, 7, 7])),
              fingerprint(frame.assign(camera_id=[0, 2, 2, 2])),
              fingerprint(frame.assign(split=["train", "query", "query", "gallery"])),
              fingerprint(frame.iloc[:3])]
    write(tmp_path / "two", {"c/1.jpg": 6})
    others.append(fingerprint(frame, tmp_path / "two"))
    (tmp_path / "two" / "a" / "1.jpg").rename(tmp_path / "two" / "a" / "3.jpg")
    write(tmp_path / "two", {"c/1.jpg": 5})
    renamed = make_table([("a/3.jpg", *ROWS[1][1:]), *(row for row in ROWS if row[0] != "a/1.jpg")])
    others.append(fingerprint(renamed, tmp_path / "two"))
    assert len({expected, *others}) == 7


def test_fingerprint_needs_a_root_and_the_files(tmp_path):
    frame = make_table(ROWS)
    with pytest.raises(ValueError, match="pass the data root"):
        fingerprint(frame)
    with pytest.raises(FileNotFoundError, match="a/1.jpg"):
        fingerprint(frame, tmp_path)


def test_a_table_keeps_its_attributes_in_parquet(tmp_path):
    frame = make_table(ROWS)
    frame.attrs = {"root": "/data", "card": "x", "junk": {"gallery": 2}, "person_names": {"zoe": 1}}
    frame.to_parquet(tmp_path / "table.parquet")
    again = pd.read_parquet(tmp_path / "table.parquet")
    check_table(again)
    assert again.attrs == frame.attrs
