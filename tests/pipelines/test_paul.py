"""python -m pipelines.paul, whole, on a few generated pedestrians."""
import json
import os
import signal

import pandas as pd
import pytest

from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from paul import PAUL
from pipelines import evaluate, paul, pretrain
from pipelines.command_line import cli

SMALL = ["--data.height", "48", "--data.width", "24", "--method.epochs", "2", "--learner.batch_size", "8",
         "--knn.k", "3", "--progress", "false", "--accelerator", "cpu", "--pretrain", "false",
         "--ablation", "false"]
PATCHES = ["--network", "paul.PatchNet", "--network.patches", "3", "--network.dim", "8",
           "--network.localization_width", "8"]
TRUNK = ["--network.arch", "resnet18", "--network.last_stage", "2", "--network.weights", "null"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("pedestrians") / "target", identities=(6, 4), cameras=2,
                           images_per_camera=2, height=48, width=24, distractors=0, junk=0, seed=1)


def run(*argv, pipeline=paul):
    return cli.main(pipeline.make_parser(), pipeline.run, [str(part) for part in argv])


def train(root, out, *more, network=PATCHES):
    return run("--data.card", "synthetic", "--data.root", root, "--out", out, *SMALL, *network, *TRUNK, *more)


def test_run_stop_resume_and_evaluate(root, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(root, whole) == 0
    results = json.loads((whole / "results.json").read_text())
    assert 0 < results["metrics"]["cross"]["mAP"] <= 1 and results["pairs"]["count"] > 0
    pairs = pd.read_parquet(whole / "pairs" / "epoch_002.parquet")
    assert set(pairs["branch"]) == {0, 1, 2} and pairs["believed"].all()  # Eq. 2 believes all k nearest

    step, taken = PAUL.training_step, [0]

    def counted(self, *batch):
        taken[0] += 1
        if taken[0] == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(PAUL, "training_step", counted)
        assert train(root, cut) == 130
    assert run("--resume", cut) == 0
    again = json.loads((cut / "results.json").read_text())
    assert again["metrics"] == results["metrics"] and again["pairs"] == results["pairs"]

    assert run("--checkpoint", whole, "--data.card", "synthetic", "--data.root", root, "--out", tmp_path / "e",
               "--accelerator", "cpu", "--progress", "false", pipeline=evaluate) == 0
    figures = json.loads((tmp_path / "e" / "results.json").read_text())["metrics"]["cross"]
    assert figures == pytest.approx(results["metrics"]["cross"], abs=1e-6)


def test_rows_of_table_3_and_4_and_other_relations(root, tmp_path):
    rows = {"l_c": ["--method.ipfl_weight", "0"], "l_v": ["--method.pedal_weight", "0"],
            "stripes": ["--network.scheme", "stripes"], "mplp": ["--relation", "MPLP", "--relation.threshold", "0.2"]}
    for name, options in rows.items():
        assert train(root, tmp_path / name, "--method.epochs", "1", *options) == 0
    whole = ["--network", "mprd_pyg.models.ImageEmbedder"]
    assert train(root, tmp_path / "image", "--method.epochs", "1", "--method.ipfl_weight", "0", network=whole) == 0


def test_pretrain_then_start_from_its_checkpoint(root, tmp_path, capsys):
    data = ["--data.card", "synthetic", "--data.root", root, "--data.height", "48", "--data.width", "24",
            "--progress", "false", "--accelerator", "cpu"]
    assert run(*data, "--out", tmp_path / "source", "--method.epochs", "1", *PATCHES, *TRUNK, pipeline=pretrain) == 0
    source = json.loads((tmp_path / "source" / "results.json").read_text())
    checkpoint = tmp_path / "source" / "checkpoints" / "last.pt"
    assert train(root, tmp_path / "paul", "--initial", checkpoint) == 0
    target = json.loads((tmp_path / "paul" / "results.json").read_text())
    assert target["before"] == source["metrics"]  # the same network on the same test images
    other = [*PATCHES[:2], "--network.patches", "4", *PATCHES[4:]]
    assert train(root, tmp_path / "no", "--initial", checkpoint, network=other) == 2
    assert "of another model" in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_ablation_is_the_runs_with_one_loss_each(root, tmp_path, monkeypatch, capsys):
    """The rows of one call are those of separate runs, and a stop between them is resumed."""
    alone = {}
    for name, loss in (("L_c", "ipfl"), ("L_v", "pedal")):
        assert train(root, tmp_path / name, f"--method.{loss}_weight", "0") == 0
        alone[name] = json.loads((tmp_path / name / "results.json").read_text())
    out = tmp_path / "rows"
    step, taken = PAUL.training_step, [0]

    def counted(self, *batch):
        taken[0] += 1
        if taken[0] == 9:  # 3 steps in each of 2 epochs, then in the first row
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(PAUL, "training_step", counted)
        assert train(root, out, "--ablation", "true") == 130
    assert run("--resume", out) == 0
    results = json.loads((out / "results.json").read_text())
    assert list(results["rows"]) == ["PatchNet direct", "PatchNet + L_c", "PatchNet + L_v", "PAUL"]
    assert results["rows"]["PatchNet direct"] == results["before"]
    assert results["rows"]["PAUL"] == results["metrics"]
    for name, figures in alone.items():
        assert results["rows"][f"PatchNet + {name}"] == figures["metrics"]
    assert "PatchNet + L_c" in capsys.readouterr().out
