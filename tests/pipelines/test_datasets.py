"""Every published dataset, as a small copy in its true layout, through the shipped configurations of both methods."""
import json
import shutil

import pandas as pd
import pytest

from pipelines import evaluate, extract, mprd, paul
from pipelines.command_line import cli

COMMON = ["--data.height", "48", "--data.width", "24", "--data.workers", "0", "--network.arch", "resnet18",
          "--network.last_stage", "2", "--network.weights", "null", "--method.epochs", "1", "--learner.batch_size", "8",
          "--knn.k", "3", "--progress", "false", "--accelerator", "cpu"]
METHODS = {
    "mprd": (mprd, ["--meta_identities", "2", "--gcn.hidden", "8"]),
    "paul": (paul, ["--network.patches", "2", "--network.dim", "8", "--network.localization_width", "8",
                    "--pretrain", "false"])}
DATASETS = ("market1501", "dukemtmc_reid", "msmt17", "cuhk03", "cuhk01", "viper")
REPEATED = ("cuhk03", "cuhk01", "viper")


def run(pipeline, *argv):
    return cli.main(pipeline.make_parser(), pipeline.run, [str(part) for part in argv])


def train(method, config, root, out, *more):
    pipeline, options = METHODS[method]
    return run(pipeline, "--config", f"{method}/{config}.yaml", "--data.root", root, "--out", out, *COMMON, *options,
               *more)


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


@pytest.fixture(scope="module")
def roots(small_copy, tmp_path_factory):
    folders = {name: small_copy(name, tmp_path_factory.mktemp(name)) for name in DATASETS}
    root = folders["cuhk03"]
    assert run(extract, "--archive", root / "cuhk03_release" / "cuhk-03.mat", "--out", root, "--progress", "false") == 0
    return folders


