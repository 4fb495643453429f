"""python -m pipelines.mprd and pipelines.evaluate, whole, on a few generated pedestrians."""
import json
import os
import shutil
import signal

import pandas as pd
import pytest
import torch

from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from mprd_pyg.graph import PairSubgraphDataset, center_by_group
from mprd_pyg.mprd import MPRD, GCNTraining
from mprd_pyg.training import load_checkpoint
from pipelines import evaluate, mprd
from pipelines.command_line import cli

SMALL = ["--data.height", "48", "--data.width", "24", "--network.arch", "resnet18", "--network.last_stage", "2",
         "--network.weights", "null", "--method.epochs", "2", "--learner.batch_size", "16", "--gcn.hidden", "16",
         "--knn.k", "4", "--meta_identities", "2", "--method.calibrate_neck", "true", "--progress", "false",
         "--accelerator", "cpu", "--pretrain", "false"]


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pedestrians") / "target"
    return write_synthetic(folder, identities=(8, 6), cameras=2, images_per_camera=3, height=48, width=24,
                           distractors=4, junk=2, seed=1)


def run(*argv, pipeline=mprd):
    return cli.main(pipeline.make_parser(), pipeline.run, [str(part) for part in argv])


def train(root, out, *more):
    return run("--data.card", "synthetic", "--data.root", root, "--out", out, *SMALL, *more)


