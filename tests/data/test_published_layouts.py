"""Each published dataset on a small copy in its true layout: splits, junk, distractors, identities, cameras."""
import logging
import random

import pytest

from mprd_pyg.data import DataCard, DataRootError, check_images, extract


def per_split(frame):
    """split -> (images, sorted identities, sorted cameras)."""
    return {split: (len(part), sorted(set(part["person_id"])), sorted(set(part["camera_id"])))
            for split, part in frame.groupby("split")}


def scan(name, root, **changes):
    card = DataCard.load(name).replace(**changes)
    frame = check_images(card.scan(root))
    card.check_evaluable(frame)
    return card, frame


def test_market1501(small_copy, tmp_path):
    card, frame = scan("market1501", small_copy("market1501", tmp_path))
    assert per_split(frame) == {"train": (16, [2, 7, 10, 11], [1, 6]), "query": (6, [1, 3, 4], [1, 4]),
                                "gallery": (8, [0, 1, 3, 4], [1, 2, 4])}
    assert frame.attrs["junk"] == {"gallery": 1}
    assert "split 'gallery': 3 identities found, 750 expected (747 fewer)" in card.deviations(frame)   # 0 is nobody


def test_dukemtmc_keeps_its_distractor_identities(small_copy, tmp_path):
    card, frame = scan("dukemtmc_reid", small_copy("dukemtmc_reid", tmp_path))
    assert per_split(frame) == {"train": (16, [1, 5, 9, 12], [2, 8]), "query": (6, [6, 7, 13], [1, 5]),
                                "gallery": (8, [6, 7, 13, 7002, 7009], [1, 3, 5])}
    assert frame.attrs["junk"] == {}
    assert "split 'gallery': 5 identities found, 1,110 expected (1,105 fewer)" in card.deviations(frame)


@pytest.mark.parametrize("folders", [{}, {"train": "mask_train_v2", "test": "mask_test_v2"}])
def test_msmt17_of_both_versions(small_copy, tmp_path, folders):
    _, frame = scan("msmt17", small_copy("msmt17", tmp_path, **folders))
    # list_train and list_val together; test persons, who count from 0 again, are moved behind the training ones
    assert per_split(frame) == {"train": (16, [0, 1, 2, 3], [1, 15]), "query": (6, [1041, 1042, 1043], [3, 14]),
                                "gallery": (6, [1041, 1042, 1043], [3, 14])}
    assert frame["path"][0] == f"{folders.get('train', 'train')}/0000/0000_000_01_0303morning_0000_1.jpg"
    assert not frame["path"].str.contains("noon|/[.]").any()        # neither listed


def test_msmt17_with_a_list_of_another_version(small_copy, tmp_path):
    root = small_copy("msmt17", tmp_path)
    with open(root / "list_val.txt", "a") as file:
        file.write("0007/0007_000_01_0303noon_0000_0.jpg 7\n")
    with pytest.raises(DataRootError, match="1 of 17 listed files are not in the folder train/.*0007_000_01"):
        DataCard.load("msmt17").scan(root)
    (root / "list_query.txt").unlink()
    with pytest.raises(DataRootError, match="missing: the list file list_query.txt|1 of 17 listed"):
        DataCard.load("msmt17").scan(root)


def test_cuhk01_two_images_of_two_cameras(small_copy, tmp_path):
    card, frame = scan("cuhk01", small_copy("cuhk01", tmp_path))
    splits = per_split(frame)
    # nine identities: the lower half, four, train; these four are what seed 0 draws, on every platform
    assert splits["train"] == (16, [2, 4, 5, 7], [1, 2])
    assert splits["query"] == (20, [1, 3, 6, 8, 9], [1, 2])
    assert frame.set_index("path")["camera_id"].to_dict()["campus/0003002.png"] == 1
    assert frame.set_index("path")["camera_id"].to_dict()["campus/0003003.png"] == 2
    query, gallery = card.evaluation_sets(frame)
    assert query.tolist() == gallery.tolist() == list(range(16, 36))
    seen = {tuple(per_split(card.replace(split=number).scan(tmp_path))["train"][1]) for number in range(10)}
    assert len(seen) > 5 and all(len(ids) == 4 for ids in seen)
    with pytest.raises(ValueError, match="split 10: the card 'cuhk01' has 10 splits, numbered 0 to 9"):
        card.replace(split=10)
    one_way = card.replace(evaluation={"single_shot": True, "query_cameras": [1]})
    query, gallery = one_way.evaluation_sets(frame)
    assert len(query) == 10 and len(gallery) == 20 and set(frame["camera_id"][query]) == {1}


