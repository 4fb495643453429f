"""python -m pipelines.experiments link_prediction: graphs and seeds, means, baselines and published figures."""
import networkx as nx
import numpy as np
import pytest

from pipelines.experiments import link_table
from pipelines.experiments.__main__ import main


def results(auc, katz):
    return {"metrics": {"test": {"auc": auc}}, "scorers": {"boosted": {"test": {"auc": auc}}},
            "baselines": {"katz": {"test": {"auc": katz}}}}


def test_means_and_deviations_stand_beside_the_published_figures():
    text = link_table.table([("USAir.mat", results(0.9, 0.5)), ("USAir.mat", results(0.8, 0.7)),
                             ("own.csv", results(0.75, 0.25))])
    assert "| USAir.mat | the result | 2 | 85.0 ± 7.1 |" in text and "| USAir.mat | katz | 2 | 60.0 ± 14.1 |" in text
    assert "| own.csv | boosted | 1 | 75.0 |" in text and "| USAir.mat | published: SEAL |  | 96.6 |" in text
    assert "own.csv | published" not in text


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    file = tmp_path_factory.mktemp("graph") / "links.csv"
    edges = np.array(nx.connected_watts_strogatz_graph(60, 6, 0.1, seed=1).edges)
    file.write_text("".join(f"{a},{b}\n" for a, b in edges))
    return file


def test_what_is_finished_is_not_run_again(graph, tmp_path, capsys):
    argv = ["link_prediction", "--graphs", str(graph), "--seeds", "0", "1", "--out", str(tmp_path / "out"),
            "--set", "scorer=[logistic]", "baselines=[adamic_adar]"]
    assert main(argv) == 0
    text = (tmp_path / "out" / "table.md").read_text()
    assert "links.csv | logistic | 2 |" in text and "links.csv | adamic_adar | 2 |" in text
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("results.json")}
    assert len(before) == 2 and main(argv) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("results.json")} == before


def test_bad_input(tmp_path, capsys):
    assert main(["link_prediction", "--graphs", str(tmp_path / "none.csv")]) == 2
    assert "none.csv" in capsys.readouterr().err
    assert main(["link_prediction", "--graphs", str(tmp_path), "--set", "hits"]) == 2
    assert "OPTION=VALUE" in capsys.readouterr().err
