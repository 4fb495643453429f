"""A full disk, missing permissions and killed workers: one line that says how to go on; nothing half written stays."""
import os
import signal

import faiss
import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from mprd_pyg.files import NoRoomError, replacing
from mprd_pyg.retrieval.gallery_files import load_gallery, save_gallery
from mprd_pyg.retrieval.gallery_index import new_index
from mprd_pyg.training import load_checkpoint, save_checkpoint
from pipelines import mprd
from pipelines.command_line import cli
from tests.faults.conftest import TINY, file_size_limit


def one_line_of(capsys):
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


def full_index():
    index = faiss.IndexFlatIP(64)
    index.add(np.random.rand(1000, 64).astype(np.float32))
    return index


WRITERS = {
    "text": lambda part: part.write_text("x" * 100_000),
    "table": lambda part: pd.DataFrame({"a": np.random.rand(20_000)}).to_parquet(part),
    "index": lambda part: faiss.write_index(full_index(), str(part))}


@pytest.mark.parametrize("name", WRITERS)
def test_no_room_is_one_error_whatever_writes_and_the_part_is_removed(tmp_path, name):
    path = tmp_path / "file"
    path.write_text("old")
    with file_size_limit(20_000), pytest.raises(NoRoomError) as caught, replacing(path) as part:
        WRITERS[name](part)
    assert caught.value.filename == str(path) and 0 < caught.value.written <= 20_000
    assert os.listdir(tmp_path) == ["file"] and path.read_text() == "old"


def test_no_room_for_a_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"x": torch.ones(3)})
    with file_size_limit(20_000), pytest.raises(NoRoomError):
        save_checkpoint(path, {"x": torch.randn(100_000)})
    assert os.listdir(tmp_path) == ["last.pt"] and bool((load_checkpoint(path)["x"] == 1).all())


def test_a_run_on_a_full_disk_says_how_to_go_on_and_ends_as_if_undisturbed(capsys, tiny, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert tiny(whole) == 0
    size = (whole / "checkpoints" / "last.pt").stat().st_size
    for limit, begun in ((50, False), (2_000, False), (size - 3_000, True)):
        (out / "config.yaml").unlink(missing_ok=True)
        with file_size_limit(limit):
            assert tiny(out) == 2
        message = one_line_of(capsys)
        assert "make room" in message and "File too large" in message and not list(out.rglob("*.part"))
        assert (f"--resume {out}" if begun else "nothing was lost") in message
        assert (out / "checkpoints" / "last.pt").exists() == begun
    assert "last.pt could not be written" in message and "it needs about" in message and "MB are free" in message
    assert cli.main(mprd.make_parser(), mprd.run, ["--resume", str(out)]) == 0
    one, other = (load_checkpoint(folder / "checkpoints" / "last.pt")["method"]["network"] for folder in (whole, out))
    assert all(torch.equal(one[key], other[key]) for key in one)


def as_nobody(function):
    """Call in a child process without root's rights; returns what it returned and wrote to standard error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 2)
        import sys
        sys.stderr = os.fdopen(2, "w", closefd=False)
        os.setgid(65534)
        os.setuid(65534)
        try:
            status = function()
            sys.stderr.flush()
        except BaseException:
            import traceback
            traceback.print_exc()
            status = 99
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give up its rights for a while")
def test_permissions_are_checked_before_any_image_is_read(tmp_path, monkeypatch):
    def run(parser, cfg):
        pytest.fail("work was begun")
    monkeypatch.setattr("pipelines.command_line.training_run.Dataset", run)
    os.chmod(tmp_path, 0o755)
    for parent in tmp_path.parents:
        if os.stat(parent).st_uid == os.getuid() and "pytest" in parent.name:
            os.chmod(parent, 0o755)
    argv = ["--data.root", str(tmp_path), *TINY, "--out", str(tmp_path / "out")]
    status, text = as_nobody(lambda: cli.main(mprd.make_parser(), mprd.run, argv))
    assert status == 2 and f"{tmp_path / 'out'}: Permission denied; choose a folder" in text
    assert text.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["file", "file/out", "x" * 300, "link"])
def test_an_output_that_is_no_folder(capsys, tmp_path, out):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    assert cli.main(mprd.make_parser(), mprd.run, ["--data.root", str(tmp_path), *TINY, "--out",
                                                  str(tmp_path / out)]) == 2
    assert "--out" in one_line_of(capsys)
    assert sorted(os.listdir(tmp_path)) == ["file", "link"] and (tmp_path / "file").read_text() == "mine"


class Dying:
    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if self.error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise self.error


@pytest.mark.parametrize(("error", "said"), [
    (None, "--data.workers"), (OSError(28, "No space left on device"), "make room"),
    (ValueError("image a.jpg cannot be read"), "image a.jpg cannot be read"),
    (RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)"), "--data.workers")])
def test_a_worker_that_died_is_one_line(capsys, tmp_path, error, said):
    def run(parser, cfg):
        next(iter(DataLoader(Dying(error), num_workers=error is None or isinstance(error, ValueError))))
    assert cli.main(cli.make_parser("x", ""), run, ["--out", str(tmp_path)]) == 2
    message = one_line_of(capsys)
    assert said in message and "Traceback" not in message


def test_a_mistake_of_the_program_keeps_its_traceback(tmp_path):
    def run(parser, cfg):
        raise KeyError("x")
    with pytest.raises(KeyError):
        cli.main(cli.make_parser("x", ""), run, [])


@pytest.mark.parametrize("short", [1, 100, 4000, 300_000])
def test_a_gallery_index_is_written_whole_or_not_at_all(tmp_path, short):
    features = np.random.default_rng(0).random((500, 256), dtype=np.float32)
    index = new_index(256, "SQfp16")
    index.add(features)
    table = pd.DataFrame({"path": [f"{i}.jpg" for i in range(500)], "bytes": range(500), "mtime_ns": range(500)})
    about = {"network": "x", "root": "", "index_type": "SQfp16", "skipped": []}
    save_gallery(tmp_path / "whole", index, table, about)
    size = (tmp_path / "whole" / "index-000001.faiss").stat().st_size
    assert faiss.serialize_index(index).tobytes() == (tmp_path / "whole" / "index-000001.faiss").read_bytes()
    save_gallery(tmp_path / "index", index, table, about)
    with pytest.raises(NoRoomError), file_size_limit(max(size - short, 1)):
        save_gallery(tmp_path / "index", index, table, about)
    assert load_gallery(tmp_path / "index")[0].ntotal == 500 and len(list((tmp_path / "index").iterdir())) == 3
