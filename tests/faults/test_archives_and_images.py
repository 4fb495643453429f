"""Archives and images that claim more than they hold, or are damaged: little memory, one line."""
import io
import os
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from mprd_pyg.data import extract, images
from mprd_pyg.data.archives import extraction
from mprd_pyg.files import NoRoomError
from tests.faults.conftest import file_size_limit

SIZE = 60_000_000


def picture():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_zip(path, large=0):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/1.png", picture())
        if large:
            archive.writestr("a/zeros.bin", bytes(large))
    return path


def test_a_large_member_is_never_whole_in_memory(tmp_path):
    write_zip(tmp_path / "x.zip", SIZE)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("a/zeros.bin")
        info.size = SIZE
        archive.addfile(info, io.BytesIO(bytes(SIZE)))
    for name in ("x.zip", "x.tar.gz"):
        tracemalloc.start()
        record = extract(tmp_path / name, tmp_path / "out", progress=False)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert record["files"]["a/zeros.bin"][0] == SIZE == (tmp_path / "out" / "a" / "zeros.bin").stat().st_size
        assert peak < SIZE / 2


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    write_zip(tmp_path / "x.zip", SIZE)
    usage = type("Usage", (), {"free": SIZE})
    monkeypatch.setattr(extraction.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match="has 0.1 GB free, and 0.1 GB are to be unpacked"):
        extract(tmp_path / "x.zip", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_no_damage_of_the_archive(tmp_path):
    write_zip(tmp_path / "x.zip", 100_000)
    with file_size_limit(50_000), pytest.raises(NoRoomError, match="zeros.bin"):
        extract(tmp_path / "x.zip", tmp_path / "out", progress=False)
    assert not list((tmp_path / "out").rglob("*.part"))
    extract(tmp_path / "x.zip", tmp_path / "out", progress=False)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.xz"])
def test_damaged_archives_are_one_line_or_whole(tmp_path, kind):
    path, rng = tmp_path / f"x.{kind}", np.random.default_rng(0)
    if kind == "zip":
        write_zip(path, 3000)
    else:
        with tarfile.open(path, f"w:{kind[4:]}") as archive:
            info = tarfile.TarInfo("a/1.png")
            info.size = len(picture())
            archive.addfile(info, io.BytesIO(picture()))
    content, refused = path.read_bytes(), 0
    for number in range(60):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            record = extract(path, tmp_path / f"out{number}", progress=False)
            for name, (size, _) in record["files"].items():
                assert (tmp_path / f"out{number}" / name).stat().st_size == size
        except ValueError as error:
            assert "\n" not in str(error) and ("x." in str(error) or "1.png" in str(error))
            refused += 1
    assert refused > 20
    assert sorted(os.listdir(tmp_path))[-1].startswith("x.")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3, "source": {}}', '{"files": {"a": 3}, "source": {}}',
                                  '{"files": {"a": ["x", 3]}, "source": {}}'])
def test_a_record_written_by_hand(tmp_path, text):
    write_zip(tmp_path / "x.zip")
    (tmp_path / "x.zip.extracted.json").write_text(text)
    with pytest.raises(ValueError, match="x.zip.extracted.json was cut short or edited"):
        extract(tmp_path / "x.zip", tmp_path, progress=False)


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("1", (8000, 8000)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x.png cannot be read: 8000 x 8000 pixels .*MPRD_PYG_MAX_PIXELS"):
        images.open_rgb(tmp_path / "x.png")
    Image.new("L", (20, 30)).save(tmp_path / "y.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 599)
    with pytest.raises(ValueError, match="20 x 30 pixels are more than 599"):
        images.open_rgb(tmp_path / "y.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 600)
    assert images.open_rgb(tmp_path / "y.png").size == (20, 30)


def test_no_other_program_is_started_for_an_image(tmp_path):
    (tmp_path / "x.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(ValueError, match="EPS is no format of photographs"):
        images.open_rgb(tmp_path / "x.png")
