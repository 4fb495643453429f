"""One, two and four processes: the same losses and believed pairs, one checkpoint, and no process that waits for ever.

In double precision, so that only what is wrong differs: random networks amplify rounding from step to step.
"""
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mprd_pyg import processes
from mprd_pyg.models import ImageEmbedder
from mprd_pyg.training import load_checkpoint

ROOT = Path(__file__).parents[2]
EQUAL = {"mprd": (1, 2, 4), "paul": (1, 4), "cluster_contrast": (1, 2), "patch_mprd": (1, 4), "pretraining": (1, 2),
         "jaccard": (1,), "seal": (1, 2, 4)}
SHARDED = ("mprd", "jaccard", "paul", "cluster_contrast")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of all runs, and what they wrote to stderr."""
    out = tmp_path_factory.mktemp("runs")
    jobs = [{"method": method, "processes": count, "out": f"{out}/{method}{count}"}
            for method, counts in EQUAL.items() for count in counts]
    jobs += [{"method": "mprd", "processes": before, "out": f"{out}/{before}-{after}", **more}
             for before, after in ((4, 1), (1, 2))
             for more in ({"stop_at": 7}, {"resume": True, "processes": after})]
    jobs += [{"method": method, "processes": count, "memory": "sharded", "out": f"{out}/{method}-sharded{count}"}
             for method in SHARDED for count in (1, 2, 4)]
    jobs += [{"method": "mprd", "out": f"{out}/4-2-1", **more} for more in (
        {"processes": 4, "memory": "sharded", "stop_at": 7},
        {"processes": 2, "memory": "sharded", "stop_at": 2, "resume": True}, {"processes": 1, "resume": True})]
    jobs += [{"method": "sharded_answers", "processes": count, "out": f"{out}/answers{count}"} for count in (1, 3)]
    small = {"method": "cluster_contrast", "processes": 2}
    jobs += [small | {"out": f"{out}/killed", "kill_at": 4}, small | {"out": f"{out}/killed", "resume": True},
             small | {"out": f"{out}/hangs", "kill_at": 4, "kill_with": signal.SIGSTOP},
             small | {"out": f"{out}/server hangs", "kill_at": 4, "kill_with": signal.SIGSTOP, "kill_rank": 0,
                      "by_hand": True},
             small | {"out": f"{out}/nan", "nan_rank": 1}, small | {"out": f"{out}/differs", "differs": 1},
             small | {"out": f"{out}/missing", "missing": 1},
             small | {"out": f"{out}/many", "processes": 4, "batch_size": 3}]
    (out / "jobs.json").write_text(json.dumps(jobs))
    script = Path(__file__).with_name("run_in_processes.py")
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    result = subprocess.run([sys.executable, str(script), str(out / "jobs.json")], env=env, capture_output=True,
                            text=True, timeout=900)
    assert result.returncode == 0, result.stderr
    return out, result.stderr


def read(runs, name: str, rank: int = 0, tail: str = "") -> dict:
    return json.loads((runs[0] / name / f"steps{rank}{tail}.json").read_text())


def status(runs, name: str) -> list[int]:
    return json.loads((runs[0] / name / "status.json").read_text())


def assert_same_steps(steps: list, expected: list) -> None:
    assert [step[:2] for step in steps] == [step[:2] for step in expected]
    for (_, _, figures, believed), (_, _, figures_expected, believed_expected) in zip(steps, expected, strict=True):
        assert figures == pytest.approx(figures_expected, abs=1e-10)
        assert believed == believed_expected


@pytest.mark.parametrize(("method", "count"), [(m, count) for m, counts in EQUAL.items() for count in counts[1:]])
def test_every_step_of_two_epochs_is_that_of_one_process(runs, method, count):
    alone = read(runs, f"{method}1")
    assert any(believed for *_, believed in alone["steps"]) or method in ("pretraining", "seal")
    for rank in range(count):
        together = read(runs, f"{method}{count}", rank)
        assert_same_steps(together["steps"], alone["steps"])
        assert together["weights"] == pytest.approx(alone["weights"], rel=1e-10)
        assert [row.keys() for row in together["history"]] == [row.keys() for row in alone["history"]]


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("method", SHARDED)
def test_a_sharded_memory_trains_as_the_replicated_memory_of_one_process(runs, method, count):
    alone = read(runs, f"{method}1")
    for rank in range(count):
        together = read(runs, f"{method}-sharded{count}", rank)
        assert_same_steps(together["steps"], alone["steps"])
        assert together["weights"] == pytest.approx(alone["weights"], rel=1e-10)
    one, other = (load_checkpoint(runs[0] / name / "checkpoints" / "last.pt")["method"]["memory"]
                  for name in (f"{method}1", f"{method}-sharded{count}"))
    torch.testing.assert_close(one, other)


def test_a_sharded_run_goes_on_in_fewer_processes_and_then_with_a_replicated_memory(runs):
    whole = read(runs, "mprd1")
    four, two, one = (read(runs, "4-2-1", 3), read(runs, "4-2-1", 1, "-resumed"), read(runs, "4-2-1", 0, "-resumed"))
    assert four["stopped"] and two["stopped"] and (len(four["steps"]), len(two["steps"])) == (7, 2)
    assert_same_steps(four["steps"] + two["steps"] + one["steps"], whole["steps"])
    assert one["weights"] == pytest.approx(whole["weights"], rel=1e-10)


@pytest.mark.parametrize("count", [1, 3])
def test_a_sharded_memory_answers_as_a_whole_one(runs, count):
    """Searches bit for bit, lists, relations, losses with their gradients, and the saved state: see sharded_answers."""
    assert status(runs, f"answers{count}") == [0] * count
    assert all((runs[0] / f"answers{count}" / f"answered{rank}").exists() for rank in range(count))


@pytest.mark.parametrize(("before", "after"), [(4, 1), (1, 2)])
def test_a_run_that_was_stopped_goes_on_in_another_number_of_processes(runs, before, after):
    """One process gets the signal; all stop after that step, and nothing is lost or done twice."""
    whole, name = read(runs, "mprd1"), f"{before}-{after}"
    parts = [read(runs, name, rank) for rank in range(before)]
    assert all(part["stopped"] and len(part["steps"]) == 7 for part in parts)
    for rank in range(after):
        rest = read(runs, name, rank, "-resumed")
        assert_same_steps(parts[0]["steps"] + rest["steps"], whole["steps"])
        assert rest["weights"] == pytest.approx(whole["weights"], rel=1e-10)
        for row, expected in zip(rest["history"], whole["history"], strict=True):
            assert row == pytest.approx(expected, abs=1e-10, nan_ok=True)


def test_the_checkpoint_does_not_tell_how_many_processes_wrote_it(runs):
    one, four = (load_checkpoint(runs[0] / f"mprd{count}" / "checkpoints" / "last.pt") for count in (1, 4))
    assert one.keys() == four.keys() and one["position"] == four["position"]
    torch.testing.assert_close(one["method"]["memory"], four["method"]["memory"])
    torch.testing.assert_close(one["method"]["gcn"], four["method"]["gcn"])
    assert torch.equal(one["random"]["cpu"], four["random"]["cpu"])


def test_a_killed_process_ends_the_other_and_the_run_goes_on(runs):
    whole, rest = read(runs, "cluster_contrast1"), read(runs, "killed", 0, "-resumed")
    assert_same_steps(rest["steps"], whole["steps"][-len(rest["steps"]):])
    assert rest["weights"] == pytest.approx(whole["weights"], rel=1e-10) and len(rest["steps"]) < len(whole["steps"])


def test_what_ends_one_process_ends_all_with_one_line(runs):
    lines = [line for line in runs[1].splitlines() if line.startswith("error: ")]
    expected = ["Connection", "process 1 of 2 gave no sign of life", "process 0 of 2 gave no sign of life",
                "the feature of row 7 is NaN", "process 1 has other code than process 0",
                "of 2 processes 1 did not come", "4 processes cannot share a batch of 3 images"]
    assert len(lines) == len(expected)
    for line, part in zip(lines, expected, strict=True):
        assert part in line
    assert status(runs, "hangs") == [3, -signal.SIGKILL] == status(runs, "server hangs")[::-1]
    assert status(runs, "missing") == [2]
    assert status(runs, "nan") == status(runs, "differs") == [2, 2] and status(runs, "many") == [2] * 4


@pytest.mark.parametrize(("count", "features"), [(2, 3 + 3 + 3 + 1), (4, 3 * (2 + 2 + 2 + 1))])
def test_a_step_sends_the_features_of_its_share_to_each_other_process_and_the_gradients(runs, count, features):
    """Three batches of 6 and one of 2, in double precision; a share is filled up to the largest."""
    network = ImageEmbedder("resnet18", 1, weights=None)
    gradients = sum(part.numel() for part in network.parameters())
    for rank in range(count):
        for row in read(runs, f"mprd{count}", rank)["logged"]:
            assert row["traffic/cnn_bytes_per_step"] == 8 * (features / 4 * network.dim + gradients)
            assert 100 < row["memory/peak_mb"] < 1e5
    alone = read(runs, "mprd1")["logged"]
    assert all(row.keys() == {"seconds", "memory/peak_mb"} for row in alone)


def test_one_process_sends_nothing():
    assert (processes.rank(), processes.count(), processes.any_process(True)) == (0, 1, True)
    x = torch.ones(3, 2, requires_grad=True)
    assert processes.gather(x, [3]) is x and list(processes.share([1, 2, 3])) == [1, 2, 3]
    with processes.first_alone():
        assert processes.broadcast(x) is x


def test_shares_differ_by_one_at_most_and_keep_the_order(monkeypatch):
    monkeypatch.setattr(processes, "count", lambda: 4)
    assert processes.shares([0, 1, 2, 3, 4, 5]) == [[0, 1], [2, 3], [4], [5]]
    assert processes.shares([7]) == [[7], [], [], []]
