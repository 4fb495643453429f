"""--camera_style from the command line: which one was used is recorded; written images come back as CamStyle's."""
import json
import shutil

import pandas as pd
import pytest

from pipelines import camera_style, mprd, paul, pretrain
from pipelines.command_line import cli

SMALL = ["--data.height", "48", "--data.width", "24", "--network.arch", "resnet18", "--network.last_stage", "2",
         "--network.weights", "null", "--method.epochs", "1", "--learner.batch_size", "16", "--gcn.hidden", "16",
         "--knn.k", "4", "--meta_identities", "2", "--progress", "false", "--accelerator", "cpu"]


@pytest.fixture(scope="module")
def root(pedestrians):
    return pedestrians(identities=(6, 4))


def run(*argv, pipeline=mprd):
    return cli.main(pipeline.make_parser(), pipeline.run, [str(part) for part in argv])


def train(root, out, *more):
    assert run("--config", "mprd/market1501.yaml", "--data.workers", "0", "--data.card", "synthetic", "--data.root",
               root, "--out", out, *SMALL, *more) == 0
    return json.loads((out / "results.json").read_text())


def test_without_camstyle_images_the_default_is_the_cameras_own_colours(root, tmp_path):
    results = train(root, tmp_path / "a")
    assert results["camera_style"]["used"] == "statistics" and results["camera_style"]["sample"] == {"1": 12, "2": 12}
    assert "bounding_box_train_camstyle" in results["camera_style"]["why"]
    saved = json.loads((tmp_path / "a" / "camera_style.json").read_text())
    assert saved["cameras"] == [1, 2] and saved["key"]["fingerprint"] == results["data"]["fingerprint"]
    # the number of workers changes nothing, and neither does where the pixels come from
    again = train(root, tmp_path / "b", "--data.workers", "2", "--data.cache", tmp_path / "cache")
    assert again["metrics"] == results["metrics"] and list((tmp_path / "cache").glob("*.images"))
    none = train(root, tmp_path / "c", "--camera_style", "none")
    assert none["camera_style"] == {"used": "none", "why": "not asked for"} and none["metrics"] != results["metrics"]


def test_written_images_are_used_as_camstyle_images(root, tmp_path, capsys):
    root = shutil.copytree(root, tmp_path / "data")
    out = root / "bounding_box_train_camstyle"
    data = ["--data.card", "synthetic", "--data.root", root, "--data.height", "48", "--data.width", "24"]
    assert run(*data, "--out", out, "--progress", "false", pipeline=camera_style) == 0
    assert "24 images written" in capsys.readouterr().out and (out / "sheet.png").stat().st_size > 1000
    assert run(*data, "--out", out, "--progress", "false", pipeline=camera_style) == 0
    assert "0 images written" in capsys.readouterr().out
    assert run(*data, "--out", out, "--seed", "1", pipeline=camera_style) == 2
    assert "give another --out" in capsys.readouterr().err
    assert run(*data, "--out", root / "more", pipeline=camera_style) == 2
    assert "end in _camstyle" in capsys.readouterr().err
    results = train(root, tmp_path / "run", "--data.cache", tmp_path / "cache")
    assert results["camera_style"] == {"used": "camstyle", "folder": str(out), "images": 24,
                                       "training_images_without": 0}
    table = pd.read_parquet(tmp_path / "run" / "images.parquet")
    assert (table["style_2"] != "").tolist() == (table["camera_id"] == 1).tolist()
    assert len(list((tmp_path / "cache").glob("*.images"))) == 2        # one of the data, one of the styles
    batched = train(root, tmp_path / "batched", "--batched_views", "true")
    assert batched["camera_style"]["used"] == "camstyle" and batched["epochs"] == 1
    next(out.glob("*_fake_*")).write_bytes(b"")
    assert run("--config", "mprd/market1501.yaml", "--data.card", "synthetic", "--data.root", root, "--out",
               tmp_path / "x", *SMALL) == 2
    assert "1 CamStyle images" in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_camstyle_that_is_not_there_is_an_error_only_when_asked_for(root, tmp_path, capsys):
    def refused(*more):
        assert run("--config", "mprd/market1501.yaml", "--data.card", "synthetic", "--data.root", root, "--out",
                   tmp_path / "no", *SMALL, *more) == 2
        assert not (tmp_path / "no").exists()
        return capsys.readouterr().err
    assert "--camera_style_images DIR" in refused("--camera_style", "camstyle")
    assert str(tmp_path / "elsewhere") in refused("--camera_style", "camstyle", "--camera_style_images",
                                                  tmp_path / "elsewhere")


@pytest.mark.parametrize("pipeline", [paul, pretrain])
def test_paul_and_pretraining_take_a_style_when_asked(root, tmp_path, pipeline):
    for out, more, used in (("a", [], "none"), ("b", ["--camera_style", "statistics"], "statistics")):
        small = ["--network.arch", "resnet18", "--network.last_stage", "1", "--network.weights", "null",
                 *(["--network.localization_width", "8", "--ablation", "false", "--pretrain", "false", "--knn.k", "3"]
                   if pipeline is paul else [])]
        assert run("--data.card", "synthetic", "--data.root", root, "--data.height", "48", "--data.width", "24",
                   "--out", tmp_path / out, "--method.epochs", "1", "--learner.batch_size", "8", "--accelerator", "cpu",
                   "--progress", "false", *small, *more, pipeline=pipeline) == 0
        assert json.loads((tmp_path / out / "results.json").read_text())["camera_style"]["used"] == used
