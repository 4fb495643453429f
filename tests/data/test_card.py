"""Cards: every layout on a small generated copy, crops of one's own, and real data where they are found."""
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mprd_pyg.data import DataCard, DataRootError, check_table


def write_images(root, paths):
    rng = np.random.default_rng(0)
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 4, 3), dtype=np.uint8)).save(root / path, format="JPEG")
    return root


def write_files(root, paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


def market(root):
    train = ["0002_c1s1_000451_03.jpg", "0002_c2s1_000451_01.jpg", "0007_c6s3_077419_02.jpg"]
    query = ["0001_c1s1_001051_00.jpg", "0003_c4s6_015641_00.jpg"]
    test = ["-1_c1s1_000401_03.jpg", "-1_c3s2_000401_01.jpg", "0000_c1s1_000151_01.jpg",
            "0001_c1s1_001051_03.jpg", "0001_c2s1_000301_00.jpg", "0003_c1s6_1_00.jpg"]
    names = {"bounding_box_train": train, "query": query, "bounding_box_test": test}
    write_images(root, [f"{folder}/{name}" for folder, files in names.items() for name in files])
    for folder in names:
        (root / folder / "Thumbs.db").write_bytes(b"\xd0\xcf")
    return root


def pku(root, persons=("001", "003", "004", "010", "007")):
    return write_images(root, [f"{p}/{c}_{o}.png" for p in persons for c in ("01", "02") for o in (1, 2)])


def con(root):
    return write_images(root, [
        "bounding_box_train/0002_c1s1_000003.jpg", "bounding_box_train/0002_c1s1_000003_1.jpg",
        "bounding_box_test/0001_c4s1_000003.jpg", "query/0001_c4s1_000001_1.jpg",
        "query/0001_c5s1_000009.jpg", "query/0004_c2s1_000004.jpg"])


def rows(frame):
    return list(frame[["path", "person_id", "camera_id", "split"]].itertuples(index=False, name=None))


def own(**changes):
    return DataCard.load("folder").replace(name="own", **changes)


def test_shipped_cards_load_and_describe_themselves():
    assert DataCard.names() == [
        "con_reid", "cuhk01", "cuhk03", "cuhk03_detected", "cuhk03_new_detected", "cuhk03_new_labeled",
        "dukemtmc_reid", "folder", "market1501", "msmt17", "pku_reid", "synthetic", "viper"]
    for name in DataCard.names():
        card = DataCard.load(name)
        assert card.name == name and card.title in card.describe() and card.terms in card.describe()
        assert card.splits and card.obtaining


def test_market_layout_drops_junk_keeps_distractors_and_ignores_thumbs(tmp_path):
    card = DataCard.load("market1501")
    frame = card.scan(market(tmp_path))
    check_table(frame)
    assert rows(frame) == [
        ("bounding_box_train/0002_c1s1_000451_03.jpg", 2, 1, "train"),
        ("bounding_box_train/0002_c2s1_000451_01.jpg", 2, 2, "train"),
        ("bounding_box_train/0007_c6s3_077419_02.jpg", 7, 6, "train"),
        ("query/0001_c1s1_001051_00.jpg", 1, 1, "query"),
        ("query/0003_c4s6_015641_00.jpg", 3, 4, "query"),
        ("bounding_box_test/0000_c1s1_000151_01.jpg", 0, 1, "gallery"),
        ("bounding_box_test/0001_c1s1_001051_03.jpg", 1, 1, "gallery"),
        ("bounding_box_test/0001_c2s1_000301_00.jpg", 1, 2, "gallery"),
        ("bounding_box_test/0003_c1s6_1_00.jpg", 3, 1, "gallery")]
    assert frame.attrs["root"] == str(tmp_path) and frame.attrs["card"] == "market1501"
    assert frame.attrs["junk"] == {"gallery": 2} and frame.attrs["person_names"] == {}
    query, gallery = card.evaluation_sets(frame)
    assert query.tolist() == [3, 4] and gallery.tolist() == [5, 6, 7, 8]
    card.check_evaluable(frame)


def test_market_deviations_say_what_differs(tmp_path, caplog):
    card = DataCard.load("market1501")
    with caplog.at_level(logging.WARNING):
        frame = card.scan(market(tmp_path))
    texts = card.deviations(frame)
    assert "split 'train': 3 images found, 12,936 expected (12,933 fewer)" in texts
    assert "split 'gallery': 2 junk found, 3,819 expected (3,817 fewer)" in texts
    assert "split 'gallery': 2 identities found, 750 expected (748 fewer)" in texts     # id 0 is nobody
    assert all(text in caplog.text for text in texts)
    exact = {"train": {"images": 3, "identities": 2, "cameras": 3},
             "gallery": {"images": 4, "identities": 2, "cameras": 2, "junk": 2}}
    assert card.replace(counts=exact).deviations(frame) == []
    assert len(card.replace(counts={"train": {"images": 2}}).deviations(frame)) == 1


def test_synthetic_counts_come_from_the_file_beside_the_images(tmp_path):
    card, root = DataCard.load("synthetic"), market(tmp_path)
    assert card.deviations(card.scan(root)) == []
    counts = {"train": 5, "query": {"images": 2, "seed": "x"}}
    (root / "synthetic.json").write_text(json.dumps({"counts": counts}))
    assert card.deviations(card.scan(root)) == ["split 'train': 3 images found, 5 expected (2 fewer)"]
    for broken in ("[", "{}", '{"counts": 3}', '{"counts": {"train": null}}'):
        (root / "synthetic.json").write_text(broken)
        assert card.deviations(card.scan(root)) == []


def test_pku_splits_identities_alternately_and_swaps(tmp_path):
    card, root = DataCard.load("pku_reid").replace(counts={"train": {"identities": 3}}), pku(tmp_path)
    frame = card.scan(root)
    ids = frame.groupby("split")["person_id"].unique().apply(sorted).to_dict()
    assert ids == {"train": [1, 4, 10], "query": [3, 7]}        # sorted 1 3 4 7 10
    assert set(frame["camera_id"]) == {1, 2} and card.deviations(frame) == []
    query, gallery = card.evaluation_sets(frame)
    assert query.tolist() == gallery.tolist() == list(range(12, 20))
    card.check_evaluable(frame)
    swapped = card.replace(swap=True)
    again = swapped.scan(root)
    assert set(again["path"][again["split"] == "train"]) == set(frame["path"][frame["split"] == "query"])
    assert swapped.deviations(again) == []      # the promised 3 identities are now the queries'


def test_identities_split_by_number_not_by_spelling(tmp_path):
    frame = DataCard.load("pku_reid").scan(pku(tmp_path, ("2", "10", "9", "100")))
    assert sorted(set(frame["person_id"][frame["split"] == "train"])) == [2, 10]


def test_con_reid_reads_its_swapped_folders(tmp_path, caplog):
    card = DataCard.load("con_reid")
    frame = card.scan(con(tmp_path))
    assert frame["split"].tolist() == ["train"] * 2 + ["query"] + ["gallery"] * 3
    assert frame["path"][2] == "bounding_box_test/0001_c4s1_000003.jpg"
    assert not card.evaluation.cross_camera_valid
    caplog.clear()
    card.check_evaluable(frame)
    assert "meaningless" in caplog.text


def test_con_reid_can_be_a_source_without_its_test_folders(tmp_path):
    write_files(tmp_path, ["bounding_box_train/0002_c1s1_000003.jpg"])
    assert rows(DataCard.load("con_reid").scan(tmp_path)) == [
        ("bounding_box_train/0002_c1s1_000003.jpg", 2, 1, "train")]


def test_listfile_layout_reads_lists_offsets_and_alternative_folders(tmp_path):
    splits = {"train": {"folder": ["mask_train_v2", "train"], "lists": ["train.txt", "val.txt"]},
              "query": {"folder": "test", "lists": "query.txt", "person_offset": 1000}}
    card = DataCard(name="lists", layout="listfile", splits=splits,
                    pattern=r"\d+/(?P<person>\d+)_\d+_(?P<camera>\d+)_.*\.jpg")
    write_files(tmp_path, ["train/0000/0000_000_01_a.jpg", "train/0001/0001_000_15_a.jpg",
                           "train/0001/0001_9_2_b.jpg", "train/0001/0001_001_03_unlisted.jpg",
                           "test/0000/0000_000_14_a.jpg"])
    (tmp_path / "train.txt").write_text("0001/0001_000_15_a.jpg 1\n./0000/0000_000_01_a.jpg 0\n\n")
    (tmp_path / "val.txt").write_text("0001\\0001_9_2_b.jpg")
    (tmp_path / "query.txt").write_text("0000/0000_000_14_a.jpg 0\r\n")
    assert rows(card.scan(tmp_path)) == [
        ("train/0000/0000_000_01_a.jpg", 0, 1, "train"), ("train/0001/0001_000_15_a.jpg", 1, 15, "train"),
        ("train/0001/0001_9_2_b.jpg", 1, 2, "train"), ("test/0000/0000_000_14_a.jpg", 1000, 14, "query")]
    (tmp_path / "val.txt").write_text("0001/gone.jpg 1\n")
    with pytest.raises(DataRootError, match="1 of 3 listed files are not in the folder train/.*gone.jpg"):
        card.scan(tmp_path)
    (tmp_path / "val.txt").write_text("../outside.jpg 1\n")
    with pytest.raises(DataRootError, match="val.txt: expected a relative image path"):
        card.scan(tmp_path)
    (tmp_path / "val.txt").unlink()
    with pytest.raises(DataRootError, match="missing: the list file val.txt"):
        card.scan(tmp_path)


def test_own_crops_numbers_in_any_subfolder(tmp_path):
    write_files(tmp_path, ["train/monday/12_c3_x.JPG", "train/5_c1.webp", "query/7_c1_a.png",
                           "gallery/7_c2_a.png"])
    card = own()
    frame = card.scan(tmp_path)
    assert rows(frame) == [("train/5_c1.webp", 5, 1, "train"), ("train/monday/12_c3_x.JPG", 12, 3, "train"),
                           ("query/7_c1_a.png", 7, 1, "query"), ("gallery/7_c2_a.png", 7, 2, "gallery")]
    card.check_evaluable(frame)


def test_the_whole_path_must_match_and_hidden_files_are_passed_over(tmp_path, caplog):
    write_files(tmp_path, ["train/1_c1.jpg", "train/1_c1.old.jpg", "train/x1_c1.jpg", "train/._1_c1.jpg",
                           "train/.trash/1_c1.jpg"])
    frame = own(pattern=r"(?:.*/)?\.?_?(?P<person>\d)_c(?P<camera>\d)\.jpg").scan(tmp_path)
    assert frame["path"].tolist() == ["train/1_c1.jpg"]
    assert "2 images do not match" in caplog.text and "'train/1_c1.old.jpg', 'train/x1_c1.jpg'" in caplog.text


def test_own_names_become_stable_ids_over_all_splits(tmp_path):
    card = own(pattern=r"(?P<person>[^/]+)/(?P<camera>[^_/]+)_.*\.jpg")
    write_files(tmp_path, ["train/zoe/door_1.jpg", "train/bob/yard_1.jpg", "query/alice/door_1.jpg",
                           "gallery/alice/yard_3.jpg", "gallery/7/yard_3.jpg"])
    frame = card.scan(tmp_path)
    assert frame.attrs["person_names"] == {"7": 1, "alice": 2, "bob": 3, "zoe": 4}
    assert frame.attrs["camera_names"] == {"door": 1, "yard": 2}
    assert frame["person_id"].tolist() == [3, 4, 2, 1, 2]
    assert frame["camera_id"].tolist() == [2, 1, 1, 2, 2]
    # a distractor's number stays, and no name gets it
    frame = card.replace(distractor_ids=[7]).scan(tmp_path)
    assert frame.attrs["person_names"] == {"7": 7, "alice": 8, "bob": 9, "zoe": 10}


def test_own_crops_without_identities_or_cameras_can_only_train(tmp_path):
    write_files(tmp_path, ["train/a.jpg", "train/b.jpg"])
    card = own(pattern=r".*\.jpg")
    frame = card.scan(tmp_path)
    assert frame["person_id"].tolist() == [-1, -1] and frame["camera_id"].tolist() == [0, 0]
    with pytest.raises(ValueError, match="no query images, so nothing can be ranked.*query"):
        card.check_evaluable(frame)
    write_files(tmp_path, ["query/a.jpg", "gallery/b.jpg"])
    with pytest.raises(ValueError, match="1 query images have no identity, first: query/a.jpg"):
        card.check_evaluable(card.scan(tmp_path))


def test_a_pattern_may_differ_by_split_and_offsets_shift_cameras(tmp_path):
    write_files(tmp_path, ["train/c0_x.jpg", "query/1_c0.jpg", "gallery/1_c1.jpg"])
    card = own(camera_offset=1, splits={"train": {"folder": "train", "pattern": r"c(?P<camera>\d)_.*"},
                                        "query": {"folder": "query"}, "gallery": {"folder": "gallery"}})
    frame = card.scan(tmp_path)
    assert frame["person_id"].tolist() == [-1, 1, 1] and frame["camera_id"].tolist() == [1, 1, 2]


def test_no_identity_in_two_cameras_cannot_be_evaluated(tmp_path):
    write_files(tmp_path, ["train/1_c1.jpg", "query/7_c1_a.png", "query/8_c2_a.png", "gallery/7_c1_b.png",
                           "gallery/0_c3.png", "query/0_c1.png"])
    card = own(distractor_ids=[0])
    with pytest.raises(ValueError, match="no identity is seen in two cameras.*found: 1, 2, 3.*'camera'"):
        card.check_evaluable(card.scan(tmp_path))
    write_files(tmp_path, ["gallery/8_c1.png"])
    card.check_evaluable(card.scan(tmp_path))


def test_leave_one_out_needs_no_camera(tmp_path):
    write_files(tmp_path, ["train/1_a.jpg", "train/1_b.jpg", "train/2_a.jpg", "train/0_a.jpg", "train/0_b.jpg",
                           "train/unknown.jpg"])
    card = own(pattern=r"(?:(?P<person>\d)_)?.*\.jpg", distractor_ids=[0], splits={"train": {"folder": "train"}},
               evaluation={"ignore": "itself"})
    frame = card.scan(tmp_path)
    query, gallery = card.evaluation_sets(frame)
    assert frame["path"][query].tolist() == ["train/1_a.jpg", "train/1_b.jpg", "train/2_a.jpg"]
    assert gallery.tolist() == list(range(6)) and card.other_images(frame).tolist() == [1, 1, 0]
    card.check_evaluable(frame)
    assert "leave one out" in card.describe()
    write_files(tmp_path, ["query/3.jpg", "query/4.jpg", "gallery/3_c.jpg", "gallery/5_a.jpg"])
    held = card.replace(splits={name: {"folder": name} for name in ("train", "query", "gallery")},
                        pattern=r"(?P<person>\d).*\.jpg")
    frame = held.scan(tmp_path)
    assert held.other_images(frame).tolist() == [1, 0] and [len(rows) for rows in held.evaluation_sets(frame)] == [2, 2]
    (tmp_path / "gallery" / "3_c.jpg").unlink()
    with pytest.raises(ValueError, match="each of the 2 query images is the only one of its identity"):
        held.check_evaluable(held.scan(tmp_path))


def test_images_of_one_tracklet_and_camera_are_marked(tmp_path):
    write_files(tmp_path, ["train/1_c1_t1_a.jpg", "train/1_c1_t1_b.jpg", "train/1_c2_t1_a.jpg", "train/2_c1.jpg"])
    card = own(pattern=r"(?P<person>\d)_c(?P<camera>\d)(_t(?P<tracklet>\d))?.*\.jpg")
    assert card.scan(tmp_path)["tracklet_id"].tolist() == [0, 0, 1, -1]
    assert "tracklet_id" not in own().scan(tmp_path)
    write_files(tmp_path, ["train/3_c2_t1_a.jpg"])
    with pytest.raises(DataRootError, match="tracklet '1' holds 'train/1_c2_t1_a.jpg' of '1' and .* of '3'"):
        card.scan(tmp_path)
    wider = own(pattern=r"(?P<tracklet>(?P<person>\d)_c(?P<camera>\d)_t\d|).*\.jpg")
    assert wider.scan(tmp_path)["tracklet_id"].tolist() == [0, 0, 1, -1, 2]


def test_links_are_followed_and_loops_are_not(tmp_path):
    write_files(tmp_path / "elsewhere", ["5_c1.jpg"])
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(tmp_path / "data" / "train")
    assert rows(own().scan(tmp_path / "data")) == [("train/linked/5_c1.jpg", 5, 1, "train")]


@pytest.mark.skipif("MPRD_REAL_DATA" not in os.environ, reason="MPRD_REAL_DATA names no folder of real data")
def test_real_data_are_what_their_cards_promise(caplog):
    root = Path(os.environ["MPRD_REAL_DATA"])
    found = {"pku_reid": root / "pku-reid-74" / "images", "con_reid": root / "con-reid"}
    for name, folder in found.items():
        card = DataCard.load(name)
        frame = card.scan(folder)
        assert card.deviations(frame) == [] and "do not match" not in caplog.text
    assert (frame["split"] == "train").sum() == 7711
    frame = DataCard.load("pku_reid").scan(found["pku_reid"])
    assert frame["split"].value_counts().to_dict() == {"train": 592, "query": 592}
    assert frame.groupby("split")["person_id"].nunique().to_dict() == {"train": 37, "query": 37}
