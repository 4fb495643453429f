"""Commands started as a user starts them, in one process and in two: the same result."""
import json
import os
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mprd_pyg.models import ImageEmbedder
from mprd_pyg.training import save_checkpoint

ROOT = Path(__file__).parents[2]


def run(pipeline, *argv):
    done = subprocess.run([sys.executable, "-m", f"pipelines.{pipeline}", *map(str, argv), "--accelerator", "cpu",
                           "--progress", "false"], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def gallery(tmp_path):
    """140 images, and files that are none, which shift the batches of 64."""
    draw = np.random.default_rng(0)
    for number in range(147):
        path = tmp_path / "images" / f"{number:03d}.png"
        path.parent.mkdir(exist_ok=True)
        if number % 20 == 3:
            path.write_text("no image")
        else:
            Image.fromarray(draw.integers(0, 256, (16, 8, 3), dtype=np.uint8)).save(path)
    return tmp_path / "images"


def test_two_processes_write_the_index_of_one(tmp_path, gallery):
    options = {"arch": "resnet18", "last_stage": 1, "weights": None}
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "last.pt", {
        "describe": {"network": {"class_path": "mprd_pyg.models.ImageEmbedder", "init_args": options},
                     "size": [32, 16]}, "method": {"network": ImageEmbedder(**options).state_dict()}})
    said = [run("search", "--checkpoint", tmp_path / "last.pt", "--gallery", gallery, "--index",
                tmp_path / f"index{count}", "--query", gallery / "000.png", "--out", tmp_path / f"out{count}",
                "--devices", count) for count in (1, 2)]
    assert "139 added, 0 changed, 0 removed, 0 kept, 8 skipped" in said[0]
    one, two = (sorted((tmp_path / f"index{count}").iterdir()) for count in (1, 2))
    assert [path.name for path in one] == [path.name for path in two] and len(one) == 3
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert (tmp_path / "out1/hits.csv").read_text() == (tmp_path / "out2/hits.csv").read_text()
    lines = [[line.replace("index2", "index1").replace("out2", "out1") for line in text.splitlines()
              if " ms, " not in line] for text in said]
    assert lines[0] == lines[1]


def test_two_processes_predict_the_links_of_one(tmp_path):
    """The same draws and batches; float32 sums of halves of a batch differ from sums of the whole by rounding."""
    graph = nx.connected_watts_strogatz_graph(40, 6, 0.1, seed=1)
    (tmp_path / "links.csv").write_text("".join(f"n{a},n{b}\n" for a, b in graph.edges))
    (tmp_path / "asked.csv").write_text("n0,n1\nn20,n3\nn1,n9\n")
    one, two = (tmp_path / f"run{count}" for count in (1, 2))
    for count, out in ((1, one), (2, two)):
        run("link_prediction", "--graph", tmp_path / "links.csv", "--pairs", tmp_path / "asked.csv", "--out", out,
            "--devices", count, "--scorer", "[auto,logistic,boosted,dgcnn,mean]", "--training.epochs", "2",
            "--training.batch_size", "19", "--dgcnn.widths", "[8,8]", "--boosted.trees", "20", "--gae_folds", "2",
            "--gae.hidden", "8", "--gae.epochs", "20", "--statistics", "true", "--baselines", "[ppr,gae]")
    results = [json.loads((out / "results.json").read_text()) for out in (one, two)]
    assert [(of["processes"], len(of["peak_memory_mb"])) for of in results] == [(1, 1), (2, 2)]
    for key in ("result", "metrics", "scorers", "baselines", "networks", "counts", "statistics"):
        assert results[0][key] == results[1][key]
    for name in ("predictions", "likelihoods", "pair_statistics", "importance", "split"):
        pd.testing.assert_frame_equal(*(pd.read_parquet(out / f"{name}.parquet") for out in (one, two)), rtol=0,
                                      atol=1e-6)
    assert "devices" not in (two / "config.yaml").read_text()
    assert "Memory and traffic" in (two / "report.html").read_text()
