"""Mistakes get a clear answer and a status of 2 before any work, and nothing is written."""
import shutil

import pytest
from PIL import Image

from mprd_pyg.training import save_checkpoint
from pipelines import evaluate, mprd
from pipelines.command_line import cli

FAST = ["--data.height", "48", "--data.width", "24", "--network.arch", "resnet18", "--network.last_stage", "2",
        "--network.weights", "null", "--progress", "false", "--accelerator", "cpu", "--pretrain", "false",
        "--meta_identities", "2", "--method.epochs", "1", "--relation", "KNearest"]


@pytest.fixture
def root(pedestrians, tmp_path):
    return shutil.copytree(pedestrians(identities=(5, 4)), tmp_path / "data")


def refused(capsys, tmp_path, *argv, pipeline=mprd):
    out = tmp_path / "out"
    try:
        status = cli.main(pipeline.make_parser(), pipeline.run, [*map(str, argv), "--out", str(out)])
    except SystemExit as exit:  # the parser's own errors
        status = exit.code
    assert status == 2
    assert not out.exists(), "nothing must be written before the input is known to be good"
    return capsys.readouterr().err


def market(root):
    return ["--data.card", "market1501", "--data.root", root, *FAST]


def test_roots(capsys, tmp_path, root):
    assert "does not exist" in refused(capsys, tmp_path, *market(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    assert "empty" in refused(capsys, tmp_path, *market(tmp_path / "empty"))
    high = refused(capsys, tmp_path, *market(root.parent))
    assert "bounding_box_train" in high and str(root) in high
    low = refused(capsys, tmp_path, *market(root / "bounding_box_train"))
    assert str(root) in low
    assert "--data.root" in refused(capsys, tmp_path, "--data.card", "market1501", *FAST)
    assert "pku_reid" in refused(capsys, tmp_path, "--data.card", "pku_rei", "--data.root", root, *FAST)


def test_names_and_images(capsys, tmp_path, root):
    folder = root / "bounding_box_train"
    first, second = sorted(folder.iterdir())[:2]
    first.write_bytes(b"")
    second.write_bytes(b"no image at all")
    message = refused(capsys, tmp_path, "--data.card", "synthetic", "--data.root", root, *FAST)
    assert first.name in message and second.name in message and "--data.skip_unreadable true" in message
    assert cli.main(mprd.make_parser(), mprd.run, [
        "--data.card", "synthetic", "--data.root", str(root), *FAST, "--data.skip_unreadable", "true",
        "--out", str(tmp_path / "fine")]) == 0
    for path in folder.iterdir():
        path.rename(folder / f"photo{path.stem}.jpg")
    message = refused(capsys, tmp_path, "--data.card", "synthetic", "--data.root", root, *FAST)
    assert "photo0001" in message and "(?P<person>" in message


def test_no_identity_in_two_cameras(capsys, tmp_path, root):
    for folder in ("query", "bounding_box_test"):
        for path in (root / folder).iterdir():
            if "_c2" in path.name:
                path.unlink()
    assert "two cameras" in refused(capsys, tmp_path, "--data.card", "synthetic", "--data.root", root, *FAST)


def test_fewer_images_than_k(capsys, tmp_path, root):
    for path in sorted((root / "bounding_box_train").iterdir())[8:]:
        path.unlink()
    message = refused(capsys, tmp_path, "--data.card", "synthetic", "--data.root", root, *FAST)
    assert "8 training images are fewer than k + 1 = 9" in message


def test_unknown_keys_name_the_nearest(capsys, tmp_path, root):
    assert "'data.root'" in refused(capsys, tmp_path, "--data.rot", root)
    config = tmp_path / "c.yaml"
    config.write_text("network: {archh: resnet18}\n")
    assert "'network.arch'" in refused(capsys, tmp_path, "--config", config)
    config.write_text("metod: {epochs: 3}\n")
    assert "'method.epochs'" in refused(capsys, tmp_path, "--config", config)
    config.write_text("method: {epoch: 3}\n")
    assert "'method.epochs'" in refused(capsys, tmp_path, "--config", config)
    assert "market1501.yaml" in refused(capsys, tmp_path, "--config", "mprd/markt.yaml")
    assert "is no run folder" in refused(capsys, tmp_path, "--resume", tmp_path / "nowhere")


def test_values_out_of_range(capsys, tmp_path, root):
    base = ["--data.card", "synthetic", "--data.root", root, *FAST]
    assert "'before', 'after'" in refused(capsys, tmp_path, *base, "--method.memory_update", "later")
    assert "metric must be one of" in refused(capsys, tmp_path, *base, "--knn.metric", "dot")
    assert "arch must be one of" in refused(capsys, tmp_path, *base, "--network.arch", "resnet19")


def test_an_existing_run_is_not_overwritten(capsys, tmp_path, root):
    out = tmp_path / "fine"
    argv = ["--data.card", "synthetic", "--data.root", str(root), *FAST, "--out", str(out)]
    assert cli.main(mprd.make_parser(), mprd.run, argv) == 0
    before = (out / "results.json").read_bytes()
    assert cli.main(mprd.make_parser(), mprd.run, argv) == 2
    assert "--resume" in capsys.readouterr().err and (out / "results.json").read_bytes() == before
    # resumed with other images: refused, the run stays as it was
    Image.new("RGB", (24, 48)).save(root / "bounding_box_train" / "0001_c1s1_999999_00.jpg")
    assert cli.main(mprd.make_parser(), mprd.run, ["--resume", str(out)]) == 2
    assert "of another run: its data are other images" in capsys.readouterr().err
    assert (out / "results.json").read_bytes() == before


def test_checkpoints_of_something_else(capsys, tmp_path, root):
    data = ["--data.card", "synthetic", "--data.root", root, "--progress", "false"]
    assert "no checkpoint" in refused(capsys, tmp_path, "--checkpoint", tmp_path / "x.pt", *data, pipeline=evaluate)
    (tmp_path / "text.pt").write_text("hello")
    assert "not a readable checkpoint" in refused(capsys, tmp_path, "--checkpoint", tmp_path / "text.pt", *data,
                                                  pipeline=evaluate)
    describe = {"network": {"class_path": "os.system", "init_args": {}}, "size": [48, 24]}
    save_checkpoint(tmp_path / "odd.pt", {"describe": describe, "method": {"network": {}}})
    assert "'os.system'" in refused(capsys, tmp_path, "--checkpoint", tmp_path / "odd.pt", *data, pipeline=evaluate)
    describe["network"] = {"class_path": "mprd_pyg.models.ImageEmbedder", "init_args": {"arch": "resnet18"}}
    save_checkpoint(tmp_path / "other.pt", {"describe": describe, "method": {"network": {}}})
    assert "of another model" in refused(capsys, tmp_path, "--checkpoint", tmp_path / "other.pt", *data,
                                         pipeline=evaluate)


def test_a_run_that_diverges_says_where(capsys, tmp_path, root):
    out = tmp_path / "out"
    assert cli.main(mprd.make_parser(), mprd.run, [
        "--data.card", "synthetic", "--data.root", str(root), *FAST, "--out", str(out), "--learner.batch_size", "4",
        "--learner.trunk_lr", "1e30"]) == 2
    message = capsys.readouterr().err
    assert "bounding_box_train/" in message and "NaN or infinite" in message and "learning rate" in message
    assert (out / "checkpoints" / "last.pt").is_file()
