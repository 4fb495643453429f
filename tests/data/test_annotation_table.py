"""Tables of images: every cell arrives as it stands, and each mistake is told in one line."""
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.data import CardError, DataCard, DataRootError, Table, TableError
from mprd_pyg.data.cards.annotation_table import read_columns

cells = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), max_size=8)


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=8), separator=st.sampled_from(",;\t"),
       mark=st.booleans())
def test_text_cells_arrive_as_they_stand(rows, separator, mark):
    """Among them 007, NA, null, quotes and separators."""
    frame = pd.DataFrame(rows, columns=["path", "identity", "site"])
    with tempfile.TemporaryDirectory() as folder:
        text, parquet = Path(folder) / "a.csv", Path(folder) / "a.parquet"
        frame.to_csv(text, sep=separator, index=False, encoding="utf-8-sig" if mark else "utf-8")
        frame.to_parquet(parquet)
        for file in (text, parquet):
            pd.testing.assert_frame_equal(read_columns(file), frame, check_dtype=False)


def test_numbers_and_dates_of_parquet_become_text(tmp_path):
    frame = pd.DataFrame({"identity": [3.0, None], "camera": [1, 2], "date": pd.to_datetime(["2024-05-01", None]),
                          "score": [0.5, None], "kind": pd.Categorical(["a", None])})
    frame.to_parquet(tmp_path / "a.parquet")
    assert read_columns(tmp_path / "a.parquet").to_dict("list") == {
        "identity": ["3", ""], "camera": ["1", "2"], "date": ["2024-05-01", ""], "score": ["0.5", ""],
        "kind": ["a", ""]}


