"""The cache gives the pixels of decoding; what is stale, cut or damaged is made anew; two makers do no harm."""
import logging
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from mprd_pyg.data import ImageStore, make_table
from mprd_pyg.data.image_cache import HEADER, ImageCache, default_folder
from mprd_pyg.data.views import SeededViews, load, plain_view

SIZE = (12, 6)


def save(path, seed):
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 10, 3), dtype=np.uint8)).save(path)


@pytest.fixture
def frame(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(40):
        save(tmp_path / "images" / f"{i:02d}.png", i)
    frame = make_table((f"{i:02d}.png", i, 1, "train") for i in range(40))
    frame.attrs.update(root=str(tmp_path / "images"), card="own")
    return frame


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def make(frame, folder):
    return ImageCache(frame, SIZE, folder).ensure(workers=2, progress=False)


def test_cached_pixels_are_the_decoded_ones_in_any_order(frame, folder):
    part = frame.iloc[[7, 3, 30]].reset_index(drop=True)
    part.attrs = frame.attrs
    store, plain = make(frame, folder).store(part), ImageStore(part, size=SIZE)
    assert len(store) == 3 and store.paths == plain.paths and store.root == plain.root
    assert all(torch.equal(store[i], plain[i]) for i in (0, 1, 2, -1))
    assert torch.equal(store.batch([2, 0]), plain.batch([2, 0])) and store[0].is_contiguous()
    store[0].fill_(0)
    assert torch.equal(store[0], plain[0])
    with pytest.raises(IndexError):
        store[3]
    sent = pickle.dumps(store)
    assert len(sent) < 10_000 and torch.equal(pickle.loads(sent)[1], plain[1])
    images, rows = next(load(SeededViews(store, plain_view()), [[1, 2]], workers=1))
    assert torch.equal(images[1], plain_view()(plain[2])) and rows.tolist() == [1, 2]


def test_a_good_cache_is_used_and_other_sizes_have_their_own(frame, folder, caplog):
    caplog.set_level(logging.INFO)
    cache = make(frame, folder)
    before = cache.path.stat().st_ino
    make(frame, folder)
    assert cache.path.stat().st_ino == before and caplog.text.count("made for the first time") == 1
    other = ImageCache(frame, (6, 6), folder).ensure(progress=False)
    assert other.path != cache.path and other.problem() is None and cache.problem() is None


def change(frame, cache):
    save(cache.root / "05.png", 99)


def touch(frame, cache):    # as long as before, as images of formats without compression always are
    os.utime(cache.root / "05.png", ns=(1, 1))


def cut(frame, cache):
    cache.path.write_bytes(cache.path.read_bytes()[:-100])


def damage(frame, cache):
    content = bytearray(cache.path.read_bytes())
    content[HEADER + 5] ^= 255
    cache.path.write_bytes(content)


def scribble(frame, cache):
    cache.path.write_bytes(b"\xff nothing")


@pytest.mark.parametrize("harm, said", [(change, "changed"), (touch, "changed"), (cut, "cut short"),
                                        (damage, "damaged"), (scribble, "not readable")])
def test_whatever_is_wrong_is_made_anew(frame, folder, caplog, harm, said):
    old = make(frame, folder)
    harm(frame, old)
    caplog.set_level(logging.INFO)
    cache = make(frame, folder)
    assert said in caplog.text and cache.problem() is None
    assert torch.equal(cache.store(frame).batch(range(40)), ImageStore(frame, size=SIZE).batch(range(40)))
    assert [path.suffix for path in sorted(folder.iterdir())] == [".images", ".lock"]


def test_a_reader_keeps_its_file_when_another_process_replaces_it(frame, folder):
    store = make(frame, folder).store(frame)
    before = store[5]
    save(store.root / "05.png", 99)
    assert not torch.equal(make(frame, folder).store(frame)[5], before) and torch.equal(store[5], before)


def test_two_processes_that_make_it_at_once(frame, folder):
    context = multiprocessing.get_context("fork")
    makers = [context.Process(target=make, args=(frame, folder)) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join(60)
    assert [maker.exitcode for maker in makers] == [0, 0, 0]
    cache = ImageCache(frame, SIZE, folder)
    assert cache.problem() is None and not list(folder.glob("*.part"))
    assert torch.equal(cache.store(frame).batch(range(40)), ImageStore(frame, size=SIZE).batch(range(40)))


def test_errors_say_what_to_do(frame, folder):
    (folder.parent / "images" / "05.png").write_bytes(b"")
    with pytest.raises(ValueError, match="05.png cannot be read"):
        make(frame, folder)
    assert not list(folder.glob("*.part")) and not list(folder.glob("*.images"))
    folder.parent.joinpath("file").write_text("")
    with pytest.raises(ValueError, match="--data.cache none"):
        make(frame, folder.parent / "file")


def test_the_default_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "mprd_pyg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "mprd_pyg"
