"""The gallery index: what it finds, what an update does, and what is refused."""
import json
import os
import random
import shutil
import zlib

import faiss
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from mprd_pyg.manifest import FileEntry
from mprd_pyg.retrieval import GallerySearch, gallery_search
from mprd_pyg.retrieval.gallery_index import new_index, search_index

SIZE = (8, 4)


class Corners(nn.Module):
    """Two branches: the mean colour of the upper half, and of the lower: (B, 3, 8, 4) -> (B, 2, 3)."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return self.scale * torch.stack([x[:, :, :4].mean((2, 3)), x[:, :, 4:].mean((2, 3))], 1)


def paint(path, upper, lower):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (4, 8), upper)
    image.paste(lower, (0, 4, 4, 8))
    image.save(path)
    return path


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "images"
    paint(root / "red_blue.png", "red", "blue")
    paint(root / "deep" / "blue_red.png", "blue", "red")
    paint(root / "green.png", "lime", "lime")
    return root


def opened(tmp_path, **options):
    return GallerySearch(Corners(), SIZE, tmp_path / "index", progress=False, **options)


@pytest.mark.parametrize("index_type", ["SQfp16", "Flat", "HNSW8", "HNSW8_SQfp16"])
def test_branches_are_concatenated_and_the_nearest_comes_first(tmp_path, images, index_type):
    search = opened(tmp_path, index_type=index_type)
    update = search.update(images)
    assert (update.added, update.changed, update.removed, update.kept, update.skipped) == (3, 0, 0, 0, [])
    query = paint(tmp_path / "q.png", (250, 0, 0), (0, 0, 250))
    hits = search.search([query, images / "green.png"], top=5)
    assert hits["path"].tolist()[:1] == ["red_blue.png"] and hits["path"][3] == "green.png"
    assert hits["rank"].tolist() == [1, 2, 3, 1, 2, 3] and hits["query"].tolist() == [str(query)] * 3 + [
        str(images / "green.png")] * 3

    # by hand: normalised colours, halves concatenated
    def feature(upper, lower):
        x = (np.array([upper, lower]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        return x.reshape(-1) / np.linalg.norm(x)
    one = feature((250, 0, 0), (0, 0, 250))
    expected = {"red_blue.png": one @ feature((255, 0, 0), (0, 0, 255)),
                "deep/blue_red.png": one @ feature((0, 0, 255), (255, 0, 0)),
                "green.png": one @ feature((0, 255, 0), (0, 255, 0))}
    for row in hits[:3].itertuples():
        assert row.similarity == pytest.approx(expected[row.path], abs=2e-3)
    again = opened(tmp_path)
    pd.testing.assert_frame_equal(again.search([query], top=5), hits[:3])
    assert again.search([Image.open(query)], top=1)["path"].tolist() == ["red_blue.png"]


def test_an_update_embeds_only_what_is_new(tmp_path, images):
    opened(tmp_path).update(images)
    search = opened(tmp_path)
    update = search.update(images)
    assert update.kept == 3 and search.embedder.seen == 0
    paint(images / "new.png", "white", "black")
    paint(images / "green.png", "white", "white")
    os.utime(images / "green.png", ns=(1, 1))
    (images / "red_blue.png").unlink()
    update = search.update(images)
    assert (update.added, update.changed, update.removed, update.kept) == (1, 1, 1, 1) and search.embedder.seen == 2
    fresh = GallerySearch(Corners(), SIZE, tmp_path / "fresh", progress=False)
    fresh.update(images)
    queries = sorted(images.rglob("*.png"))
    for one in (search, opened(tmp_path)):  # in memory, and as saved
        pd.testing.assert_frame_equal(one.search(queries, 3), fresh.search(queries, 3), atol=1e-3)
    assert len(list((tmp_path / "index").iterdir())) == 3  # the files before are gone


def test_what_is_no_image_is_named_and_tried_once(tmp_path, images):
    (images / "notes.txt").write_text("hello")
    (images / "empty.jpg").touch()
    cut = (images / "green.png").read_bytes()
    (images / "deep" / "cut.png").write_bytes(cut[:len(cut) // 2])
    (images / ".hidden").write_text("x")
    search = opened(tmp_path)
    update = search.update(images)
    assert [path for path, _ in update.skipped] == ["deep/cut.png", "empty.jpg", "notes.txt"]
    assert all(reason for _, reason in update.skipped) and len(search) == 3
    again = opened(tmp_path)
    assert again.update(images).skipped == update.skipped
    shutil.copy(images / "green.png", images / "empty.jpg")  # repaired
    update = again.update(images)
    assert update.added == 1 and [path for path, _ in update.skipped] == ["deep/cut.png", "notes.txt"]


def test_a_gallery_that_moved_is_recognised_and_another_refused(tmp_path, images):
    opened(tmp_path).update(images)
    images.rename(tmp_path / "moved")
    search = opened(tmp_path)
    assert search.update(tmp_path / "moved").kept == 3 and search.root == str(tmp_path / "moved")
    paint(tmp_path / "other" / "x.png", "red", "red")
    with pytest.raises(ValueError, match="none of its images"):
        search.update(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        search.update(tmp_path / "nowhere")
    assert len(opened(tmp_path)) == 3


def test_an_interrupted_update_keeps_what_was_saved(tmp_path, images, monkeypatch):
    search, parts = opened(tmp_path), gallery_search.embed_files

    def stopped(*arguments):
        yield next(parts(*arguments, chunk=2))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(gallery_search, "embed_files", stopped)
        with pytest.raises(KeyboardInterrupt):
            search.update(images)
    again = opened(tmp_path)
    assert len(again) == 2 and again.update(images).added == 1 and again.embedder.seen == 1


@pytest.mark.parametrize("index_type", ["SQfp16", "HNSW8"])
def test_damaged_indexes_are_refused(tmp_path, images, index_type):
    opened(tmp_path, index_type=index_type).update(images)
    folder = tmp_path / "index"
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(whole) == 3

    def refused(match):
        with pytest.raises(ValueError, match=match) as error:
            opened(tmp_path)
        assert "\n" not in str(error.value) and "make the index again" in str(error.value)

    for name, content in whole.items():
        rng, size = random.Random(name), len(content)
        for keep in {0, 3, 20, size - 2, *rng.sample(range(size - 1), 10)}:
            (folder / name).write_bytes(content[:keep])
            refused(name)
        for place in {0, size - 1, *rng.sample(range(size), 40)}:
            edited = bytearray(content)
            edited[place] ^= rng.randrange(1, 256)
            if name == "gallery.json" and same_json(content, edited):
                continue  # white space
            (folder / name).write_bytes(edited)
            refused(name)
        (folder / name).write_bytes(content)
    table = next(folder.glob("*.parquet"))
    table.unlink()
    refused(f"{table.name} .* is missing")
    table.write_bytes(whole[table.name])
    assert len(opened(tmp_path)) == 3


def same_json(one, two):
    try:
        return json.loads(one) == json.loads(two)
    except ValueError:
        return False


def test_forged_manifests_are_refused(tmp_path, images):
    opened(tmp_path).update(images)
    path = tmp_path / "index" / "gallery.json"
    whole = json.loads(path.read_text())

    def refused(match, **changes):
        content = {name: value for name, value in (whole | changes).items() if name != "crc32"}
        path.write_text(json.dumps(content | {"crc32": zlib.crc32(json.dumps(content, sort_keys=True).encode())}))
        with pytest.raises(ValueError, match=match) as error:
            opened(tmp_path)
        assert "\n" not in str(error.value) and "gallery.json" in str(error.value)

    index, table = whole["files"]
    refused("outside the folder", files=[index | {"name": "../index.faiss"}, table])
    refused("gallery.json", files=[index])
    refused("gallery.json", files=[table, index])  # FAISS is given a Parquet file
    refused("expected 'Flat'", about=whole["about"] | {"index_type": "PQ8"})
    refused("gallery.json", about=whole["about"] | {"index_type": 3})
    refused("network, root", about=whole["about"] | {"root": None})
    refused("gallery.json", about=whole["about"] | {"skipped": [{"path": "x"}]})
    refused("gallery.json", about={})
    refused("version 2", kind="other")
    fewer = tmp_path / "index" / "images-000009.parquet"
    pd.read_parquet(tmp_path / "index" / table["name"])[:2].to_parquet(fewer)
    refused("3 features and 2 paths", files=[index, vars(FileEntry.of(fewer))])
    for text in ("{}", "[]", "", '{"format": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"gallery\.json was cut short or edited"):
            opened(tmp_path)


def test_two_processes_may_update_one_index(tmp_path, images):
    one, two = opened(tmp_path), opened(tmp_path)
    one.update(images)
    paint(images / "new.png", "white", "black")
    two.update(images)
    paint(images / "newer.png", "black", "black")
    one.update(images)
    again = opened(tmp_path)
    assert len(again) == 5 and again.update(images).kept == 5
    assert len(list((tmp_path / "index").iterdir())) == 3


def test_other_networks_types_and_folders_are_refused(tmp_path, images):
    opened(tmp_path).update(images)
    for network, options in ((Corners(2.0), {}), (Corners(), {"describe": {"test_feature": "pool"}})):
        with pytest.raises(ValueError, match="another network"):
            GallerySearch(network, SIZE, tmp_path / "index", **options)
    with pytest.raises(ValueError, match="another network"):
        GallerySearch(Corners(), (8, 6), tmp_path / "index")
    with pytest.raises(ValueError, match="type SQfp16, not Flat"):
        opened(tmp_path, index_type="Flat")
    with pytest.raises(ValueError, match="expected 'Flat'"):
        opened(tmp_path, index_type="PQ8")
    with pytest.raises(ValueError, match="holds .* and no gallery.json"):
        GallerySearch(Corners(), SIZE, images)
    with pytest.raises(ValueError, match="holds no images yet"):
        GallerySearch(Corners(), SIZE, tmp_path / "none").search([images / "green.png"])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="no readable image\n  a.txt"):
        GallerySearch(Corners(), SIZE, tmp_path / "none").update(tmp_path / "bad")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2 ** 32 - 1), st.integers(1, 30), st.integers(1, 3))
def test_threads_share_one_query(seed, top, queries):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((8192 + int(rng.integers(5)), 6), dtype=np.float32)
    index = new_index(6, "Flat")
    index.add(x)
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(queries + 1)
    try:
        similarity, rows = search_index(index, x[:queries] * 0.5, top)
    finally:
        faiss.omp_set_num_threads(before)
    product = 0.5 * x[:queries] @ x.T
    expected = np.argsort(-product, axis=1, kind="stable")[:, :top]
    assert (rows == expected).all()
    np.testing.assert_allclose(similarity, np.take_along_axis(product, expected, 1), rtol=1e-5)
