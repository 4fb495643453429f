"""A tiny ViT and a tiny ConvNeXt of timm through every method, export and search, from the command line."""
import json

import huggingface_hub
import pandas as pd
import pytest
import torch

from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from mprd_pyg.training import load_checkpoint
from pipelines import cluster_contrast, evaluate, export, mprd, patch_mprd, paul, pretrain, search
from pipelines.command_line import cli
from pipelines.runs.networks import load_network

VIT, CONVNEXT = "timm/test_vit", "timm/test_convnext"
SMALL = ["--data.card", "synthetic", "--data.height", 64, "--data.width", 64, "--network.weights", "null",
         "--method.epochs", 1, "--learner.batch_size", 8, "--learner.optimizer", "adamw", "--learner.trunk_lr", 1e-3,
         "--learner.layer_decay", 0.8, "--network.frozen_layers", 1, "--network.gradient_checkpointing", "true",
         "--progress", "false", "--accelerator", "cpu"]
UNSUPERVISED = ["--knn.k", 3, "--pretrain", "false"]
PATCHES = ["--network", "paul.PatchNet", "--network.patches", 2, "--network.dim", 8, "--network.localization_width", 8]
STRIPES = ["--network.stripes", 2, "--network.center_weight", 1]
GCN = ["--meta_identities", 2, "--gcn.hidden", 16]
METHODS = {
    "mprd": (mprd, [*UNSUPERVISED, *GCN, *STRIPES]),
    "cluster_contrast": (cluster_contrast, [
        *UNSUPERVISED, *STRIPES, "--method.groups_per_batch", 3, "--method.images_per_group", 2, "--method.steps", 2,
        "--groups", "Groups", "--groups.base", "KNearest", "--groups.base.k", 1, "--groups.finder",
        "ConnectedComponents"]),
    "paul": (paul, [*PATCHES, *UNSUPERVISED, "--ablation", "false"]),
    "patch_mprd": (patch_mprd, [*PATCHES, *UNSUPERVISED, *GCN, "--gcn_training.batch_size", 8]),
    "pretrain": (pretrain, PATCHES),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("pedestrians") / "target", identities=(6, 4), cameras=2,
                           images_per_camera=2, height=64, width=32, distractors=0, junk=0, seed=1)


def run(pipeline, *argv):
    return cli.main(pipeline.make_parser(), pipeline.run, [str(part) for part in argv])


def train(method, arch, root, out, *more):
    pipeline, options = METHODS[method]
    network = [part for part in options if part not in PATCHES[:2]]
    kind = PATCHES[:2] if "paul.PatchNet" in options else []
    return run(pipeline, *kind, "--network.arch", arch, "--data.root", root, "--out", out, *SMALL, *network, *more)


@pytest.mark.parametrize(("method", "arch"), [
    *((method, arch) for method in ("mprd", "cluster_contrast", "paul") for arch in (VIT, CONVNEXT)),
    ("patch_mprd", VIT), ("pretrain", CONVNEXT)])
def test_train_evaluate_export_and_search(method, arch, root, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    assert train(method, arch, root, out) == 0, capsys.readouterr().err
    results = json.loads((out / "results.json").read_text())
    assert 0 < results["metrics"]["standard"]["mAP"] <= 1

    # Whoever opens the run downloads nothing, whatever weights it began with.
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "no cache"))
    network, about = load_network(out)
    state = load_checkpoint(out / "checkpoints" / "last.pt")
    assert about["network"]["init_args"]["arch"] == arch
    assert all(torch.equal(value, state["method"]["network"][key]) for key, value in network.state_dict().items())
    assert len({group["lr"] for group in state["method"]["optimizer"]["param_groups"]}) > 3
    assert run(evaluate, "--checkpoint", out, "--data.card", "synthetic", "--data.root", root, "--out", tmp_path / "e",
               "--accelerator", "cpu", "--progress", "false") == 0
    again = json.loads((tmp_path / "e" / "results.json").read_text())["metrics"]["standard"]
    assert again == pytest.approx(results["metrics"]["standard"], abs=1e-6)
    if (method, arch) not in (("mprd", VIT), ("paul", CONVNEXT)):
        return
    assert run(export, "--checkpoint", out, "--out", tmp_path / "export", "--count", 5, "--batch_sizes", "[1, 3]",
               "--progress", "false") == 0, capsys.readouterr().err
    check = pd.read_csv(tmp_path / "export" / "check.csv")
    assert len(check) == 2 * 2 * 5 and check["cosine"].min() > 0.999999
    query = sorted((root / "query").iterdir())[0]
    assert run(search, "--checkpoint", out, "--gallery", root / "query", "--index", tmp_path / "index", "--query",
               query, "--top", 3, "--out", tmp_path / "search", "--accelerator", "cpu", "--progress", "false") == 0
    hits = pd.read_csv(tmp_path / "search" / "hits.csv")
    assert hits["path"][0] == query.name and hits["similarity"][0] > 0.99 > hits["similarity"][1]


@pytest.mark.parametrize(("arch", "more", "said"), [
    (CONVNEXT, ["--network.patches", 3], "feature map of images of 64 x 64 has 2 rows and 2 columns, too "
     "few for 3 patches: raise --data.height, lower --network.patches"),
    (VIT, ["--data.height", 60], "images of 60 x 64 are no whole number of the 16 x 16 patches of "
     "timm/test_vit: set --data.height 64 --data.width 64"),
    ("timm/test_vitt", [], "has no model 'test_vitt'; nearest: "),
    (VIT, ["--network.weights", "none.safetensors"], "no weights file none.safetensors"),
    (VIT, ["--network.frozen_layers", 9], "frozen_layers must be 0 to 7"),
    (VIT, ["--learner.layer_decay", 2], "layer_decay must be above 0 and at most 1, got 2"),
])
def test_bad_options_are_one_line(arch, more, said, root, tmp_path, capsys):
    assert train("paul", arch, root, tmp_path / "no", *more) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and len(error.splitlines()) == 1
    assert not (tmp_path / "no").exists()


def test_stripes_that_a_map_is_too_small_for(root, tmp_path, capsys):
    assert train("mprd", CONVNEXT, root, tmp_path / "no", "--network.stripes", 6) == 2
    assert "has 2 rows and 2 columns, too few for 6 stripes" in capsys.readouterr().err
