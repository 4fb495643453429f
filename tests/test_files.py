"""Files are replaced whole or not at all."""
import multiprocessing
import os
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mprd_pyg.files import locked, new_folder, replacing
from mprd_pyg.parquet import read_parquet


def test_the_file_appears_when_the_block_ends_well(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with replacing(path) as part:
        part.write_text("one")
        assert not path.exists()
    assert path.read_text() == "one" and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_when_the_block_ends_well(tmp_path):
    path = tmp_path / "deep" / "data"
    for _ in range(2):
        with new_folder(path) as part:
            (part / "a").write_text("one")
            assert not path.exists() or not any(path.iterdir())
        assert (path / "a").read_text() == "one" and list(path.parent.iterdir()) == [path]
        (path / "a").unlink()  # an empty folder is replaced too
    with new_folder(path) as part:
        (part / "b").write_text("slow")
        (path / "a").write_text("another process was faster")
    assert [file.name for file in path.iterdir()] == ["a"] and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_no_folder(tmp_path, error):
    with pytest.raises(error), new_folder(tmp_path / "data") as part:
        (part / "a").write_text("half")
        raise error
    assert not list(tmp_path.iterdir())


def _half(path, started):
    with new_folder(path) as part:
        (part / "a").write_text("half")
        started.set()
        signal.pause()


def test_what_a_killed_process_left_is_removed_and_a_living_one_is_left_alone(tmp_path):
    context = multiprocessing.get_context("fork")
    started = context.Event()
    process = context.Process(target=_half, args=(tmp_path / "data", started))
    process.start()
    try:
        assert started.wait(30)
        (left,) = tmp_path.iterdir()
        with new_folder(tmp_path / "data") as part:
            (part / "b").write_text("whole")
        assert (left / "a").read_text() == "half"
        with locked(left, wait=False) as held:
            assert not held
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    (tmp_path / "data" / "b").unlink()
    with new_folder(tmp_path / "data") as part:
        (part / "b").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_lock_is_of_one_process_and_makes_its_file(tmp_path):
    path = tmp_path / "x.lock"
    with locked(path) as held, locked(path, wait=False) as second, locked(tmp_path) as other:
        assert held and not second and other
    with locked(path, wait=False) as held:
        assert held
    with locked(tmp_path / "none" / "x.lock") as held:
        assert not held


def test_text_of_a_parquet_file_that_is_no_utf_8_is_refused_when_the_file_is_read(tmp_path):
    ends, letters = pa.array([0, 2, 5], pa.int32()).buffers()[1], pa.py_buffer(b"ab\xff\xfec")
    text = pa.Array.from_buffers(pa.string(), 2, [None, ends, letters])
    pq.write_table(pa.table({"path": text, "row": [1, 2]}), tmp_path / "x.parquet")
    with pytest.raises((UnicodeDecodeError, pa.ArrowException)):
        read_parquet(tmp_path / "x.parquet")
    assert read_parquet(tmp_path / "x.parquet", ["row"])["row"].tolist() == [1, 2]
