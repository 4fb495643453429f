"""The command: any number of processes, a kill, graphs that are there already, and refusals."""
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mprd_pyg.graph import KNNGraph
from pipelines import knn
from pipelines.command_line import cli
from pipelines.knn import read_graph


def call(*argv):
    return cli.main(knn.make_parser(), knn.run, [str(part) for part in argv] + ["--progress", "false"])


@pytest.fixture
def matrix(tmp_path):
    x = np.random.default_rng(0).normal(size=(2500, 32)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return tmp_path / "x.npy", torch.from_numpy(x)


def test_one_process_and_several_give_the_graph_of_the_bank(matrix, tmp_path, capsys):
    path, x = matrix
    expected = KNNGraph(k=6)(x)
    for name, processes in (("one.pt", 1), ("two.pt", 2)):
        assert call(path, "--k", 6, "--out", tmp_path / name, "--processes", processes) == 0
        graph = read_graph(tmp_path / name)
        assert torch.equal(graph.edge_index, expected.edge_index) and graph.num_nodes == 2500
        assert "k=6, metric=cosine" in graph.built_from and graph.built_by == "exact"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.pt", "two.pt", "x.npy"], "the parts are gone"
    before = (tmp_path / "one.pt").stat().st_mtime_ns
    assert call(path, "--k", 6, "--out", tmp_path / "one.pt") == 0
    assert "there already" in capsys.readouterr().out and (tmp_path / "one.pt").stat().st_mtime_ns == before
    assert call(path, "--k", 7, "--out", tmp_path / "one.pt") == 2
    assert "built from another input or with other options" in capsys.readouterr().err
    assert call(path, "--k", 6, "--out", tmp_path / "mutual.pt", "--edges", "mutual", "--index", "hnsw") == 0
    graph = read_graph(tmp_path / "mutual.pt")
    assert graph.built_by == "hnsw" and graph.recall > 0.9
    assert set(map(tuple, graph.edge_index.T.tolist())) == set(map(tuple, graph.edge_index.flip(0).T.tolist()))


def test_torchrun_divides_the_parts(matrix, tmp_path):
    path, x = matrix
    done = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
                           "pipelines.knn", path, "--k", "6", "--out", tmp_path / "graph.pt", "--metric", "l2"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("15,000 edges") == 1
    graph = read_graph(tmp_path / "graph.pt")
    assert torch.equal(graph.edge_index, KNNGraph(k=6, metric="l2")(x).edge_index)


def living(group):
    """Processes of a process group that have not ended; one that ended may wait for a parent to notice."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        found += [path] if int(number) == group and state != "Z" else []
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_a_killed_run_goes_on(tmp_path):
    x = np.random.default_rng(0).normal(size=(20_000, 128)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    parts = tmp_path / "graph.pt.parts"
    command = [sys.executable, "-m", "pipelines.knn", tmp_path / "x.npy", "--out", tmp_path / "graph.pt"]
    run = subprocess.Popen([*command, "--processes", "2"], start_new_session=True)
    while not list(parts.glob("rows-*.npz")):
        assert run.poll() is None
        time.sleep(0.01)
    run.kill()  # SIGKILL of the process that started the others, which end with it
    run.wait()
    for _ in range(600):
        if not living(run.pid):
            break
        time.sleep(0.1)
    assert not living(run.pid)
    done = {path.name: path.stat().st_mtime_ns for path in parts.glob("rows-*.npz")}
    assert 0 < len(done) < 20
    small = subprocess.Popen(command, start_new_session=True)  # goes on in one process, and is killed as well
    while len(list(parts.glob("rows-*.npz"))) == len(done):
        assert small.poll() is None
        time.sleep(0.01)
    small.kill()
    small.wait()
    assert all((parts / name).stat().st_mtime_ns == before for name, before in done.items())
    subprocess.run([*command, "--processes", "2"], check=True)
    graph = read_graph(tmp_path / "graph.pt")
    assert torch.equal(graph.edge_index, KNNGraph(k=10)(torch.from_numpy(x)).edge_index)
    assert not parts.exists()


def test_refusals(matrix, tmp_path, capsys, monkeypatch):
    path, x = matrix
    out = tmp_path / "graph.pt"

    def refused(message, *options):
        assert call(path, "--out", out, *options) == 2
        text = capsys.readouterr().err
        assert message in text and text.count("\n") == 1, text
        assert not out.exists() or out.read_bytes() == b"mine"
    refused("--processes must be at least 1", "--processes", 0)
    refused("the index 'hnsw' is built in one process", "--index", "hnsw", "--processes", 2)
    refused("raise it, or give --index exact", "--index", "hnsw", "--memory", 0.0055)
    refused("do not hold a part", "--memory", 0.001)
    refused("only 2499 others", "--k", 2500)
    refused("must not be below k", "--k_max", 3)
    x[1234, 5] = torch.inf
    np.save(path, x.numpy())
    refused("NaN or infinite values in row 1234")
    refused("NaN or infinite values in row 1234", "--processes", 2)
    out.write_bytes(b"mine")
    refused("exists and is no graph of this command")
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused("torchrun started 2 processes: leave out --processes 3", "--processes", 3)
