"""python -m pipelines.cards: differently organised folders get a card that trains; check tells by its status."""
import json
import shutil

import pytest

from mprd_pyg.data import DataCard
from pipelines import cards, mprd
from pipelines.command_line import cli

FAST = ["--data.height", "48", "--data.width", "24", "--network.arch", "resnet18", "--network.last_stage", "2",
        "--network.weights", "null", "--progress", "false", "--accelerator", "cpu", "--pretrain", "false",
        "--method.epochs", "1", "--learner.batch_size", "16", "--gcn.hidden", "16", "--knn.k", "4"]


def run(*argv, pipeline=cards):
    return cli.main(pipeline.make_parser(), pipeline.run, [str(part) for part in argv])


@pytest.fixture(scope="module")
def market(pedestrians):
    return pedestrians(identities=(6, 6), images_per_camera=3, distractors=3, junk=2)


def nested(path, number):
    return f"person_{int(path.name[:4])}/cam{path.name[6]}_{number:04d}.jpg"


def numbers(path, number):
    return f"{path.name[:4]}-{path.name[6]}-{number:04d}.jpg"


def nameless(path, number):
    return f"c{path.name[6]}/2024-05-01_{number:06d}.jpg"


def copy(market, folder, name):
    paths = [path for part in ("bounding_box_train", "query", "bounding_box_test")
             for path in sorted((market / part).glob("0*.jpg")) if not path.name.startswith("0000")]
    for number, path in enumerate(paths):
        target = folder / name(path, number)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    return folder


@pytest.mark.parametrize("name, identities", [(nested, 6), (None, 6), (numbers, 6), (nameless, 0)])
def test_new_makes_a_card_that_trains(market, tmp_path, capsys, name, identities):
    root = market if name is None else copy(market, tmp_path / "crops", name)
    card = tmp_path / "own.yaml"
    assert run("new", root, "--out", card) == 0
    said = capsys.readouterr().out
    assert "10 images as the card reads them" in said and f"wrote {card}" in said
    meta = "3" if identities else "0"
    assert f"--meta_identities {meta}" in said
    out = tmp_path / "run"
    assert run("--config", "mprd/folder.yaml", "--data.card", card, "--data.root", root, "--out", out,
               "--meta_identities", meta, *FAST, pipeline=mprd) == 0
    results = json.loads((out / "results.json").read_text())
    train = results["counts"]["train"]
    assert train["identities"] == identities and train["cameras"] == 2
    assert bool(results["metrics"]) == bool(identities) and results["epochs"] == 1
    if identities:
        assert results["metrics"]["cross"]["num_valid_queries"] == (36 if name else 12)


def test_new_never_writes_over_a_file_unasked(market, tmp_path, capsys):
    card = tmp_path / "own.yaml"
    card.write_text("mine")
    assert run("new", market, "--out", card) == 2 and card.read_text() == "mine"
    assert "--force" in capsys.readouterr().err
    assert run("new", market, "--out", card, "--force") == 0 and DataCard.load(str(card)).junk_ids == (-1,)
    assert run("new", tmp_path / "nowhere") == 2 and run("new", market, "--out", tmp_path / "card.txt") == 2


def test_check_says_what_is_there_and_its_status_says_whether_it_is_as_promised(market, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(market, root)
    assert run("check", "synthetic", root) == 0
    said = capsys.readouterr().out
    assert "as promised" in said and "36/36" in said and "2/2" in said
    (root / "query" / "0007_c1s1_000700_00.jpg").write_bytes(b"no image")
    (root / "bounding_box_train" / "0001_c1s1_000100_00.jpg").unlink()
    (root / "query" / "holiday.jpg").write_bytes(b"")
    assert run("check", "synthetic", root) == 1
    said = capsys.readouterr().out
    assert "35/36 !" in said and "unreadable: query/0007_c1s1_000700_00.jpg" in said and "query/holiday.jpg" in said
    assert run("check", "market1501", tmp_path) == 2 and str(root) in capsys.readouterr().err
