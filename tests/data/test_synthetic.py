"""Synthetic pedestrians: laid out like Market-1501, whole or not there, neither trivial nor hopeless."""

import json
import os
import re
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mprd_pyg
from mprd_pyg.data import DataCard
from mprd_pyg.data.pedestrian import DISTRACTOR, JUNK, PERSON, draw_identity, render, synthetic
from mprd_pyg.data.pedestrian.contact_sheet import contact_sheet
from mprd_pyg.data.pedestrian.market_layout import plan_images
from mprd_pyg.data.pedestrian.synthetic import write_synthetic

MARKET = re.compile(r"([-\d]+)_c(\d)s\d_\d{6}_\d{2}\.(jpg|png)")
SMALL = {"identities": (2, 3), "cameras": 2, "images_per_camera": 2, "distractors": 3, "junk": 2}


def pixels(*numbers, **options):
    return np.asarray(render(*numbers, **options), dtype=np.int64)


def tree(root):
    return {str(p.relative_to(root)): p.stat().st_mtime_ns for p in sorted(Path(root).rglob("*"))}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("synthetic") / "target", image_format="png", **SMALL)


# the layout -------------------------------------------------------------------------------------------------


def test_files_names_counts_and_pixels(dataset):
    train, query, gallery = (
        sorted(p.name for p in (dataset / folder).iterdir())
        for folder in ("bounding_box_train", "query", "bounding_box_test")
    )
    parsed = [[MARKET.fullmatch(name).groups() for name in names] for names in (train, query, gallery)]
    assert Counter((p, c) for p, c, _ in parsed[0]) == {(p, c): 2 for p in ("0001", "0002") for c in "12"}
    test_ids = ("0003", "0004", "0005")
    assert Counter((p, c) for p, c, _ in parsed[1]) == {(p, c): 1 for p in test_ids for c in "12"}
    known = Counter((p, c) for p, c, _ in parsed[2] if p in test_ids)
    assert known == {(p, c): 1 for p in test_ids for c in "12"}
    assert Counter(p for p, _, _ in parsed[2] if p not in test_ids) == {"0000": 3, "-1": 2}
    with Image.open(dataset / "query" / query[0]) as image:
        assert image.size == (64, 128) and image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), pixels(3, 1, 0))
    others = (("0000_c2s1_000001_01", 1, 2, DISTRACTOR), ("-1_c1s1_000000_01", 0, 1, JUNK))
    for name, number, camera, kind in others:
        with Image.open(dataset / "bounding_box_test" / f"{name}.png") as image:
            np.testing.assert_array_equal(np.asarray(image), pixels(number, camera, 0, kind=kind))


def test_record_and_card_agree_with_the_files(dataset):
    record = json.loads((dataset / "synthetic.json").read_text())
    assert record["parameters"]["identities"] == [2, 3] and record["parameters"]["seed"] == 0
    assert record["counts"] == {
        "train": {"images": 8, "identities": 2, "cameras": 2, "junk": 0},
        "query": {"images": 6, "identities": 3, "cameras": 2, "junk": 0},
        "gallery": {"images": 9, "identities": 3, "cameras": 2, "junk": 2},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = DataCard.load("synthetic").scan(dataset)
    assert table["split"].value_counts().to_dict() == {"train": 8, "query": 6, "gallery": 9}


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 5), st.integers(1, 5), st.integers(1, 6), st.integers(2, 5))
def test_plan_is_disjoint_and_complete(train, test, cameras, images):
    plan = plan_images((train, test), cameras, images, distractors=4, junk=3)
    assert len({(item.folder, item.name) for item in plan}) == len(plan)
    assert len(plan) == (train + test) * cameras * images + 7
    ids = {folder: {i.person for i in plan if i.folder == folder and i.kind == PERSON}
           for folder in ("bounding_box_train", "query", "bounding_box_test")}  # fmt: skip
    assert ids["bounding_box_train"] == set(range(1, train + 1))
    assert ids["query"] == ids["bounding_box_test"] == set(range(train + 1, train + test + 1))


def test_more_identities_and_images_keep_the_earlier_ones(dataset, tmp_path):
    larger = {**SMALL, "identities": (2, 4), "images_per_camera": 3, "distractors": 4}
    more = write_synthetic(tmp_path / "more", image_format="png", **larger)
    earlier = [p.relative_to(dataset) for p in dataset.rglob("*_*.png") if p.name != "contact_sheet.png"]
    assert len(earlier) == 8 + 12 + 5
    assert all((more / path).read_bytes() == (dataset / path).read_bytes() for path in earlier)


def test_size_and_jpeg(tmp_path):
    alone = {"identities": (0, 1), "cameras": 1, "images_per_camera": 2, "distractors": 0, "junk": 0}
    root = write_synthetic(tmp_path / "a", "source", height=256, width=128, **alone)
    (path,) = (root / "query").iterdir()
    with Image.open(path) as image:
        assert image.format == "JPEG" and image.size == (128, 256)
        drawn = pixels(1, 1, 0, domain="source", width=128, height=256)
        assert abs(np.asarray(image, dtype=np.int64) - drawn).mean() < 3


# whole or not there -----------------------------------------------------------------------------------------


def test_same_dataset_is_left_alone_and_another_is_refused(dataset):
    before = tree(dataset)
    assert write_synthetic(dataset, image_format="png", **SMALL) == dataset
    with pytest.raises(ValueError, match=r"seed 0 instead of 1.*Remove the folder or choose another"):
        write_synthetic(dataset, image_format="png", seed=1, **SMALL)
    assert tree(dataset) == before


