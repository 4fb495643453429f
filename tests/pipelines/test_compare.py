"""python -m pipelines.compare on run folders written by the pipelines' own writer, from known features."""
import json

import numpy as np
import pandas as pd
import pytest
import yaml

from mprd_pyg.evaluation import MODES, evaluate_ranking, paired_bootstrap
from pipelines import compare
from pipelines.command_line import cli
from pipelines.command_line.ranking import flat_metrics, nested
from pipelines.runs.comparison import difference, different_options, flatten, group_runs
from pipelines.runs.run import Run
from pipelines.runs.run_folder import RunFolder

PERSON = np.repeat(np.arange(12), 4)
CAMERA = np.tile([0, 1, 0, 1], 12)


def written(path, seed, noise, fingerprint="one", queries=True, **options):
    rng = np.random.default_rng([seed, int(100 * noise)])
    x = np.eye(12)[PERSON] + noise * rng.standard_normal((48, 12))
    results = {mode: evaluate_ranking(x, x, PERSON, PERSON, CAMERA, CAMERA, mode=mode) for mode in MODES}
    folder = RunFolder(str(path), "test")
    config = {"seed": seed, "method": {"epochs": 4, "rate": noise}, "data": {"root": f"/here/{seed}"}, **options}
    folder.write_text("config.yaml", yaml.safe_dump(config))
    frame = pd.DataFrame({"path": [f"{i:03d}.jpg" for i in range(48)], "person_id": PERSON})
    folder.write_rankings(frame, np.arange(48), np.arange(48), results)
    if not queries:
        (path / "queries.parquet").unlink()
    folder.write_results({"pipeline": "test", "card": "synthetic", "seed": seed, "data": {"fingerprint": fingerprint},
                          "metrics": nested(flat_metrics(results))})
    return path


def run(*argv):
    try:
        return cli.main(compare.make_parser(), compare.run, [str(part) for part in argv])
    except SystemExit as exit:
        return exit.code


def test_seeds_are_grouped_and_the_difference_is_that_of_the_queries(tmp_path, capsys):
    paths = [written(tmp_path / name / f"seed_{seed}", seed, noise) for name, noise in (("clear", 0.3), ("noisy", 0.8))
             for seed in (0, 1, 2)]
    groups = group_runs([Run(path) for path in paths])
    assert [(group.name, len(group.runs)) for group in groups] == [("clear", 3), ("noisy", 3)]
    values = [json.loads((path / "results.json").read_text())["metrics"]["cross"]["mAP"] for path in paths[3:]]
    assert groups[1].figures("cross", "mAP") == pytest.approx((np.mean(values), np.std(values, ddof=1)))

    # by hand: the mean over queries of the seeds' mean precision is the mean of the seeds' mAP
    found = difference(groups[0], groups[1], "cross")
    first = np.mean([json.loads((path / "results.json").read_text())["metrics"]["cross"]["mAP"] for path in paths[:3]])
    assert found.mean == pytest.approx(np.mean(values) - first) and found.high < 0 and found.queries == 48
    tables = [pd.read_parquet(path / "queries.parquet").query("mode == 'cross'") for path in paths]
    scores = [np.mean([table["average_precision"] for table in part], axis=0) for part in (tables[:3], tables[3:])]
    assert found == paired_bootstrap(*scores)
    by_person = difference(groups[0], groups[1], "cross", by_person=True)
    assert by_person.groups == 12 and by_person == paired_bootstrap(*scores, groups=PERSON)

    assert run(*paths, "--out", tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "method.rate" in text and "data.root" not in text and "method.epochs" not in text
    assert f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}" in text
    assert f"{100 * found.mean:+.2f}" in text and f"{100 * found.low:+.2f} to {100 * found.high:+.2f}" in text
    assert pd.read_csv(tmp_path / "out" / "differences.csv")["mode"].tolist() == list(MODES)
    assert (tmp_path / "out" / "compare.md").read_text() in text


def test_why_there_is_no_difference(tmp_path):
    one = Run(written(tmp_path / "one", 0, 0.3))
    other = Run(written(tmp_path / "other", 0, 0.5, fingerprint="two"))
    bare = Run(written(tmp_path / "bare", 0, 0.7, queries=False))
    groups = group_runs([one, other, bare])
    assert "different data" in difference(groups[0], groups[1], "standard")
    assert "bare: no queries.parquet" in difference(groups[0], groups[2], "standard")
    table = compare.differences_table(groups)
    assert len(table) == 2 * len(MODES) and table["difference of mAP"].str.contains("data|parquet").all()


def test_the_run_that_it_started_from_counts_by_its_options(tmp_path):
    for seed in (0, 1):
        start = written(tmp_path / f"start_{seed}", seed, 0.5)
        written(tmp_path / f"a_{seed}", seed, 0.3, initial=str(start / "checkpoints" / "last.pt"))
    other = written(tmp_path / "start_other", 0, 0.6)
    written(tmp_path / "b", 0, 0.3, initial=str(other / "checkpoints" / "last.pt"))
    groups = group_runs([Run(tmp_path / name) for name in ("a_0", "a_1", "b")])
    assert [len(group.runs) for group in groups] == [2, 1]
    assert different_options(groups).index.tolist() == ["initial.method.rate"]
    assert flatten({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}


def test_bad_input(tmp_path, capsys):
    good = written(tmp_path / "good", 0, 0.3)
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").write_text("seed: 0\n")
    assert run(good, tmp_path / "begun") == 2 and "--resume" in capsys.readouterr().err
    assert run(good, tmp_path / "none") == 2 and "is no run folder" in capsys.readouterr().err
    assert run(good, tmp_path / "good") == 2 and "twice" in capsys.readouterr().err
    (tmp_path / "begun" / "results.json").write_text("{}")
    assert run(tmp_path / "begun") == 2 and "has no metrics" in capsys.readouterr().err
    assert run(good) == 0
