"""Tables, their commands and their report; and a sweep that is killed."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipelines import mprd
from pipelines.command_line import cli
from pipelines.experiments import __main__ as experiments
from pipelines.experiments.plan import Plan
from pipelines.experiments.report import latex, write_report
from pipelines.experiments.table import load_table, shipped_tables

SMALL = ["data.height=48", "data.width=24", "network.arch=resnet18", "network.last_stage=2", "network.weights=null",
         "method.epochs=3", "learner.batch_size=16", "gcn.hidden=16", "knn.k=4", "meta_identities=2",
         "method.calibrate_neck=true"]
OURS = {"mprd_controls", "mprd_reciprocal", "mprd_sensitivity"}  # tables of no paper
TABLE = {"title": "Two ways", "pipeline": "mprd", "metrics": ["rank1", "mAP"], "rows": [
    {"name": "KNN", "options": {"relation": "KNearest"}, "published": {"market1501": [72.7, 35.2]}},
    {"name": "Single & none", "options": {"relation": "Singletons"}, "if_known": {"no_such_option": 1}},
    {"name": "a friend's", "cited": True, "published": {"market1501": [50, None]}}]}


@pytest.fixture(scope="session")
def root(pedestrians):
    return pedestrians(identities=(8, 6), images_per_camera=3, distractors=4, junk=2, seed=1)


def table_file(tmp_path, **changes):
    path = tmp_path / "two_ways.yaml"
    path.write_text(yaml.safe_dump(TABLE | changes))
    return str(path)


@pytest.mark.parametrize("name", shipped_tables())
def test_every_row_of_every_table_is_a_valid_configuration(name, root, tmp_path):
    table = load_table(name)
    options = {"data.root": str(root), "source.card": "synthetic", "source.root": str(root)}
    plan = Plan(table, "synthetic", tmp_path, [0, 1], options)
    jobs = plan.jobs()
    assert len({job.folder for job in jobs}) == len(jobs)
    assert all(row.published for row in table.rows) == (table.axis is None and name not in OURS)
    rows = [job for job in jobs if job.pipeline != "pretrain"]
    assert len(rows) == 2 * len({row.name for row in plan.same.values()})
    for job in rows:  # all start from a pre-training of their own seed, and the runs' command lines are valid
        assert job.needs.folder.name == job.folder.name and str(job.needs.folder / "checkpoints") in " ".join(job.argv)
    cfg = cli.parse(plan.module.make_parser(), rows[-1].command())
    assert cfg.pretrain is False and cfg.data.root == str(root) and cfg.seed == 1
    networks = {json.dumps(plan.resolved[row.name]["network"], sort_keys=True) for row in plan.rows}
    assert len({job.folder.parent for job in jobs if job.pipeline == "pretrain"}) == len(networks)


def test_a_pre_training_is_that_of_the_row(root, tmp_path):
    plan = Plan(load_table("paul_table3"), "synthetic", tmp_path, [3],
                  {"data.root": str(root), "source.root": str(root), "pretraining.epochs": 7})
    jobs = {job.label: job for job in plan.jobs()}
    for row, cls in (("ResNet, direct", "ImageEmbedder"), ("PAUL", "PatchNet")):
        start = jobs[f"{row}, seed 3"].needs
        config = yaml.safe_load((start.folder.parent.with_suffix(".yaml")).read_text())
        assert config["network"]["class_path"].endswith(cls) and config["method"]["epochs"] == 7
        from pipelines import pretrain
        cfg = cli.parse(pretrain.make_parser(), start.command())
        assert cfg.method.epochs == 7 and cfg.seed == 3 and cfg.data.root == str(root) and cfg.data.height == 96
    assert jobs["ResNet, direct, seed 3"].pipeline == "evaluate"


def test_bad_tables_are_refused(tmp_path):
    for changes, message in (({"rowz": []}, "'rows'"), ({"pipeline": "os"}, "expected one of mprd"),
                             ({"metrics": ["map"]}, "unknown metrics"),
                             ({"rows": TABLE["rows"][:1] * 2}, "names of their own"),
                             ({"rows": [{"name": "x", "published": {"market1501": [1]}}]}, "expected 2 percentages"),
                             ({"rows": [{"option": {}}]}, "'options'"), ({"axis": {}}, "either rows or axis")):
        with pytest.raises(ValueError, match=message):
            load_table(table_file(tmp_path, **changes))
    with pytest.raises(ValueError, match="mprd_table1"):
        load_table("mprd_tabel1")


def test_mistakes_end_before_any_run(root, tmp_path, capsys):
    def refused(*argv):
        try:
            status = experiments.main([*argv, "--out", str(tmp_path / "out")])
        except SystemExit as exit:
            status = exit.code
        assert status == 2 and not (tmp_path / "out" / "runs").exists()
        return capsys.readouterr().err
    file = table_file(tmp_path)
    assert "method.epochs" in refused(file, "--card", "synthetic", "--data.root", str(root), "--set", "method.epok=2")
    assert "OPTION=VALUE" in refused(file, "--card", "synthetic", "--data.root", str(root), "--set", "method.epochs")
    assert "--data.root DIR" in refused(file, "--card", "market1501")
    assert "no folder" in refused(file, "--card", "market1501", "--data.root", str(tmp_path / "none"))
    assert "twice" in refused(file, "--card", "synthetic", "--seeds", "1", "1")
    assert "before training" in refused("paul_table3", "--card", "market1501", "--data.root", str(root), "--set",
                                        "pretrain=false")


def finished(folder, seed, mAP):  # noqa: N803
    """A run folder with known figures."""
    folder.mkdir(parents=True)
    figures = {"mAP": mAP, "rank1": 2 * mAP, "rank5": 0.9, "rank10": 0.95, "mINP": 0.1}
    (folder / "results.json").write_text(json.dumps({
        "pipeline": "mprd", "card": "synthetic", "seed": seed, "data": {"fingerprint": "f"},
        "metrics": {"standard": figures, "cross": figures}}))


def test_the_report_has_our_figures_beside_the_published_ones(root, tmp_path):
    plan = Plan(load_table(table_file(tmp_path)), "synthetic", tmp_path / "out", [0, 1],
                  {"data.root": str(root), "pretrain": False})
    for job, mAP in zip(plan.jobs(), (0.25, 0.4, 0.35), strict=False):  # KNN 0, Single 0, KNN 1  # noqa: N806
        finished(job.folder, int(job.folder.name[5:]), mAP)
    text = write_report(plan, {plan.jobs()[3].folder: "status 2: no memory\n all of it"})
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == ["row", "seeds", "standard rank-1", "standard mAP", "cross rank-1", "cross mAP",
                        "paper, Market-1501 rank-1", "paper, Market-1501 mAP"]
    assert lines[2] == ["KNN", "2", "60.0 ± 14.1", "30.0 ± 7.1", "60.0 ± 14.1", "30.0 ± 7.1", "72.7", "35.2"]
    assert lines[3][:4] == ["Single & none", "1 of 2, failed", "80.0", "40.0"]
    assert lines[4] == ["a friend's", "cited", "", "", "", "", "50.0", ""]
    assert "of other data" in text and "Failed: Single_none, seed_1: status 2: no memory" in text
    frame = pd.read_csv(tmp_path / "out" / "table.csv")
    ours = frame.query("row == 'KNN' and source == 'ours' and metric == 'mAP' and mode == 'cross'")
    assert ours["percent"].tolist() == pytest.approx([25, 35]) and ours["seed"].tolist() == [0, 1]
    assert (frame["source"] == "paper").sum() == 3
    tex = (tmp_path / "out" / "table.tex").read_text()
    assert r"Single \& none" in tex and r"30.0 $\pm$ 7.1" in tex and tex.count(r"\\") == 4
    assert latex(pd.DataFrame([["a_b", "50 %"]], columns=["x", "y#"]), "t", "n").count(r"a\_b & 50 \% \\") == 1
    for name in ("plot.png", "plot.svg"):
        assert (tmp_path / "out" / name).stat().st_size > 5000


def test_a_sweep_is_drawn_over_its_values(root, tmp_path):
    axis = {"option": "judge.mu", "label": "threshold μ", "values": [0.1, 0.5]}
    content = {key: value for key, value in TABLE.items() if key != "rows"} | {"axis": axis}
    (tmp_path / "curve.yaml").write_text(yaml.safe_dump(content))
    plan = Plan(load_table(str(tmp_path / "curve.yaml")), "synthetic", tmp_path / "out", [0],
                  {"data.root": str(root), "pretrain": False})
    jobs = plan.jobs()
    assert [job.argv[job.argv.index("--judge.mu") + 1] for job in jobs] == ["0.1", "0.5"]
    for job in jobs:
        finished(job.folder, 0, 0.3)
    text = write_report(plan, {})
    assert "| μ = 0.1 | 1 | 60.0 | 30.0 |" in text and "picture only" in text
    assert "<!-- threshold μ -->" in (tmp_path / "out" / "plot.svg").read_text(encoding="utf-8")


def small(tmp_path, root, out):
    return [table_file(tmp_path), "--card", "synthetic", "--data.root", str(root), "--accelerator", "cpu", "--out",
            str(out), "--set", "pretrain=false", *SMALL]


def wait_for(condition, seconds=900):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def figures(folder):
    results = json.loads((folder / "results.json").read_text())
    return results["metrics"], results["before"], results["pairs"]


def test_a_killed_run_is_reported_and_the_same_command_goes_on(tmp_path, root, capsys, monkeypatch):
    """The process of a row is killed after its first epoch; in the end it equals a run that was let alone."""
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(TABLE | {"rows": TABLE["rows"][:1]}))
    out = tmp_path / "out"
    argv = [str(tmp_path / "one.yaml"), *small(tmp_path, root, out)[1:]]
    start = subprocess.Popen

    def killed(*args, **options):
        process = start(*args, **options)
        wait_for(lambda: (out / "runs" / "KNN" / "seed_0" / "logs" / "history.csv").exists()
                 or process.poll() is not None)
        process.kill()
        return process

    monkeypatch.setattr(subprocess, "Popen", killed)
    assert experiments.main(argv) == 1
    monkeypatch.setattr(subprocess, "Popen", start)
    text = capsys.readouterr()
    assert "status -9" in text.out and "1 of 1 runs failed" in text.err and "0 of 1, failed" in text.out
    assert experiments.main(argv) == 0
    assert "KNN | 1 |" in capsys.readouterr().out
    assert len(pd.read_csv(out / "runs" / "KNN" / "seed_0" / "logs" / "history.csv")) == 3
    assert experiments.main(argv) == 0  # nothing is run again
    assert "1 of them finished" in capsys.readouterr().out
    assert experiments.main([*argv, "learner.trunk_lr=0.5"]) == 2
    assert "begun with other options" in capsys.readouterr().err

    alone = ["--config", "mprd/synthetic.yaml", "--data.card", "synthetic", "--data.root", str(root), "--relation",
             "KNearest", "--out", str(tmp_path / "alone"), "--pretrain", "false", "--accelerator", "cpu", "--progress",
             "false", "--evaluate_every", "0"]
    for part in SMALL:
        alone += [f"--{part.split('=')[0]}", part.split("=")[1]]
    assert cli.main(mprd.make_parser(), mprd.run, alone) == 0
    assert figures(tmp_path / "alone") == figures(out / "runs" / "KNN" / "seed_0")


@pytest.mark.skipif("SLOW_TESTS" not in os.environ, reason="minutes: set SLOW_TESTS=1")
def test_a_sweep_that_is_killed_three_times_gives_what_an_undisturbed_one_gives(tmp_path, root):
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}

    def command(out):
        argv = small(tmp_path, root, out)
        argv[argv.index("pretrain=false")] = "pretraining.epochs=2"
        return [sys.executable, "-m", "pipelines.experiments", *argv, "--source.root", str(root)]

    out, whole = tmp_path / "killed", tmp_path / "whole"
    marks = ["pretrained/*/seed_0/logs/history.csv", "runs/KNN/seed_0/checkpoints/last.pt",
             "runs/Single_none/seed_0/logs/history.csv"]
    for mark in marks:
        with subprocess.Popen(command(out), env=env, stdout=subprocess.PIPE) as process:
            wait_for(lambda: list(out.glob(mark)) or process.poll() is not None)  # noqa: B023
            assert process.poll() is None
            process.send_signal(signal.SIGKILL)
    done = subprocess.run(command(out), env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert subprocess.run(command(whole), env=env).returncode == 0
    for row in ("KNN", "Single_none"):
        assert figures(out / "runs" / row / "seed_0") == figures(whole / "runs" / row / "seed_0")
        one, two = (pd.read_csv(folder / "runs" / row / "seed_0" / "logs" / "history.csv").drop(
            columns=["seconds", "memory/peak_mb"]) for folder in (out, whole))
        pd.testing.assert_frame_equal(one, two)
    np.testing.assert_equal((out / "table.csv").read_text(), (whole / "table.csv").read_text())
