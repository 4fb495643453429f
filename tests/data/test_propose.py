"""Folders without a card get one that says what is there; what is there is compared with what a card promises."""
import numpy as np
import pytest
from PIL import Image

from mprd_pyg.data import DataCard, DataRootError
from mprd_pyg.data.cards.inspection import inspect_root
from mprd_pyg.data.cards.propose import propose_card


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


def test_people_seen_by_one_camera_only_all_train(tmp_path):
    found = propose_card(make(tmp_path / "x", [f"{p:03d}/{k}.png" for p in range(6) for k in range(4)]))
    assert set(found.frame["split"]) == {"train"} and "could not be ranked" in found.notes[0]
    with pytest.raises(ValueError, match="two cameras"):
        propose_card(tmp_path / "x", split="identity")


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