def test_single_shot_and_camera_names_are_checked(small_copy, tmp_path):
    card, root = DataCard.load("cuhk01"), small_copy("cuhk01", tmp_path)
    four = card.replace(camera_names={})
    with pytest.raises(ValueError, match="single shot needs exactly two cameras among query and gallery, found 1, 2, "):
        four.check_evaluable(four.scan(root))
    four.replace(evaluation={}).check_evaluable(four.scan(root))
    with pytest.raises(DataRootError, match="camera '3' in 'campus/0001003.png': the card's camera_names are '1', '2'"):
        card.replace(camera_names={"1": 1, "2": 1}).scan(root)
    moved = card.replace(camera_offset=10).scan(root)
    assert set(moved["camera_id"]) == {11, 12}


def test_viper_cameras_by_folder_and_gaps_in_the_numbers(small_copy, tmp_path):
    card, frame = scan("viper", small_copy("viper", tmp_path))
    train, query = (set(frame["person_id"][frame["split"] == split]) for split in ("train", "query"))
    assert len(train) == len(query) == 8 and not train & query and max(train | query) == 872
    assert frame.groupby("person_id")["camera_id"].apply(sorted).tolist() == [[1, 2]] * 16
    assert "split 'train': 16 images found, 632 expected (616 fewer)" in card.deviations(frame)
    assert card.scan(tmp_path).equals(frame)


def test_cuhk03_asks_to_extract_the_archive_first(small_copy, tmp_path):
    root = small_copy("cuhk03", tmp_path)
    with pytest.raises(DataRootError) as error:
        DataCard.load("cuhk03").scan(root)
    command = f"python -m pipelines.extract --archive {root / 'cuhk03_release' / 'cuhk-03.mat'} --out {root}"
    assert command in str(error.value) and "images_labeled" in str(error.value)


@pytest.fixture(scope="module")
def extracted(small_copy, tmp_path_factory):
    root = small_copy("cuhk03", tmp_path_factory.mktemp("cuhk03"))
    extract(root / "cuhk03_release" / "cuhk-03.mat", root, progress=False)
    return root


def test_cuhk03_classic_splits(extracted, caplog):
    _, frame = scan("cuhk03", extracted)
    names = {number: name for name, number in frame.attrs["person_names"].items()}
    assert names == dict(enumerate(["1_001", "1_002", "1_003", "1_004", "1_005", "2_001", "2_002", "2_003", "3_001"],
                                   start=1))
    splits = per_split(frame)
    assert [names[i] for i in splits["query"][1]] == ["1_002", "1_004", "2_001"]
    assert splits["query"][0] == 12 and splits["train"] == (22, [1, 3, 5, 7, 8, 9], [1, 2])    # 3_001: two images
    second = DataCard.load("cuhk03").replace(split=1).scan(extracted)
    assert [names[i] for i in per_split(second)["query"][1]] == ["1_005", "2_002", "2_003", "3_001"]
    _, detected = scan("cuhk03_detected", extracted)
    assert per_split(detected)["query"] == (9, splits["query"][1], [1, 2])
    assert detected["path"].str.startswith("images_detected/").all()
    with pytest.raises(DataRootError, match="splits_classic.json holds 2 splits, numbered from 0; split 2"):
        DataCard.load("cuhk03").replace(split=2).scan(extracted)


def test_extracted_cuhk03_is_recognised(extracted):
    with pytest.raises(DataRootError, match="looks like the data of the card 'cuhk03': use"):
        DataCard.load("market1501").scan(extracted)
    with pytest.raises(DataRootError, match=f"one level too low; use {extracted}"):
        DataCard.load("cuhk03").scan(extracted / "images_labeled")


def test_cuhk03_test_identities_without_images_are_reported(small_copy, tmp_path, caplog):
    root = small_copy("cuhk03", tmp_path)
    extract(root / "cuhk03_release" / "cuhk-03.mat", root, progress=False)
    for path in (root / "images_labeled").glob("2_001_*"):
        path.unlink()
    with caplog.at_level(logging.WARNING):
        frame = DataCard.load("cuhk03").scan(root)
    assert "split 0: 1 of its 3 test identities have no image, first: 2_001" in caplog.text
    assert len(per_split(frame)["query"][1]) == 2


