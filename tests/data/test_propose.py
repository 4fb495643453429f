"""Folders without a card get one that says what is there; what is there is compared with what a card promises."""
import numpy as np
import pytest
from PIL import Image

from mprd_pyg.data import DataCard, DataRootError, Table, inspect_root, propose_card, propose_table


def make(root, paths):
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 4, 3), dtype=np.uint8)).save(root / path)
    return root


@pytest.fixture
def people(tmp_path):
    return make(tmp_path / "My crops", [f"{p:03d}/c{c}_{k}.png" for p in range(6) for c in (1, 2) for k in range(3)])


def test_every_other_identity_trains_when_there_are_no_split_folders(people):
    found = propose_card(people)
    assert found.card.name == "my_crops" and found.card.layout == "by_identity"
    assert set(found.frame["person_id"][found.frame["split"] == "train"]) == {0, 2, 4}
    assert found.card.counts["query"].images == 18 and "every other identity" in found.notes[0]
    everything = propose_card(people, split="none")
    assert set(everything.frame["split"]) == {"train"} and "all images train" in everything.notes[0]


def test_the_card_promises_what_was_found(people, tmp_path):
    card = propose_card(people).card
    card.to_yaml(tmp_path / "own.yaml")
    assert DataCard.load(str(tmp_path / "own.yaml")) == card
    assert not inspect_root(card, people).differences
    (people / "000" / "c1_0.png").unlink()
    (people / "002" / "c1_0.png").write_bytes(b"")
    (people / "003" / "front.png").write_bytes((people / "003" / "c1_0.png").read_bytes())
    (people / "003" / "c1_1.png").write_bytes((people / "003" / "c1_0.png").read_bytes())
    result = inspect_root(card, people)
    assert result.figures["train"]["images"] == (17, 18) and result.figures["train"]["cameras"] == (2, 2)
    assert [path for path, _ in result.unreadable] == ["002/c1_0.png"]
    assert result.duplicates == [["003/c1_0.png", "003/c1_1.png"]]
    assert sorted(text.split(" ")[0] for text in result.differences) == ["1", "1", "split"]
    assert inspect_root(card, people, decode=False).unreadable == []


def test_without_cameras_all_train_and_each_is_ranked_against_all_others(tmp_path):
    root = make(tmp_path / "x", [f"{p:03d}/{k}.png" for p in range(6) for k in range(4 if p < 5 else 1)])
    for split in ("auto", "none"):
        found = propose_card(root, split=split)
        assert set(found.frame["split"]) == {"train"} and found.card.evaluation.leave_one_out
        assert found.card.other_images(found.frame).tolist() == [3] * 20 + [0]
        assert "1 images are the only one of their identity" in found.notes[-1]
    halves = propose_card(root, split="identity")
    assert halves.card.layout == "by_identity" and halves.card.evaluation.leave_one_out
    assert set(halves.frame["split"]) == {"train", "query"}
    with pytest.raises(ValueError, match="split must be auto, identity or none, got 'half'"):
        propose_card(root, split="half")


def test_each_identity_of_one_image_or_of_no_name_can_only_train(tmp_path):
    found = propose_card(make(tmp_path / "x", [f"{p:03d}.png" for p in range(6)]), person="1")
    assert not found.card.evaluation.leave_one_out and "each of the 6 query images is the only one" in found.notes[0]
    with pytest.raises(ValueError, match="only one of its identity"):
        propose_card(tmp_path / "x", person="1", split="identity")
    assert not propose_card(tmp_path / "x", person="none").card.evaluation.leave_one_out


def test_query_and_gallery_folders_without_cameras_are_ranked(tmp_path):
    paths = [f"{folder}/{p:03d}/{k}.png" for folder in ("train", "query", "gallery") for p in range(4) for k in (1, 2)]
    found = propose_card(make(tmp_path / "x", paths))
    assert set(found.card.splits) == {"train", "query", "gallery"} and found.card.evaluation.leave_one_out
    assert found.card.other_images(found.frame).tolist() == [2] * 8  # the queries are not in the gallery


def table(root, header, rows):
    make(root, [row.split(",")[0] for row in rows])
    (root / "my list.csv").write_text("\n".join([header, *rows]))
    return root / "my list.csv"


def test_a_table_of_individuals(tmp_path):
    rows = [f"images/{p}_{k}.png,{name},t{p}{k // 2}" for p, name in enumerate(("ada", "bo", "cy")) for k in range(4)]
    found = propose_table(table(tmp_path / "x", "File_Name,individual_id,tracklet", rows))
    card = found.card
    assert card.name == "my_list" and card.table == Table("my list.csv", "File_Name", "individual_id")
    assert card.evaluation.leave_one_out and set(found.frame["split"]) == {"train"}
    assert found.frame.attrs["person_names"] == {"ada": 1, "bo": 2, "cy": 3}
    assert sorted(set(found.frame["tracklet_id"])) == list(range(6)) and found.person.distinct == ["ada", "bo", "cy"]
    assert not inspect_root(card, tmp_path / "x", decode=False).differences
    assert (propose_table(tmp_path / "x" / "my list.csv", person="none").frame["person_id"] == -1).all()


