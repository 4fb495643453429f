"""A bad data root gets an error that says what was expected and found, and which folder or card is right."""
import os
from pathlib import Path

import pytest

from mprd_pyg.data import DataCard, DataRootError, make_table

DATA = {"market1501": ["bounding_box_train/0002_c1s1_000451_03.jpg", "query/0001_c1s1_001051_00.jpg",
                       "bounding_box_test/-1_c1s1_000401_03.jpg", "bounding_box_test/0001_c2s1_01_00.jpg"],
        "con_reid": ["bounding_box_train/0002_c1s1_000003.jpg", "bounding_box_train/0002_c1s1_000003_1.jpg",
                     "bounding_box_test/0001_c4s1_000003.jpg", "query/0001_c4s1_000001_1.jpg"],
        "pku_reid": ["001/01_1.png", "001/02_1.png", "003/01_1.png", "003/02_1.png"]}


def write_files(root, paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def own(**changes):
    return DataCard.load("folder").replace(name="own", **changes)


def test_missing_root(tmp_path):
    (tmp_path / "Market").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        DataCard.load("market1501").scan(tmp_path / "market" / "x")
    for text in (f"{tmp_path / 'market' / 'x'} does not exist", f"{tmp_path}, holds: Market/",
                 "bounding_box_train, query, bounding_box_test"):
        assert text in str(error.value)


def test_root_is_a_file_or_empty(tmp_path):
    (tmp_path / "market.zip").write_bytes(b"PK")
    (tmp_path / "void").mkdir()
    card = DataCard.load("market1501")
    with pytest.raises(DataRootError, match=r"market.zip is a file \(unpack.*expects a folder"):
        card.scan(tmp_path / "market.zip")
    with pytest.raises(DataRootError, match="void is empty.*bounding_box_train"):
        card.scan(tmp_path / "void")


@pytest.mark.parametrize("name, below", [("market1501", "query"), ("con_reid", "bounding_box_train"),
                                         ("pku_reid", "001")])
def test_root_one_level_too_high_or_low_names_the_right_one(tmp_path, name, below):
    right = write_files(tmp_path / "all" / "it", DATA[name])
    (tmp_path / "all" / "another").mkdir()
    card = DataCard.load(name)
    with pytest.raises(DataRootError) as error:
        card.scan(tmp_path / "all")
    assert f"one level too high; use {right}" in str(error.value)
    assert "found there: another/, it/" in str(error.value)
    with pytest.raises(DataRootError, match=f"one level too low; use {right}"):
        card.scan(right / below)
    card.scan(right)


def test_an_empty_optional_folder_does_not_hide_the_right_root(tmp_path):
    write_files(tmp_path / "it", DATA["con_reid"][:2])
    (tmp_path / "it" / "query").mkdir()
    with pytest.raises(DataRootError, match=f"one level too high; use {tmp_path / 'it'}"):
        DataCard.load("con_reid").scan(tmp_path)


def test_another_dataset_of_which_some_names_match_is_not_taken_for_the_rest(tmp_path):
    write_files(tmp_path, DATA["con_reid"] + [f"{folder}/0001_c4s1_000007_1.jpg" for folder in
                                              ("query", "bounding_box_test", "bounding_box_train")]
                + [f"bounding_box_train/0002_c1s1_{i}.jpg" for i in range(9)])
    market = DataCard.load("market1501")
    with pytest.raises(DataRootError, match="11 images do not match.*data of the card 'con_reid'"):
        market.scan(tmp_path)
    # a card of one's own may mean to leave most of the files out
    assert len(market.replace(name="copies").scan(tmp_path)) == 5


def test_by_identity_card_says_what_the_root_is_called(tmp_path):
    write_files(tmp_path / "images", DATA["pku_reid"])
    with pytest.raises(DataRootError, match="usually called 'images'(.|\n)*found there: images/"):
        DataCard.load("pku_reid").scan(tmp_path)


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", ["market1501", "con_reid", "pku_reid", "folder"])
def test_root_of_another_dataset_names_its_card(tmp_path, name, data):
    write_files(tmp_path, DATA[data])
    if name == data:
        DataCard.load(name).scan(tmp_path)
        return
    with pytest.raises(DataRootError, match=f"looks like the data of the card '{data}'"):
        DataCard.load(name).scan(tmp_path)


def test_unknown_data_gets_no_guess(tmp_path):
    write_files(tmp_path, ["holiday/1.jpg"])
    with pytest.raises(DataRootError) as error:
        DataCard.load("market1501").scan(tmp_path)
    assert "missing: bounding_box_train" in str(error.value) and "found there: holiday/" in str(error.value)
    assert "use" not in str(error.value)


def test_one_missing_folder_is_named(tmp_path):
    write_files(tmp_path, DATA["market1501"])
    (tmp_path / "query").rename(tmp_path / "queries")
    with pytest.raises(DataRootError, match=r"missing: query \(split 'query'\)\n"):
        DataCard.load("market1501").scan(tmp_path)


def test_names_of_which_none_match(tmp_path):
    write_files(tmp_path, [f"train/{letter}.jpg" for letter in "gfedcba"])
    with pytest.raises(DataRootError) as error:
        own().scan(tmp_path)
    assert "none of its 7 images matches" in str(error.value) and own().pattern in str(error.value)
    assert "'a.jpg', 'b.jpg', 'c.jpg', 'd.jpg', 'e.jpg'\n" in str(error.value)


def test_names_of_which_some_do_not_match_are_left_out_with_a_warning(tmp_path, caplog):
    write_files(tmp_path, ["train/1_c1.jpg", *(f"train/{letter}.jpg" for letter in "gfedcba")])
    frame = own().scan(tmp_path)
    assert frame["path"].tolist() == ["train/1_c1.jpg"]
    assert "7 images do not match" in caplog.text and own().pattern in caplog.text
    assert "'train/a.jpg', 'train/b.jpg', 'train/c.jpg', 'train/d.jpg', 'train/e.jpg' (" in caplog.text


def test_a_name_that_is_not_text_is_left_out(tmp_path, caplog):
    write_files(tmp_path, ["train/1_c1.jpg"])
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/train/1_c2_\xff.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such name")
    assert len(own().scan(tmp_path)) == 1 and "1 images do not match" in caplog.text


def test_folder_without_images_and_folder_of_junk(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "notes.txt").write_text("1_c1.jpg")
    with pytest.raises(DataRootError, match=r"the folder train/ \(split 'train'\) holds no image"):
        own().scan(tmp_path)
    write_files(tmp_path, ["train/9_c1.jpg"])
    with pytest.raises(DataRootError, match=r"no image is left \(junk dropped: 1\)"):
        own(junk_ids=[9]).scan(tmp_path)


def test_identities_in_train_and_test_warn(tmp_path, caplog):
    write_files(tmp_path, ["train/1_c1.jpg", "train/2_c1.jpg", "train/0_c1.jpg", "query/2_c1.jpg",
                           "gallery/0_c2.jpg"])
    own(distractor_ids=[0]).scan(tmp_path)
    assert "1 identities are both in train and in query or gallery, first: 2;" in caplog.text
    caplog.clear()
    (tmp_path / "query" / "2_c1.jpg").rename(tmp_path / "query" / "3_c1.jpg")
    own(distractor_ids=[0]).scan(tmp_path)
    assert caplog.text == ""


def test_negative_numbers_and_two_spellings_of_one(tmp_path, caplog):
    card = own(pattern=r"(?P<person>-?\d+)_c(?P<camera>\d+)\.jpg")
    write_files(tmp_path, ["train/1_c1.jpg", "train/001_c1.jpg"])
    card.scan(tmp_path)
    assert "person names 001, 1 are all read as number 1" in caplog.text
    write_files(tmp_path, ["train/-5_c1.jpg"])
    with pytest.raises(DataRootError, match="person number -5 in 'train/-5_c1.jpg'.*junk_ids"):
        card.scan(tmp_path)


def test_two_splits_that_read_the_same_file(tmp_path):
    write_files(tmp_path, ["all/1_c1.jpg"])
    with pytest.raises(ValueError, match="twice, first: all/1_c1.jpg"):
        make_table([("all/1_c1.jpg", 1, 1, "train"), ("all/1_c1.jpg", 1, 1, "query")])
    with pytest.raises(ValueError, match="twice, first: all/1_c1.jpg"):
        own(splits={"train": {"folder": "all"}, "query": {"folder": "all"}}).scan(tmp_path)


def test_by_identity_needs_identities(tmp_path):
    write_files(tmp_path, ["a.jpg", "b.jpg"])
    card = DataCard(name="x", layout="by_identity", pattern=r"(?P<camera>\w)\.jpg", splits={"all": {}})
    with pytest.raises(DataRootError, match="finds none in 2 names, first: 'a.jpg', 'b.jpg'"):
        card.scan(tmp_path)
