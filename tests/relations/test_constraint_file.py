"""constraints.csv: reading, appending, and what is wrong with it in one clear line."""
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mprd_pyg.relations import append_statements, read_constraints, read_statements

PATHS = [f"{letter}.jpg" for letter in "abcdef"]
HEAD = "path,other_path,verdict\n"


def written(tmp_path, *lines, end="\n"):
    file = tmp_path / "constraints.csv"
    file.write_text(HEAD + "\n".join(lines) + end, encoding="utf-8")
    return file


def test_rows_and_unsure(tmp_path):
    file = written(tmp_path, "a.jpg,b.jpg,same", "c.jpg,d.jpg,different", "e.jpg,f.jpg,unsure")
    made = read_constraints(file, PATHS)
    assert made.must.tolist() == [[0], [1]] and made.cannot.tolist() == [[2], [3]]
    assert [said.verdict for said in read_statements(file)] == ["same", "different", "unsure"]


def test_unsure_takes_back_what_was_said(tmp_path):
    file = written(tmp_path, "a.jpg,b.jpg,same", "b.jpg,a.jpg,unsure", "a.jpg,b.jpg,different")
    made = read_constraints(file, PATHS)
    assert not made.must.numel() and made.cannot.tolist() == [[0], [1]]


@pytest.mark.parametrize("lines, message", [
    (["a.jpg,b.jpg,same", "b.jpg,a.jpg,different"], "line 3: b.jpg and a.jpg are said to be different, but line 2"),
    (["a.jpg,b.jpg,same", "c.jpg,b.jpg,same", "c.jpg,a.jpg,different"],
     r"line 4: c.jpg and a.jpg are said to be different, but c.jpg = b.jpg \(line 3\), b.jpg = a.jpg \(line 2\)"),
    (["a.jpg,b.jpg,same", "a.jpg,bb.jpg,same"], "line 3: no image is called 'bb.jpg'.* such as 'b.jpg'"),
    (["a.jpg,b.jpg,maybe"], "line 2: two different paths and one of same, different, unsure are expected"),
    (["a.jpg,a.jpg,same"], "line 2: two different paths"),
    (["a.jpg,same"], "line 2: two different paths"),
    (['"a.jpg,b.jpg,same'], "is no table of constraints"),
], ids=["both", "chain", "unknown", "word", "itself", "columns", "quote"])
def test_what_is_wrong_is_named_with_its_line(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_constraints(written(tmp_path, *lines), PATHS)
    assert "\n" not in str(caught.value) and "constraints.csv" in str(caught.value)


def test_a_chain_over_a_tracklet_says_so(tmp_path):
    file = written(tmp_path, "a.jpg,b.jpg,same", "a.jpg,c.jpg,different")
    with pytest.raises(ValueError, match=r"a.jpg = b.jpg \(line 2\), b.jpg = c.jpg \(one tracklet\)"):
        read_constraints(file, PATHS, torch.tensor([-1, 3, 3, -1, -1, -1]))
    assert read_constraints(None, PATHS, torch.tensor([-1, 3, 3, -1, -1, -1])).must.tolist() == [[1], [2]]


def test_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of constraints"):
        read_constraints(tmp_path / "missing.csv", PATHS)
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="line 1: the header must be path,other_path,verdict"):
        read_constraints(other, PATHS)
    with pytest.raises(ValueError, match="its header must be"):
        append_statements(other, [("a", "b", "same")])
    assert other.read_text() == "a,b\n1,2\n"
    other.write_bytes(b"path,other_path,verdict\n\xff\xfe,b,same\n")
    with pytest.raises(ValueError, match="is no table of constraints"):
        read_constraints(other, PATHS)


NAME = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(NAME, NAME, st.just("same")).filter(lambda s: s[0] != s[1]), min_size=1, max_size=5,
                unique_by=lambda s: frozenset(s[:2])), st.data())
def test_any_names_come_back_and_a_torn_line_is_passed_over(tmp_path_factory, statements, data):
    file = tmp_path_factory.mktemp("said") / "constraints.csv"
    for statement in statements:
        append_statements(file, [statement])
    assert [tuple(said[:3]) for said in read_statements(file)] == statements
    whole = file.read_bytes()
    start = whole.rfind(b"\n", 0, -1) + 1
    file.write_bytes(whole[:data.draw(st.integers(start, len(whole) - 2))])  # killed in the last line
    assert [tuple(said[:3]) for said in read_statements(file)] == statements[:-1]
    append_statements(file, [statements[-1]])
    assert file.read_bytes() == whole


def test_a_last_line_without_a_line_feed_counts(tmp_path):
    file = written(tmp_path, "a.jpg,b.jpg,same", end="")
    assert len(read_statements(file)) == 1
    append_statements(file, [("c.jpg", "d.jpg", "different")])
    assert file.read_text() == HEAD + "a.jpg,b.jpg,same\nc.jpg,d.jpg,different\n"


def append_many(file, name, count):
    for number in range(count):
        append_statements(file, [(f"{name}_{number}", "x", "same"), (f"{name}_{number}", "y", "different")])


def test_several_processes_append(tmp_path):
    file = tmp_path / "constraints.csv"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=append_many, args=(file, name, 15)) for name in "pqr"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    said = read_statements(file)
    assert len(said) == 90 and all(one.path == two.path for one, two in zip(said[::2], said[1::2], strict=True))


def test_what_was_appended_survives_a_kill(tmp_path):
    file = tmp_path / "constraints.csv"
    code = textwrap.dedent("""
        import sys
        from mprd_pyg.relations import append_statements
        for number in range(100_000):
            append_statements(sys.argv[1], [(f"{number}.jpg", "x.jpg", "same")])
            print(number, flush=True)
        """)
    with subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, env=os.environ) as process:
        for _ in range(20):
            done = int(process.stdout.readline())
        time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split(b"\n")
        done = max([done, *(int(line) for line in rest if line.isdigit())])
    said = read_statements(file)
    assert len(said) in (done + 1, done + 2)  # the one that was being written is there or not
    assert [one.path for one in said] == [f"{number}.jpg" for number in range(len(said))]
    append_statements(file, [("last.jpg", "x.jpg", "different")])
    assert read_statements(file)[-1].path == "last.jpg"


def test_bad_statements_are_not_written(tmp_path):
    file = tmp_path / "constraints.csv"
    with pytest.raises(ValueError, match="two different paths and one of"):
        append_statements(file, [("a", "b", "same"), ("a", "b", "perhaps")])
    assert not file.exists()


def test_no_room_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    file = written(tmp_path, "a.jpg,b.jpg,same")
    before = file.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        append_statements(file, [("c.jpg", "d.jpg", "same")])
    assert file.read_bytes() == before