def test_a_table_with_cameras_and_splits(tmp_path):
    rows = [f"{p}_{c}_{k}.png,{p},{c},{part}" for p, part in ((1, "train"), (2, "Test"), (3, "Test"), (4, "val"))
            for c in "ab" for k in range(2)]
    file = table(tmp_path / "x", "path,identity,camera,split", rows)
    found = propose_table(file)
    assert found.frame["split"].value_counts().to_dict() == {"train": 4, "query": 8}
    assert found.card.gallery_includes_query and not found.card.evaluation.leave_one_out
    assert found.card.table.split_names == {"Test": "query", "val": "none"} and "'val' is left out" in found.notes[0]
    unsplit = propose_table(table(tmp_path / "y", "path,identity,camera,unit", rows), split="identity")
    assert unsplit.card.layout == "by_identity" and set(unsplit.frame["person_id"][:8]) == {1, 3}


def test_tables_that_need_a_word(tmp_path):
    file = table(tmp_path / "x" / "lists", "path,who", ["a.png,1", "b.png,1"])
    for options, message in [
            ({}, "no column 'identity' for the identity .columns: path, who.: --person NAME names it, --person none"),
            ({"person": "whom"}, "no column 'whom' for the identity"),
            ({"person": "who", "path": "none"}, "no column 'none' for the path"),
            ({"person": "who", "camera": "eye"}, "no column 'eye' for the camera"),
            ({"person": "who", "root": tmp_path / "elsewhere"}, "not below the root"),
            ({"person": "who", "root": tmp_path / "x"}, "2 of 2 images are not below")]:
        with pytest.raises(ValueError, match=message) as caught:
            propose_table(file, **options)
        assert "\n" not in str(caught.value)
    assert propose_table(file, person="who").card.evaluation.leave_one_out
    for name in ("a.png", "b.png"):
        (file.parent / name).rename(file.parent.parent / name)
    assert propose_table(file, person="who", root=tmp_path / "x").card.table.file == "lists/my list.csv"


def test_market_folders_junk_and_distractors(tmp_path):
    def names(folder, persons):
        return [f"{folder}/{p}_c{c}s1_{k:06d}_00.jpg" for p in persons for c in (1, 2) for k in range(2)]
    found = propose_card(make(tmp_path / "m", [
        *names("bounding_box_train", ["0001", "0002", "0003"]), *names("query", ["0004", "0005"]),
        *names("bounding_box_test", ["-1", "0000", "0004", "0005"]), *names("gt_bbox", ["0001"])]))
    card = found.card
    assert card.junk_ids == (-1,) and card.distractor_ids == (0,) and card.layout == "folders"
    assert card.counts["gallery"].identities == 2 and card.counts["gallery"].junk == 4
    assert "left out: gt_bbox/" in found.notes


def test_test_alone_is_queried_against_itself(tmp_path):
    paths = [f"{'train' if p < 4 else 'test'}/{p:04d}_c{c}_{k}.jpg" for p in range(8) for c in (1, 2) for k in range(2)]
    card = propose_card(make(tmp_path / "x", paths)).card
    assert card.gallery_includes_query and card.splits["query"].folder == ("test",)


def test_query_and_gallery_that_cannot_be_ranked_are_left_out(tmp_path):
    paths = [f"{folder}/{k:05d}.jpg" for folder in ("train", "query", "gallery") for k in range(5)]
    found = propose_card(make(tmp_path / "x", paths))
    assert set(found.card.splits) == {"train"} and "no identity" in found.notes[-1]
    assert (found.frame["person_id"] == -1).all()


def test_overrides(people):
    found = propose_card(people, person="none", camera="2")
    assert (found.frame["person_id"] == -1).all() and set(found.frame["camera_id"]) == {1, 2}
    own = propose_card(people, pattern=r"(?P<person>\d+)/c\d_(?P<camera>\d)\.png")
    assert set(own.frame["camera_id"]) == {0, 1, 2}
    with pytest.raises(ValueError, match="1 = number 1 of folder 1"):
        propose_card(people, person="9")
    with pytest.raises(DataRootError, match="none of its 36 images matches"):
        propose_card(people, pattern="x")
    (people.parent / "none").mkdir()
    with pytest.raises(DataRootError, match="holds no image"):
        propose_card(people.parent / "none")