@pytest.mark.parametrize("boxes, train, query, gallery", [("labeled", 18, 8, 8), ("detected", 14, 8, 4)])
def test_cuhk03_767_700_protocol(extracted, boxes, train, query, gallery):
    card, frame = scan(f"cuhk03_new_{boxes}", extracted)
    splits = per_split(frame)
    assert {split: part[0] for split, part in splits.items()} == {"train": train, "query": query, "gallery": gallery}
    names = {number: name for name, number in frame.attrs["person_names"].items()}
    assert [names[i] for i in splits["train"][1]] == ["1_001", "1_003", "2_001", "2_003", "3_001"]
    assert splits["query"][1] == splits["gallery"][1] and not set(splits["query"][1]) & set(splits["train"][1])
    assert card.repeats is None and not card.gallery_includes_query and not card.evaluation.single_shot


@pytest.mark.parametrize("name", ["market1501", "dukemtmc_reid", "msmt17", "cuhk01", "viper"])
def test_the_wrong_card_names_the_right_one(small_copy, tmp_path, name):
    small_copy(name, tmp_path / "it")
    other = "con_reid" if name != "con_reid" else "viper"
    with pytest.raises(DataRootError, match=f"looks like the data of the card '{name}'"):
        DataCard.load(other).scan(tmp_path / "it")
    if name != "viper":     # whose pattern begins with its folders, so that a level above matches nothing
        with pytest.raises(DataRootError, match=f"one level too high; use {tmp_path / 'it'}"):
            DataCard.load(name).scan(tmp_path)


def test_own_card_on_the_base_of_a_shipped_one(small_copy, tmp_path):
    small_copy("dukemtmc_reid", tmp_path / "data")
    (tmp_path / "half.yaml").write_text("base: dukemtmc_reid\nname: half\ncounts: {}\nsplits:\n"
                                        "  train: {folder: bounding_box_train}\n")
    card = DataCard.from_yaml(tmp_path / "half.yaml")
    assert card.pattern == DataCard.load("dukemtmc_reid").pattern and card.terms and list(card.splits) == ["train"]
    assert len(card.scan(tmp_path / "data")) == 16
    assert DataCard._parse(card.to_yaml(), "text") == card
    (tmp_path / "half.yaml").write_text("base: dukemtmc\nname: half\n")
    with pytest.raises(ValueError, match="base: no shipped card is called 'dukemtmc'; did you mean 'dukemtmc_reid'"):
        DataCard.from_yaml(tmp_path / "half.yaml")


def test_published_figures_can_be_looked_up():
    duke, market = (DataCard.load(name).reference for name in ("dukemtmc_reid", "market1501"))
    assert duke["MPRD"] == {"mAP": 43.7, "rank1": 67.4, "rank5": 78.7, "rank10": 81.8}
    assert set(duke) - set(market) == {"PAUL, source Market-1501"}
    assert set(market) - set(duke) == {"PAUL, source DukeMTMC"}
    assert DataCard.load("cuhk03").reference["PAUL"]["rank1"] == 52.3
    assert DataCard.load("cuhk03_new_labeled").reference == {}
    described = DataCard.load("viper").describe()
    assert "published, PAUL: rank1 45.2" in described
    assert "split number 0 of 10, by identity, drawn from seed 0" in described


def test_every_published_dataset_says_what_it_must():
    for name in ("market1501", "dukemtmc_reid", "msmt17", "cuhk03", "cuhk03_detected", "cuhk03_new_labeled",
                 "cuhk03_new_detected", "cuhk01", "viper"):
        card = DataCard.load(name)
        assert card.counts and card.evaluation.protocol and card.obtaining and card.terms and card.citation
        assert len(card.traps) >= 4
        assert all(count.identities for count in card.counts.values()), name


@pytest.mark.parametrize("name", ["msmt17", "cuhk01", "viper"])
def test_the_order_of_listing_changes_nothing(small_copy, tmp_path, name, monkeypatch):
    import os
    root, card, real = small_copy(name, tmp_path), DataCard.load(name), os.scandir
    expected = card.scan(root)

    class Shuffled(list):
        def __enter__(self):
            return iter(self)

        def __exit__(self, *_):
            return None

    def shuffled(path="."):
        with real(path) as entries:
            entries = list(entries)
        return Shuffled(random.sample(entries, len(entries)))
    monkeypatch.setattr(os, "scandir", shuffled)
    for part in root.glob("list_*.txt"):
        lines = part.read_text().splitlines()
        part.write_text("\n".join(random.sample(lines, len(lines))))
    assert card.scan(root).equals(expected)
