"""Individuals without cameras: a proposed card trains every method; leave one out ranks, and the report says so."""
import json
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from pipelines import cards, cluster_contrast, evaluate, mprd, paul
from pipelines.command_line import cli
from pipelines.runs.run import Run

FAST = ["--data.height", "48", "--data.width", "24", "--network.arch", "resnet18", "--network.last_stage", "2",
        "--network.weights", "null", "--progress", "false", "--accelerator", "cpu", "--pretrain", "false",
        "--method.epochs", "1", "--learner.batch_size", "16", "--knn.k", "4"]
PATCHES = ["--network", "paul.PatchNet", "--network.patches", "2", "--network.dim", "8",
           "--network.localization_width", "8"]
METHODS = {
    "mprd": (mprd, ["--meta_identities", "0", "--gcn.hidden", "16"]),
    "camera judge": (mprd, ["--meta_identities", "2", "--gcn.hidden", "16", "--judge.believe", "camera_jaccard"]),
    "reciprocal": (mprd, ["--relation", "KReciprocalJaccard", "--connect.camera_centered", "true",
                          "--camera_style", "statistics"]),
    "paul": (paul, PATCHES),
    "cluster contrast": (cluster_contrast, ["--method.groups_per_batch", "2", "--method.images_per_group", "2",
                                            "--groups", "Groups", "--groups.base", "KNearest", "--groups.base.k", "1",
                                            "--groups.finder", "ConnectedComponents"])}


def run(pipeline, *argv):
    return cli.main(pipeline.make_parser(), pipeline.run, [str(part) for part in argv])


@pytest.fixture(scope="module")
def individuals(pedestrians, tmp_path_factory):
    """Eight people, known by name only, one of them by a single image; and the card that is proposed."""
    source, root, count = pedestrians(identities=(8, 1)), tmp_path_factory.mktemp("individuals"), Counter()
    for path in sorted((source / "bounding_box_train").glob("*.jpg")):
        count[path.name[:4]] += 1
        if path.name[:4] != "0008" or count["0008"] == 1:
            shutil.copy(path, root / f"{path.name[:4]}_{count[path.name[:4]]:02d}.jpg")
    card = tmp_path_factory.mktemp("cards") / "own.yaml"
    assert run(cards, "new", root, "--out", card) == 0
    return card, root


@pytest.mark.parametrize("method", METHODS)
def test_trains_and_ranks_each_image_against_all_others(individuals, tmp_path, capsys, method):
    (card, root), (pipeline, options), out = individuals, METHODS[method], tmp_path / "run"
    assert run(pipeline, "--data.card", card, "--data.root", root, "--out", out, *FAST, *options) == 0
    assert "one out: 1 of 29 queries have no right image in the gallery and are left out" in capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert set(results["metrics"]) == set(results["before"]) == {"leave_one_out"} and not results["missing"]
    figures = results["metrics"]["leave_one_out"]
    assert (figures["num_valid_queries"], figures["num_skipped_queries"]) == (28, 1)
    assert not any("cross_camera" in name for name in results["pairs"])
    lists = pd.read_parquet(out / "rankings.parquet")
    assert not (lists["query"] == lists["gallery"]).any() and set(lists.groupby("query").size()) == {28}
    example = Run(out).evaluated("examples", "after")
    assert not (example["query"] == example["gallery"]).any() and "junk" not in set(example["role"])
    report = (out / "report.html").read_text()
    assert "leave one out" in report and "the training images themselves" in report
    assert "another camera<" not in report and "coloured by camera" not in report
    if method == "mprd":
        assert Run(out).memory_graph().num_nodes == 29
        again = tmp_path / "again"
        assert run(evaluate, "--checkpoint", out, "--data.card", card, "--data.root", root, "--out", again,
                   "--progress", "false", "--accelerator", "cpu") == 0
        second = json.loads((again / "results.json").read_text())["metrics"]["leave_one_out"]
        assert second["mAP"] == pytest.approx(figures["mAP"], abs=1e-6)
        assert "1 of 29 queries" in capsys.readouterr().out


def test_a_table_with_tracklets_trains(individuals, tmp_path):
    """Its tracklets stand in the table of training images, row for row."""
    root = shutil.copytree(individuals[1], tmp_path / "data")
    names = sorted(path.name for path in root.iterdir())
    lines = [f"{name},{name[:4]},{name[:4]}{'ab'[int(name[5:7]) > 2]}" for name in names]
    (root / "list.csv").write_text("\n".join(["filename,individual,tracklet", *reversed(lines)]))
    card, out = tmp_path / "own.yaml", tmp_path / "run"
    assert run(cards, "new", root / "list.csv", "--out", card) == 0
    assert run(mprd, "--data.card", card, "--data.root", root, "--out", out, *FAST, *METHODS["reciprocal"][1]) == 0
    images = pd.read_parquet(out / "images.parquet")
    expected = np.unique([line.split(",")[2] for line in lines], return_inverse=True)[1]
    assert images["path"].tolist() == names and images["tracklet_id"].tolist() == expected.tolist()


@pytest.mark.parametrize("change, said", [
    (("filename", "file"), "no column 'filename'"), (("0001_01.jpg", ""), "no path in 1 rows, first row 1"),
    (("0001_01.jpg", "../0001_01.jpg"), "'../0001_01.jpg'"), (("0001_01.jpg", "0001_99.jpg"), "'0001_99.jpg'"),
    (("train", "trane"), "'trane'"), (("individual", "who"), "no column 'individual'")])
def test_a_table_s_mistakes_stop_before_any_work(individuals, tmp_path, capsys, change, said):
    root = shutil.copytree(individuals[1], tmp_path / "data")
    names = sorted(path.name for path in root.iterdir())
    text = "\n".join(["filename,individual,split", *(f"{name},{name[:4]},train" for name in names)])
    (root / "list.csv").write_text(text)
    card, out = tmp_path / "own.yaml", tmp_path / "run"
    assert run(cards, "new", root / "list.csv", "--out", card) == 0
    (root / "list.csv").write_text(text.replace(*change))
    capsys.readouterr()
    assert run(mprd, "--data.card", card, "--data.root", root, "--out", out, *FAST) == 2
    error = capsys.readouterr().err
    assert said in error and "list.csv" in error and error.count("\n") == 1 and not out.exists()


def test_options_of_the_other_kind_are_refused(individuals, tmp_path, capsys):
    card, root = individuals
    assert run(cards, "new", root, "--out", tmp_path / "own.yaml", "--path", "file") == 2
    assert "--path does not go with a folder" in capsys.readouterr().err
    (tmp_path / "list.csv").write_text("path,identity\n")
    assert run(cards, "new", tmp_path / "list.csv", "--pattern", "x") == 2
    assert "--pattern does not go with a table" in capsys.readouterr().err