@pytest.fixture(scope="session")
def finished(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert train(root, out) == 0
    return out


def test_a_run_folder_holds_everything(finished, root, capsys):
    results = json.loads((finished / "results.json").read_text())
    for mode in ("standard", "cross"):
        for when in ("metrics", "before"):
            figures = results[when][mode]
            assert {"mAP", "mAP_trapz", "mINP", "rank1", "rank5", "rank10"} <= set(figures)
            assert 0 < figures["mAP"] <= 1
    assert {"precision", "recall", "count", "cross_camera_precision", "cross_camera_recall"} <= set(results["pairs"])
    assert results["seed"] == 0 and results["card"] == "synthetic" and "torch" in results["versions"]
    assert results["counts"]["unlabelled"] + results["counts"]["meta"] == 48 == results["counts"]["train"]["images"]
    assert results["camera_style"]["used"] == "none" and len(results["data"]["fingerprint"]) == 64

    images = pd.read_parquet(finished / "images.parquet")
    assert len(images) == 48 and images["meta"].tolist() == sorted(images["meta"]) and images["meta"].sum() == 12
    pairs = pd.read_parquet(finished / "pairs" / "epoch_002.parquet")
    assert list(pairs.columns) == ["anchor", "neighbour", "similarity", "likelihood", "believed", "true"]
    assert len(pairs) >= 36 * 4 and pairs["believed"].equals(pairs["likelihood"] > 0.5)
    person = images["person_id"].to_numpy()
    assert (pairs["true"] == (person[pairs["anchor"]] == person[pairs["neighbour"]])).all()
    assert set(pairs["anchor"]) == set(range(36)) and pairs["neighbour"].max() < 36  # meta images stay out

    ranking = pd.read_parquet(finished / "rankings.parquet")
    assert set(ranking["mode"]) == {"standard", "cross"}
    assert ranking.groupby(["mode", "query"])["rank"].min().eq(1).all()
    assert (root / ranking["gallery"][0]).is_file()
    history = pd.read_csv(finished / "logs" / "history.csv")
    assert {"gcn/loss", "gcn/eta", "cnn/loss", "gamma", "pairs/precision", "standard/mAP"} <= set(history)
    assert history["gamma"].tolist() == [1.0, 0.5]
    saved = PairSubgraphDataset(finished / "subgraphs")
    in_epoch = saved.table[saved.table["epoch"] == 2].merge(pairs, on=["anchor", "neighbour"], suffixes=("", "_judged"))
    assert len(in_epoch) == (saved.table["epoch"] == 2).sum() >= 100 and set(saved.table["epoch"]) == {1, 2}
    for name, judged in (("likelihood", "likelihood_judged"), ("believed", "believed_judged"), ("truth", "true")):
        assert in_epoch[name].tolist() == in_epoch[judged].tolist()
    assert saved[0].edge_attr.shape == saved[0].edge_index.shape[1:]
    bank = load_checkpoint(finished / "checkpoints" / "last.pt")["method"]["memory"]["bank"][0]
    assert torch.equal(saved[-1].x, bank[saved[-1].n_id])
    space = center_by_group(bank[:36], torch.tensor(images["camera_id"][:36].to_numpy()))  # the default's search
    ends = space[saved[-1].n_id[saved[-1].edge_index]]
    assert torch.allclose(saved[-1].edge_attr, ends.prod(0).sum(1), atol=1e-5)
    assert "relation: null" in (finished / "config.yaml").read_text()  # the paper's relation, the GCN, is the default


def test_evaluate_repeats_the_final_figures(finished, root, tmp_path):
    out = tmp_path / "evaluation"
    assert run("--checkpoint", finished, "--data.card", "synthetic", "--data.root", root, "--out", out,
               "--accelerator", "cpu", "--progress", "false", pipeline=evaluate) == 0
    again, first = (json.loads((folder / "results.json").read_text())["metrics"] for folder in (out, finished))
    for mode in ("standard", "cross"):
        assert again[mode] == pytest.approx(first[mode], abs=1e-6)


def same(one, two, path=""):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two), path
    elif isinstance(one, dict):
        assert one.keys() == two.keys(), path
        for key in one:
            if key not in ("seconds", "memory/peak_mb"):
                same(one[key], two[key], f"{path}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(two), path
        for number, (a, b) in enumerate(zip(one, two, strict=True)):
            same(a, b, f"{path}/{number}")
    else:
        assert one == two or (one != one and two != two), path


JUDGE = ["--judge.believe", "logistic", "--judge.statistics", "[common_neighbours,edge_probability]"]


@pytest.fixture(scope="session")
def finished_with_statistics(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "statistics"
    assert train(root, out, *JUDGE) == 0
    return out


@pytest.mark.parametrize(("where", "fixture", "options"), [
    ("gcn", "finished", []), ("cnn", "finished", []),
    ("gcn", "finished_with_statistics", JUDGE), ("cnn", "finished_with_statistics", JUDGE)])
def test_interrupted_in_a_step_and_resumed_it_is_the_same_run(request, root, tmp_path, monkeypatch, where, fixture,
                                                              options):
    finished = request.getfixturevalue(fixture)
    cls, stop_at = (GCNTraining, 2) if where == "gcn" else (MPRD, 4)
    step, taken = cls.training_step, [0]

    def counted(self, *batch):
        taken[0] += 1
        if taken[0] == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *batch)

    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(cls, "training_step", counted)
        assert train(root, out, *options) == 130
    assert not (out / "results.json").exists()
    assert run("--resume", out) == 0
    one, two = (load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (finished, out))
    same(one, two)
    saved = [PairSubgraphDataset(folder / "subgraphs") for folder in (finished, out)]
    pd.testing.assert_frame_equal(saved[0].table, saved[1].table)
    assert torch.equal(saved[0].batch().edge_attr, saved[1].batch().edge_attr)
    for name in ("pairs/epoch_001.parquet", "pairs/epoch_002.parquet", "rankings.parquet"):
        pd.testing.assert_frame_equal(pd.read_parquet(finished / name), pd.read_parquet(out / name))
    first, second = (json.loads((folder / "results.json").read_text()) for folder in (finished, out))
    assert first["metrics"] == second["metrics"] and first["before"] == second["before"]
    assert first["pairs"] == second["pairs"]


def test_a_sharded_run_writes_what_any_run_does_and_goes_on_with_a_replicated_memory(finished, root, tmp_path):
    out = tmp_path / "sharded"
    assert train(root, out, "--memory", "sharded", "--method.calibrate_neck", "false") == 0
    assert "memory: sharded" in (out / "config.yaml").read_text()
    whole, one = (load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (finished, out))
    assert one["method"]["memory"]["bank"].shape == whole["method"]["memory"]["bank"].shape
    assert PairSubgraphDataset(out / "subgraphs").table["epoch"].tolist().count(2) >= 100
    assert run("--resume", out, "--memory", "replicated", "--method.epochs", "3", "--progress", "false") == 0
    assert json.loads((out / "results.json").read_text())["epochs"] == 3
    with pytest.raises(SystemExit):
        train(root, tmp_path / "none", "--memory", "elsewhere")


@pytest.mark.parametrize("relation", [
    ["KNearest", "--relation.k", "3"], ["SimilarityThreshold", "--relation.threshold", "0.5"],
    ["MPLP", "--relation.threshold", "0.3"], ["SameIdentity"], ["Singletons"],
    ["WithMetaLabels", "--relation.base", "KNearest"]])
def test_every_row_of_table_1_is_a_configuration(root, tmp_path, relation):
    assert train(root, tmp_path / "out", "--method.epochs", "1", "--relation", *relation,
                 "--method.memory_update", "after", "--connect.camera_centered", "true") == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert relation[0] in results["relation"] and results["counts"]["unlabelled"] == 48
    if relation[0] == "SameIdentity":
        assert results["pairs"]["precision"] == results["pairs"]["recall"] == 1
    if relation[0] == "Singletons":
        assert results["pairs"]["count"] == 0 and results["pairs"]["precision"] is None


@pytest.mark.parametrize("options", [
    ["--meta_identities", "0"], ["--gcn_training.unlabelled_pairs", "false"], ["--subgraphs.edges", "induced"],
    ["--gcn.head", "dgcnn", "--gcn_training.optimizer", "adam", "--knn.threshold", "null"],
    ["--judge.believe", "camera_jaccard", "--judge.statistics", "[similarity,edge_probability]"],
    ["--judge.believe", "similarity", "--gcn.root_similarity", "true", "--connect.camera_centered", "true"]])
def test_every_variant_of_mprd_is_a_configuration(root, tmp_path, options):
    assert train(root, tmp_path / "out", "--method.epochs", "1", *options) == 0


def test_pretraining_on_a_source_comes_first(root, tmp_path):
    out = tmp_path / "out"
    assert train(root, out, "--pretrain", "true", "--source.card", "synthetic", "--source.root", root,
                 "--source.height", "48", "--source.width", "24", "--pretraining.epochs", "1", "--method.epochs", "1",
                 "--relation", "KNearest") == 0
    assert (out / "source" / "checkpoints" / "last.pt").is_file()
    assert json.loads((out / "results.json").read_text())["source"]["last_epoch"]["source/loss"] > 0


def test_unlabelled_images_train_what_needs_no_labels(root, tmp_path, capsys):
    crops = tmp_path / "crops" / "train"
    crops.mkdir(parents=True)
    for number, path in enumerate(sorted((root / "bounding_box_train").iterdir())):
        shutil.copy(path, crops / f"crop{number:03d}_c{path.name[6]}.jpg")
    own = ["--data.card", "folder", "--data.pattern", r"crop\d+_c(?P<camera>\d)\.jpg"]
    out = tmp_path / "out"
    assert run("--data.root", crops.parent, "--out", out, *own, *SMALL, "--meta_identities", "0") == 0
    results = json.loads((out / "results.json").read_text())
    assert results["metrics"] == {} and any("evaluation" in line for line in results["missing"])
    assert pd.read_parquet(out / "pairs" / "epoch_001.parquet")["true"].isna().all()
    assert run("--data.root", crops.parent, "--out", tmp_path / "no", *own, *SMALL) == 2
    assert "0 to do without" in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_own_crops_with_labels_are_ranked(root, tmp_path):
    for folder, own in (("bounding_box_train", "train"), ("query", "query"), ("bounding_box_test", "gallery")):
        (tmp_path / "crops" / own).mkdir(parents=True)
        for number, path in enumerate(sorted((root / folder).glob("0*.jpg"))):
            person, camera = path.name[:4], path.name[6]
            shutil.copy(path, tmp_path / "crops" / own / f"p{person}-cam{camera}-{number}.jpg")
    out = tmp_path / "out"
    assert run("--config", "mprd/folder.yaml", "--data.root", tmp_path / "crops", "--out", out,
               "--data.pattern", r"p(?P<person>\d+)-cam(?P<camera>\d)-\d+\.jpg", *SMALL) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["metrics"]["cross"]["num_valid_queries"] == 12