def images(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def card(**table):
    return DataCard(name="t", layout="table", table={"file": "t.csv"} | table)


def test_a_table_becomes_an_image_table(tmp_path):
    images(tmp_path, "a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4", "5.jpg")
    (tmp_path / "t.csv").write_text(
        "path,name,station,part,when,tracklet\n"
        "a\\1.jpg,NA,door,train,2024-05-01,x\n./a/2.jpg,NA,door,train,,x\nb//3.jpg,,yard,test,,\nb/4,zoe,yard,ref,,\n"
        "5.jpg,zoe,door,val,,\n")
    own = card(identity="name", camera="station", split="part", date="when",
               split_names={"test": "query", "ref": "gallery", "val": "none"})
    frame = own.scan(tmp_path)
    assert frame["path"].tolist() == ["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4"]
    assert frame["split"].tolist() == ["train", "train", "query", "gallery"]
    assert frame["person_id"].tolist() == [1, 1, -1, 2] and frame.attrs["person_names"] == {"NA": 1, "zoe": 2}
    assert frame["camera_id"].tolist() == [1, 1, 2, 2] and frame["tracklet_id"].tolist() == [0, 0, -1, -1]
    assert frame["date"].tolist()[0] == "2024-05-01" and frame["date"].isna().tolist() == [False, True, True, True]
    assert "table: t.csv" in own.describe()
    with pytest.raises(DataRootError, match="t.csv has none in 1 rows"):
        own.replace(layout="by_identity").scan(tmp_path)


def test_a_table_may_be_split_by_identity_and_drop_junk(tmp_path):
    images(tmp_path, *(f"{person}_{k}.jpg" for person in "1234" for k in range(2)))
    (tmp_path / "t.csv").write_text("path;identity\n" + "".join(f"{p}_{k}.jpg;{p}\n" for p in "1234" for k in range(2)))
    own = card().replace(layout="by_identity", gallery_includes_query=True, evaluation={"ignore": "itself"})
    frame = own.scan(tmp_path)
    assert set(frame["person_id"][frame["split"] == "train"]) == {1, 3}
    own.check_evaluable(frame)
    assert own.replace(junk_ids=[3]).scan(tmp_path).attrs["junk"] == {"train": 2}
    unknown = card(identity=None).scan(tmp_path)
    assert (unknown["person_id"] == -1).all() and set(unknown["split"]) == {"train"}


GOOD = "path,identity,split\na.jpg,1,train\nb.jpg,2,train\n"


@pytest.mark.parametrize("text, message", [
    (GOOD.replace("identity", "individual"), "no column 'identity' for the identity .columns: path, individual, "
     "split.: name it in the card, table: {identity: NAME}, or identity: null"),
    (GOOD.replace("path", "file"), "no column 'path' for the path.*table: {path: NAME}"),
    (GOOD.replace("b.jpg", ""), "no path in 1 rows, first row 2: '': give each row the path"),
    (GOOD.replace("b.jpg", "../b.jpg"), "outside the root in 1 rows, first row 2: '../b.jpg': give paths relative"),
    (GOOD.replace("b.jpg", "/data/b.jpg"), "outside the root in 1 rows, first row 2: '/data/b.jpg'"),
    (GOOD.replace("b.jpg", "C:\\b.jpg"), r"outside the root in 1 rows, first row 2: 'C:\\\\b.jpg'"),
    (GOOD.replace("b.jpg", "gone.jpg"), "1 of 2 images are not below .*, first: 'gone.jpg': give the folder"),
    (GOOD.replace("b.jpg", "./a.jpg"), "a path that an earlier row has in 1 rows, first row 2: 'a.jpg'"),
    (GOOD.replace("2,train", "2,trian"), "unknown split in 1 rows, first row 2: 'trian': expected train, query, "),
    (GOOD.replace("2,train", "2,"), "unknown split in 1 rows, first row 2: ''"),
    (GOOD.replace("a.jpg,1,train", "a.jpg,1,train,7"), "row 1 has 4 cells, and there are 3 names; save"),
    ("path,identity,identity\na.jpg,1,2\n", "two columns are called 'identity': rename one"),
    ("path,identity\n", "has no rows"),
    ("", "cannot be read as a table: it is empty"),
    (GOOD.replace("1", "\xe9").encode("latin-1"), "cannot be read as a table: .*utf-8"),
])
def test_each_mistake_is_told_in_one_line_that_names_the_file(tmp_path, text, message):
    images(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "t.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(TableError, match=message) as caught:
        card().scan(tmp_path)
    assert "t.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_tables_and_columns(tmp_path):
    images(tmp_path, "a.jpg", "b.jpg")
    with pytest.raises(TableError, match="the table t.csv is not in "):
        card().scan(tmp_path)
    (tmp_path / "t.csv").write_text(GOOD)
    with pytest.raises(TableError, match="no column 'spilt' for the split; did you mean 'split'"):
        card(split="spilt").scan(tmp_path)
    (tmp_path / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(TableError, match="t.parquet cannot be read as a table"):
        card(file="t.parquet").scan(tmp_path)
    (tmp_path / "t.xlsx").write_bytes(b"")
    with pytest.raises(TableError, match="a table's name ends in .csv"):
        card(file="t.xlsx").scan(tmp_path)


@pytest.mark.parametrize("changes, message", [
    ({"table": None}, "the layout 'table' needs the key 'table'"),
    ({"layout": "folders"}, "table: the layout 'folders' reads folders"),
    ({"pattern": "a"}, "leave out 'pattern' and 'splits'"),
    ({"splits": {"train": {}}}, "leave out 'pattern' and 'splits'"),
    ({"table": {"file": "../t.csv"}}, "must lie below the root"),
    ({"table": {"file": "t.csv", "split_names": {"a": "test"}}}, "split_names: a: 'test': expected train, query, "),
    ({"table": {"files": "t.csv"}}, "unknown key 'files'; did you mean 'file'"),
])
def test_cards_that_do_not_go_together(changes, message):
    with pytest.raises(CardError, match=message):
        card().replace(**changes)


def test_a_card_of_a_table_round_trips(tmp_path):
    own = card(identity=None, camera="station", split_names={"val": "none"})
    own.to_yaml(tmp_path / "own.yaml")
    assert DataCard.load(str(tmp_path / "own.yaml")) == own and own.table == Table(
        "t.csv", identity=None, camera="station", split_names={"val": "none"})
