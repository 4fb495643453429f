"""Extraction: what it writes, that it can be stopped and goes on, and that the archive stays as it was."""
import hashlib
import io
import json
import os
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
from PIL import Image

from mprd_pyg.data import extract
from mprd_pyg.data.archives import extraction


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def archive(small_copy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    return small_copy("cuhk03", folder) / "cuhk03_release" / "cuhk-03.mat"


def test_cuhk03_images_are_what_the_archive_holds(small_copy, archive, tmp_path, caplog):
    before = digest(archive), archive.stat().st_mtime_ns
    record = extract(archive, tmp_path, progress=False)
    assert (digest(archive), archive.stat().st_mtime_ns) == before
    for boxes in ("labeled", "detected"):
        images = small_copy.images(boxes)
        names = {f"{pair}_{person:03d}_{1 if image < 5 else 2}_{image + 1:02d}.png": pixels
                 for (pair, person, image), pixels in images.items()}
        assert {path.name for path in (tmp_path / f"images_{boxes}").iterdir()} == set(names)
        for name, pixels in names.items():      # upright, RGB, not a pixel changed
            np.testing.assert_array_equal(np.array(Image.open(tmp_path / f"images_{boxes}" / name)), pixels)
    assert json.loads((tmp_path / "splits_classic.json").read_text()) == {
        "test": [["1_002", "1_004", "2_001"], ["1_005", "2_002", "2_003", "3_001"]]}
    train = (tmp_path / "lists_new_labeled" / "train.txt").read_text().split()
    assert len(train) == 18 and train[0] == "1_001_1_01.png"
    assert "34 labeled images, 14,096 expected" in caplog.text
    assert json.loads((tmp_path / "cuhk-03.mat.extracted.json").read_text()) == record
    assert record["source"] == {"name": "cuhk-03.mat", "bytes": archive.stat().st_size, "sha256": before[0]}
    files = {path: content for path, content in tree(tmp_path).items() if path != "cuhk-03.mat.extracted.json"}
    assert {path: [len(content), hashlib.sha256(content).hexdigest()] for path, content in files.items()} \
        == record["files"]


def test_stopped_at_any_moment_it_goes_on(archive, tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    extract(archive, whole, progress=False)
    write, calls = extraction._write, []

    def stopping(target, content):
        calls.append(target.name)
        if len(calls) in (1, 20, 21):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.with_name(target.name + ".part").write_bytes(next(content)[:10])      # killed while writing
            raise KeyboardInterrupt
        return write(target, content)
    monkeypatch.setattr(extraction, "_write", stopping)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            extract(archive, tmp_path / "cut", progress=False)
        assert not (tmp_path / "cut" / "cuhk-03.mat.extracted.json").exists()
    with open(tmp_path / "cut" / "cuhk-03.mat.extracting", "a") as journal:
        journal.write('["images_labeled/1_0')              # a line that was cut off
    extract(archive, tmp_path / "cut", progress=False)
    assert tree(tmp_path / "cut") == tree(whole)
    assert len(calls) == len(tree(whole)) - 1 + 3           # nothing that was whole is written again


def test_called_again_it_repairs_only_what_is_damaged(archive, tmp_path):
    extract(archive, tmp_path, progress=False)
    before, images = tree(tmp_path), sorted((tmp_path / "images_labeled").iterdir())
    images[0].unlink()
    images[1].write_bytes(b"x" * images[1].stat().st_size)
    images[2].write_bytes(b"")
    for path in images[3:]:
        os.utime(path, (1, 1))
    extract(archive, tmp_path, progress=False)
    assert tree(tmp_path) == before and all(path.stat().st_mtime == 1 for path in images[3:])


def test_another_archive_of_the_same_name_is_refused(small_copy, archive, tmp_path):
    extract(archive, tmp_path / "out", progress=False)
    other = small_copy.write_mat(tmp_path / "cuhk-03.mat")
    with open(other, "r+b") as file:
        file.write(b"MATLAB 7.3, another")
    before = tree(tmp_path / "out")
    with pytest.raises(ValueError, match="already holds files of another cuhk-03.mat"):
        extract(other, tmp_path / "out", progress=False)
    assert tree(tmp_path / "out") == before


def test_configurations_may_come_later(small_copy, archive, tmp_path, caplog):
    bare = small_copy.write_mat(tmp_path / "a" / "b" / "cuhk-03.mat")
    out = tmp_path / "out"
    extract(bare, out, progress=False)
    assert not (out / "lists_new_labeled").exists() and "without cuhk03_new_protocol_config_detected.mat" in caplog.text
    source = archive.parent.parent / "cuhk03_new_protocol_config_labeled.mat"
    (out / source.name).write_bytes(source.read_bytes())
    extract(bare, out, progress=False)
    assert (out / "lists_new_labeled" / "query.txt").is_file() and not (out / "lists_new_detected").exists()
    (out / source.name).write_bytes(b"nothing")
    with pytest.raises(ValueError, match="config_labeled.mat is no configuration of CUHK03's 767/700"):
        extract(bare, out, progress=False)
    detected = archive.parent.parent / "cuhk03_new_protocol_config_detected.mat"
    (out / source.name).write_bytes(detected.read_bytes())     # of the other boxes
    with pytest.raises(ValueError, match="names .* images that the archive does not hold, first: 1_001_1_03.png"):
        extract(bare, out, progress=False)


def test_bad_archives_say_what_is_wrong(small_copy, archive, tmp_path):
    out, bad = tmp_path / "out", tmp_path / "cuhk-03.mat"
    with pytest.raises(FileNotFoundError, match="no archive .*cuhk-03.mat"):
        extract(bad, out, progress=False)
    content = archive.read_bytes()
    for part in (content[: len(content) // 2], content[:100], b"", b"MATLAB 5.0 MAT-file"):
        bad.write_bytes(part)
        with pytest.raises(ValueError, match="cuhk-03.mat is truncated or no MATLAB v7.3 file"):
            extract(bad, out, progress=False)
    small_copy.write_mat(bad, keys=("labeled",))
    with pytest.raises(ValueError, match="lacks detected, testsets: it is not CUHK03's cuhk-03.mat.*#refs#, labeled"):
        extract(bad, out, progress=False)
    small_copy.write_mat(bad)
    with h5py.File(bad, "r+") as mat:
        del mat["testsets"]
        mat["testsets"] = np.zeros((1, 20))
    with pytest.raises(ValueError, match="cuhk-03.mat is damaged, or not CUHK03's"):
        extract(bad, out, progress=False)
    (tmp_path / "x.rar").write_bytes(b"Rar!")
    with pytest.raises(ValueError, match="x.rar is damaged or of no known kind: expected cuhk-03.mat, a zip"):
        extract(tmp_path / "x.rar", out, progress=False)
    assert not out.exists()


def png(shade):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 8), (shade, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path, members):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_zip_and_tar(tmp_path, name):
    members = {"campus/0001001.png": png(1), "campus/0001002.png": png(2), "README.txt": b"two",
               "__MACOSX/campus/._0001001.png": b"x", "campus/.DS_Store": b"x"}
    record = extract(pack(tmp_path / name, members), tmp_path / "out", progress=False)
    assert sorted(record["files"]) == ["README.txt", "campus/0001001.png", "campus/0001002.png"]
    assert (tmp_path / "out" / "campus" / "0001002.png").read_bytes() == png(2)
    broken = pack(tmp_path / f"b{name}", {"a.png": png(1), "b.png": png(2)[:40]})
    with pytest.raises(ValueError, match="b.png.part cannot be read"):
        extract(broken, tmp_path / "broken", progress=False)
    assert not (tmp_path / "broken" / "b.png").exists()
    for evil in ("../evil.png", "/evil.png", "a/../../evil.png", "c:evil.png"):
        with pytest.raises(ValueError, match="no path below the output folder; nothing was written"):
            extract(pack(tmp_path / f"e{name}", {"a.png": png(1), evil: png(2)}), tmp_path / "evil", progress=False)
    assert not (tmp_path / "evil").exists()
    content = (tmp_path / name).read_bytes()
    (tmp_path / f"half{name}").write_bytes(content[: min(len(content) // 2, 600)])    # within a member
    with pytest.raises(ValueError, match=f"half{name} "):
        extract(tmp_path / f"half{name}", tmp_path / "half", progress=False)