@pytest.fixture(scope="module")
def viper_run(roots, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "viper"
    assert train("paul", "viper", roots["viper"], out, "--data.split", "3") == 0
    return out


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", DATASETS)
def test_one_epoch_through_the_shipped_configuration(roots, tmp_path, method, name):
    assert train(method, name, roots[name], tmp_path / "run") == 0
    results = results_of(tmp_path / "run")
    assert results["card"] == name and results["epochs"] == 1 and results["counts"]["train"]["identities"] >= 4
    protocols = {"standard", "cross", "single_shot"} if name in REPEATED else {"standard", "cross"}
    assert set(results["metrics"]) == set(results["before"]) == protocols
    queries = pd.read_parquet(tmp_path / "run" / "queries.parquet").groupby("mode")["average_precision"].mean()
    for mode in ("standard", "cross"):
        assert results["metrics"][mode]["mAP"] == pytest.approx(queries[mode])
    assert (tmp_path / "run" / "protocol.json").is_file() == (name in REPEATED)
    if name in REPEATED:
        assert results["data"]["repeated_split"] == [name, 0]
        figures = results["metrics"]["single_shot"]
        assert figures["draws"] == (1 if name == "viper" else 10) and ("rank1_sd" in figures) == (name != "viper")


@pytest.mark.parametrize("config, source", [("market1501_from_dukemtmc_reid", "dukemtmc_reid"),
                                            ("dukemtmc_reid", "msmt17")])
def test_paul_pre_trains_on_the_source_its_table_names(roots, tmp_path, config, source):
    target = config.split("_from_")[0]
    source_options = ["--source.root", roots[source], "--source.height", "48", "--source.width", "24",
                      "--source.workers", "0", "--pretraining.epochs", "1"]
    assert train("paul", config, roots[target], tmp_path / "run", "--pretrain", "true", *source_options) == 0
    assert results_of(tmp_path / "run")["source"]["card"] == source
    scale = 10.0 if target == "dukemtmc_reid" else 30.0
    assert f"scale: {scale}" in (tmp_path / "run" / "config.yaml").read_text()


def test_the_split_and_the_galleries_are_recorded(roots, viper_run, tmp_path):
    protocol = json.loads((viper_run / "protocol.json").read_text())
    table = pd.read_parquet(viper_run / "images.parquet")
    assert protocol["train"] == sorted(table["path"]) and protocol["split"] == 3 and protocol["card"] == "viper"
    assert protocol["splits"] == {"count": 10, "train_fraction": 0.5, "seed": 0, "file": None}
    people = {path.split("/")[1].split("_")[0] for path in protocol["train"]}
    assert len(people) == 8 and not people & {path.split("/")[1].split("_")[0] for path in protocol["query"]}
    assert len(protocol["galleries"]) == 1 and sorted(protocol["galleries"][0]) == sorted(protocol["query"])
    assert all((roots["viper"] / path).is_file() for path in protocol["train"] + protocol["query"])
    ranking = pd.read_parquet(viper_run / "rankings.parquet")
    single = ranking[ranking["mode"] == "single_shot"]
    assert (single["query"].str[:5] != single["gallery"].str[:5]).all()         # the other camera's folder
    assert single.groupby("query")["correct"].sum().eq(1).all()                 # one right answer among eight


def test_evaluate_takes_the_split_the_network_was_trained_on(roots, viper_run, tmp_path, capsys):
    data = ["--data.card", "viper", "--data.root", roots["viper"], "--accelerator", "cpu", "--progress", "false"]
    assert run(evaluate, "--checkpoint", viper_run, *data, "--out", tmp_path / "same") == 0
    again, first = results_of(tmp_path / "same"), results_of(viper_run)
    assert again["data"]["repeated_split"] == ["viper", 3] and again["data"]["fingerprint"] == \
        first["data"]["fingerprint"]
    assert again["metrics"]["single_shot"] == pytest.approx(first["metrics"]["single_shot"], abs=1e-6)
    for other in (["--data.split", "4"], ["--all_splits", "true"]):
        assert run(evaluate, "--checkpoint", viper_run, *data, "--out", tmp_path / "no", *other) == 2
        assert "trained on split 3 of 'viper'" in capsys.readouterr().err and not (tmp_path / "no").exists()


def test_evaluate_over_all_splits(roots, viper_run, tmp_path, capsys):
    data = ["--data.root", roots["cuhk01"], "--accelerator", "cpu", "--progress", "false", "--data.card", "cuhk01"]
    assert run(evaluate, "--checkpoint", viper_run, *data, "--out", tmp_path / "all", "--all_splits", "true") == 0
    assert "mean and standard deviation over 10 splits" in capsys.readouterr().out
    results = results_of(tmp_path / "all")
    rows = pd.DataFrame([split["single_shot"] for split in results["splits"].values()])
    assert len(rows) == 10 and rows["rank1"].nunique() > 1
    for name in ("rank1", "mAP"):
        assert results["metrics"]["single_shot"][name] == pytest.approx(rows[name].mean())
        assert results["metrics"]["single_shot"][f"{name}_sd"] == pytest.approx(rows[name].std())
    protocols = json.loads((tmp_path / "all" / "protocol.json").read_text())
    assert [protocol["split"] for protocol in protocols] == list(range(10))
    assert len({tuple(protocol["train"]) for protocol in protocols}) > 5
    assert run(evaluate, "--checkpoint", viper_run, "--data.card", "market1501", "--data.root", roots["market1501"],
               "--all_splits", "true", "--out", tmp_path / "no") == 2
    assert "has one fixed split" in capsys.readouterr().err
    assert run(evaluate, "--checkpoint", viper_run, "--data.card", "market1501", "--data.root", roots["market1501"],
               "--data.split", "1", "--out", tmp_path / "no") == 2
    assert "one fixed split" in capsys.readouterr().err


def test_an_archive_that_is_not_extracted(small_copy, tmp_path, capsys):
    root = small_copy("cuhk03", tmp_path / "data")
    assert train("mprd", "cuhk03", root, tmp_path / "run") == 2
    assert f"python -m pipelines.extract --archive {root}" in capsys.readouterr().err
    assert run(extract, "--archive", root / "cuhk03_release" / "cuhk-03.mat", "--out", root, "--progress", "false") == 0
    shown = capsys.readouterr().out
    assert "34 files in images_labeled" in shown and "26 files in images_detected" in shown
    assert not (tmp_path / "run").exists()
    shutil.rmtree(root / "cuhk03_release")
    assert run(extract, "--archive", root / "cuhk03_release" / "cuhk-03.mat", "--out", root) == 2
    assert "no archive" in capsys.readouterr().err
