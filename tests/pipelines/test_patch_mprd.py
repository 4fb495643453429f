"""python -m pipelines.patch_mprd, whole, on a few generated pedestrians."""
import json
import os
import signal

import pandas as pd
import pytest

from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from pipelines import patch_mprd
from pipelines.command_line import cli

SMALL = ["--data.card", "synthetic", "--data.height", "48", "--data.width", "24", "--method.epochs", "2",
         "--learner.batch_size", "8", "--knn.k", "3", "--progress", "false", "--accelerator", "cpu",
         "--pretrain", "false", "--meta_identities", "2", "--gcn.hidden", "16", "--gcn_training.batch_size", "8"]
TRUNK = ["--network.arch", "resnet18", "--network.last_stage", "2", "--network.weights", "null"]
PATCHES = ["--network", "paul.PatchNet", "--network.patches", "3", "--network.dim", "8",
           "--network.localization_width", "8", *TRUNK]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("pedestrians") / "target", identities=(6, 4), cameras=2,
                           images_per_camera=2, height=48, width=24, distractors=0, junk=0, seed=1)


def run(*argv):
    return cli.main(patch_mprd.make_parser(), patch_mprd.run, [str(part) for part in argv])


def train(root, out, *more, network=PATCHES):
    return run("--data.root", root, "--out", out, *SMALL, *network, *more)


@pytest.mark.parametrize("form", ["separate", "pooled", "joint"])
def test_each_form_learns_and_says_what_it_believed(root, tmp_path, form):
    assert train(root, tmp_path / form, "--judge.form", form, "--connect.camera_centered", "true") == 0
    results = json.loads((tmp_path / form / "results.json").read_text())
    assert results["counts"]["unlabelled"] == 16 and results["counts"]["meta"] == 8
    pairs = pd.read_parquet(tmp_path / form / "pairs" / "epoch_002.parquet")
    assert set(pairs["branch"]) == {0, 1, 2} and pairs["likelihood"].between(0, 1).all()
    assert (pairs["believed"] == (pairs["likelihood"] > 0.5)).all() and pairs["anchor"].max() < 16
    same = pairs.groupby(["anchor", "neighbour"])["likelihood"].nunique()
    assert (same == 1).all() == (form != "separate")


def test_stopped_in_the_gcn_pass_and_resumed_gives_the_same_run(root, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(root, whole) == 0
    from paul.patch_mprd import BranchGCNTraining
    step, taken = BranchGCNTraining.training_step, [0]

    def counted(self, batch):
        taken[0] += 1
        if taken[0] == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(BranchGCNTraining, "training_step", counted)
        assert train(root, cut) == 130
    assert run("--resume", cut) == 0
    first, second = (json.loads((folder / "results.json").read_text()) for folder in (whole, cut))
    assert first["metrics"] == second["metrics"] and first["pairs"] == second["pairs"]


def test_one_branch_is_mprds_relation_in_pauls_losses(root, tmp_path):
    network = ["--network", "mprd_pyg.models.ImageEmbedder", *TRUNK]
    assert train(root, tmp_path / "one", "--method.ipfl_weight", "0", "--subgraphs.edges", "induced",
                 network=network) == 0
    pairs = pd.read_parquet(tmp_path / "one" / "pairs" / "epoch_001.parquet")
    assert len(pairs) and "branch" not in pairs and pairs["likelihood"].nunique() > 2


def test_bad_options_are_refused_before_any_work(root, tmp_path, capsys):
    assert train(root, tmp_path / "no", "--judge.form", "both") == 2
    assert "form must be one of" in capsys.readouterr().err
    assert train(root, tmp_path / "no", "--method.pedal_weight", "0") == 2
    assert "pedal_weight must not be 0" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