def test_foreign_folder_is_refused_and_empty_one_is_used(tmp_path):
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(ValueError, match="photos.*without a readable synthetic.json"):
        write_synthetic(foreign, **SMALL)
    assert [p.name for p in tmp_path.rglob("*")] == ["photos", "cat.jpg"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert (write_synthetic(empty, **SMALL) / "synthetic.json").is_file()


def test_exception_leaves_nothing(tmp_path, monkeypatch):
    def stop_at_five(*numbers, **options):
        if len(list(tmp_path.rglob("*.jpg"))) == 5:
            raise KeyboardInterrupt
        return render(*numbers, **options)

    monkeypatch.setattr(synthetic, "render", stop_at_five)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "data", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_killed_process_leaves_no_finished_looking_folder(tmp_path):
    root = tmp_path / "data"
    code = f"from mprd_pyg.data.pedestrian.synthetic import write_synthetic; write_synthetic({str(root)!r})"
    env = {**os.environ, "PYTHONPATH": str(Path(mprd_pyg.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.jpg"))) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert list(tmp_path.rglob("*.jpg")) and not root.exists()
    assert (write_synthetic(root, **SMALL) / "synthetic.json").is_file()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"domain": "moon"}, "domain='moon': expected one of source, target"),
        ({"cameras": 7}, "cameras=7: expected a number from 1 to 6"),
        ({"images_per_camera": 1}, "images_per_camera=1: expected a number from 2 to 99"),
        ({"identities": (0, 0)}, r"identities=\(0, 0\)"),
        ({"identities": (5000, 5000)}, "sum from 1 to 9999"),
        ({"seed": -1}, "seed=-1"),
        ({"camera_gap": 1.5}, "camera_gap=1.5"),
        ({"image_format": "bmp"}, "image_format='bmp'"),
    ],
)
def test_arguments_out_of_range(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        write_synthetic(tmp_path / "data", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_contact_sheet(dataset, tmp_path):
    sheet = contact_sheet(dataset, identities=4, images_per_camera=2)
    with Image.open(dataset / "contact_sheet.png") as stored:
        assert stored.size[0] > sheet.size[0]  # three images per camera, not two
    assert sheet.size[1] > 6 * 128  # four identities, distractors, junk
    tile = np.asarray(sheet.crop((84, 52, 84 + 64, 52 + 128)))
    np.testing.assert_array_equal(tile, pixels(1, 1, 0))
    with pytest.raises(ValueError, match="expected images named like"):
        contact_sheet(tmp_path)


# neither trivial nor hopeless -------------------------------------------------------------------------------


def market_rank1(features, people, cameras):
    """Return rank-1 and chance, every image a query, its person's images of the same camera left out."""
    squared = ((features[:, None] - features[None]) ** 2).sum(-1)
    hits, chance = [], []
    for row in range(len(people)):
        keep = ~((people == people[row]) & (cameras == cameras[row]))
        hits.append(people[keep][np.argmin(squared[row, keep])] == people[row])
        chance.append((people[keep] == people[row]).mean())
    return np.mean(hits), np.mean(chance)


@pytest.fixture(scope="module")
def sample():
    people, cameras = (a.ravel() for a in np.meshgrid(np.arange(61, 91), np.arange(1, 5), indexing="ij"))
    people, cameras = np.repeat(people, 2), np.repeat(cameras, 2)
    images = [pixels(p, c, n % 2) for n, (p, c) in enumerate(zip(people, cameras, strict=True))]
    return np.stack(images).astype(np.float64), people, cameras


def centred(features, cameras):
    return features - np.stack([features[cameras == c].mean(0) for c in cameras])


def test_pixels_find_the_camera_not_the_person(sample):
    images, people, cameras = sample
    flat = images[:, 4::8, 4::8].reshape(len(images), -1)
    rank1, chance = market_rank1(flat, people, cameras)
    assert rank1 < 0.12
    nearest = ((flat[:, None] - flat[None]) ** 2).sum(-1) + np.diag(np.full(len(flat), np.inf))
    assert (cameras[nearest.argmin(1)] == cameras).mean() > 0.9
    # the person is there all the same, under the camera
    assert market_rank1(centred(flat, cameras), people, cameras)[0] > max(5 * chance, rank1 + 0.1)


def test_clothing_colours_alone_are_not_enough():
    """Even the true names of both colours, which no camera shows, rank only a part of the people first."""
    people = [draw_identity(0, "target", PERSON, number) for number in range(61, 121)]
    colours = Counter((who.upper, who.lower) for who in people)
    assert np.mean([1 / colours[who.upper, who.lower] for who in people]) < 0.5


@pytest.mark.parametrize("domain", ["source", "target"])
def test_clothing_colours_are_shared(domain):
    people = [draw_identity(0, domain, PERSON, number) for number in range(61, 121)]
    colours = Counter((who.upper, who.lower) for who in people)
    assert np.mean([colours[who.upper, who.lower] > 1 for who in people]) > 0.6
    assert len(set(people)) == 60  # and yet no two are the same

    def looks(who):
        return (who.upper, who.lower, who.upper_kind, who.upper_pattern, who.lower_kind, who.shoes, who.bag,
                who.hair_style, who.upper_second, who.lower_pattern)  # fmt: skip

    assert len({looks(who) for who in people}) == 60


def test_domains_dress_differently():
    uppers = [Counter(draw_identity(0, domain, PERSON, n).upper for n in range(1, 121))
              for domain in ("source", "target")]  # fmt: skip
    assert sum((uppers[0] & uppers[1]).values()) < 0.6 * 120
