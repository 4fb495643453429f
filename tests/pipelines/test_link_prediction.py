"""python -m pipelines.link_prediction, whole, on small generated graphs."""
import json
import os
import re
import signal

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

from mprd_pyg.link_prediction import SEAL, common_neighbours, link_figures, read_graph, split_links
from mprd_pyg.training import load_checkpoint
from pipelines import link_prediction
from pipelines.command_line import cli

SMALL = ["--training.epochs", "2", "--training.batch_size", "20", "--progress", "false", "--accelerator", "cpu",
         "--dgcnn.widths", "[8,8]", "--dgcnn.width", "16", "--gcn.hidden", "8"]
FAST = ["--progress", "false", "--accelerator", "cpu", "--boosted.trees", "20", "--gae.hidden", "8", "--gae.epochs",
        "20", "--lpformer.hidden", "8", "--lpformer.epochs", "2"]


def run(*argv):
    return cli.main(link_prediction.make_parser(), link_prediction.run, [str(part) for part in argv])


@pytest.fixture(scope="module")
def links(tmp_path_factory):
    path = tmp_path_factory.mktemp("graph") / "links.csv"
    graph = nx.connected_watts_strogatz_graph(40, 6, 0.1, seed=1)
    path.write_text("source,target\n" + "".join(f"n{a},n{b}\n" for a, b in graph.edges))
    return path


@pytest.fixture(scope="module")
def finished(links, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run("--graph", links, "--out", out, "--scorer", "[dgcnn]", *SMALL) == 0
    return out


def test_a_run_folder_holds_everything(finished, links):
    results = json.loads((finished / "results.json").read_text())
    for part in ("validation", "test"):
        figures = results["metrics"][part]
        assert set(figures) == {"auc", "ap", "hits@10", "hits@50", "hits@100", "mrr"} and 0 <= figures["auc"] <= 1
        assert figures["hits@50"] is None  # fewer negatives than 50
        assert set(results["baselines"]) == {"common_neighbours", "adamic_adar", "resource_allocation", "ppr", "katz"}
    assert results["graph"]["nodes"] == 40 and results["graph"]["links"] == 120 and results["seed"] == 0
    assert results["counts"] == {"train": {"links": 102, "negatives": 102}, "validation": {"links": 6, "negatives": 6},
                                 "test": {"links": 12, "negatives": 12}}
    facts = results["networks"]["dgcnn"]
    assert facts["subgraphs"]["hops"] in (1, 2) and facts["best_epoch"] in (1, 2) and facts["epochs"] == 2
    history = pd.read_csv(finished / "logs" / "history.csv")
    assert len(history) == 2 and facts["best_epoch"] == history["validation/loss"].argmin() + 1
    split = split_links(read_graph(links))
    assert pd.read_parquet(finished / "split.parquet").equals(split.table())
    predictions = pd.read_parquet(finished / "predictions.parquet")
    for part in ("validation", "test"):  # the figures follow from the saved scores
        mine = predictions[predictions["part"] == part]
        again = link_figures(mine["likelihood"].to_numpy(copy=True), torch.tensor(mine["label"].to_numpy()))
        assert again["auc"] == pytest.approx(results["metrics"][part]["auc"])
        graph, pairs = split.observed(part), split.pairs[part]
        assert mine["common_neighbours"].tolist() == common_neighbours(graph, pairs).tolist()


def test_the_report_shows_links_and_nothing_of_images(finished):
    page = (finished / "report.html").read_text()
    assert "How it decides" in page and "40 nodes, 120 links, 0 features per node" in page
    assert "Not here" not in page and "could not be made" not in page and "Images" not in page
    predictions = pd.read_parquet(finished / "predictions.parquet").query("part == 'test'")
    believed_least = predictions[predictions["label"] == 1].sort_values("likelihood").iloc[0]
    listed = page.split("Links that it believed least.")[1].split("</table>")[0]
    cells = re.findall(r"<td>(.*?)</td>", listed)
    assert cells[:3] == [believed_least["source"], believed_least["target"], f"{believed_least['likelihood']:.3f}"]


def test_stopped_and_resumed_is_the_same(finished, links, tmp_path, monkeypatch):
    out, step, taken = tmp_path / "run", SEAL.training_step, []

    def interrupt(self, rows):
        taken.append(1)
        if len(taken) == 14:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, rows)
    monkeypatch.setattr(SEAL, "training_step", interrupt)
    assert run("--graph", links, "--out", out, "--scorer", "[dgcnn]", *SMALL) == 130
    assert not (out / "results.json").exists()
    monkeypatch.setattr(SEAL, "training_step", step)
    assert run("--resume", out) == 0
    one, other = (load_checkpoint(folder / "checkpoints" / "last.pt")["method"] for folder in (finished, out))
    for part in ("classifier", ("best", "weights")):
        a, b = (state[part] if part == "classifier" else state["best"]["weights"] for state in (one, other))
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert pd.read_parquet(finished / "predictions.parquet").equals(pd.read_parquet(out / "predictions.parquet"))
    before, after = (json.loads((folder / "results.json").read_text()) for folder in (finished, out))
    for key in ("metrics", "baselines", "networks", "counts"):
        assert before[key] == after[key]


def test_asked_pairs_of_a_finished_run(finished, tmp_path):
    asked = tmp_path / "asked.csv"
    asked.write_text("n0,n1\nn20,n3\nn1,n0\n")
    weights = load_checkpoint(finished / "checkpoints" / "last.pt")["method"]["classifier"]
    assert run("--resume", finished, "--pairs", asked) == 0
    table = pd.read_parquet(finished / "likelihoods.parquet")
    assert table["source"].tolist() == ["n0", "n20", "n1"] and table["linked"].tolist() == [True, False, True]
    assert table["likelihood"].between(0, 1).all()
    assert table["likelihood"][0] == pytest.approx(table["likelihood"][2], abs=1e-6)  # the order is no matter
    again = load_checkpoint(finished / "checkpoints" / "last.pt")["method"]["classifier"]
    assert all(torch.equal(weights[name], again[name]) for name in weights)


@pytest.mark.parametrize("more", [
    ["--scorer", "[max]"], ["--scorer", "[dgcnn]", "--features", "false", "--hops", "2"],
    ["--scorer", "[max]", "--statistics", "true"], ["--scorer", "[dgcnn]", "--statistics", "true"],
    ["--scorer", "[dgcnn]", "--memory_gb", "0", "--subgraphs.edges", "roots", "--subgraphs.hops", "1"]])
def test_features_heads_and_isolated_nodes(tmp_path, more):
    graph = nx.Graph([*nx.karate_club_graph().edges, (40, 41), (41, 42), (40, 42)])  # two components
    edges = np.array([*graph.edges, (3, 3), (1, 0)]).T  # a self-loop, a repeat; nodes 34 ... 39 are isolated
    x = torch.randn(43, 4, generator=torch.Generator().manual_seed(0))
    torch.save(Data(x=x, edge_index=torch.from_numpy(edges)), tmp_path / "graph.pt")
    assert run("--graph", tmp_path / "graph.pt", "--out", tmp_path / "run", *SMALL, *more) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["graph"]["features"] == (0 if "--features" in more else 4)
    assert results["graph"]["left_out"] == {"self_loops": 1, "repeats": 1}
    name = "max" if "[max]" in more else "dgcnn"
    spec = results["networks"][name]["classifier"]
    assert spec["class_path"].endswith("PairClassifier" if name == "max" else "DGCNN") and results["result"] == name
    assert spec.get("statistics") == (len(results["statistics"]) if "--statistics" in more else None)


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    """A run of all scorers and baselines with HeaRT's negatives, on a graph with features."""
    folder = tmp_path_factory.mktemp("every")
    graph = nx.planted_partition_graph(4, 15, 0.5, 0.03, seed=2)
    x = torch.rand(60, 5, generator=torch.Generator().manual_seed(0))
    torch.save(Data(x=x, edge_index=torch.tensor(list(graph.edges)).T), folder / "graph.pt")
    assert run("--graph", folder / "graph.pt", "--out", folder / "run", *SMALL, *FAST, "--negatives", "heart",
               "--negatives_each", "10", "--scorer", "[auto,logistic,boosted,dgcnn,max,mean]", "--hits", "[5]",
               "--baselines", "[ppr,gae,lpformer]", "--gae_folds", "2") == 0
    return folder / "run"


def test_every_scorer_beside_every_baseline(every):
    results = json.loads((every / "results.json").read_text())
    assert set(results["scorers"]) == {"logistic", "boosted", "dgcnn", "max", "mean"}
    assert set(results["baselines"]) == {"ppr", "gae", "lpformer"} and results["statistics"][-1] == "gae"
    for figures in (results["scorers"] | results["baselines"]).values():
        assert set(figures["test"]) == {"auc", "ap", "hits@5", "mrr", "own_hits@5"}
    worth = results["validation"]
    assert worth.pop("measure") == "mrr" and results["result"] in ("mean", max(worth, key=worth.get))
    assert worth == {name: pytest.approx(of["validation"]["mrr"]) for name, of in results["scorers"].items()}
    assert results["metrics"] == results["scorers"][results["result"]]
    predictions = pd.read_parquet(every / "predictions.parquet")
    logits = np.log(predictions[["logistic", "boosted", "dgcnn", "max"]] / (
        1 - predictions[["logistic", "boosted", "dgcnn", "max"]]))
    assert np.allclose(predictions["mean"], 1 / (1 + np.exp(-logits.mean(axis=1))))
    assert predictions["likelihood"].equals(predictions[results["result"]].rename("likelihood"))
    assert (every / "rows" / "max" / "checkpoints" / "last.pt").is_file()


def test_what_the_report_needs(every):
    predictions, statistics = (pd.read_parquet(every / f"{name}.parquet") for name in ("predictions",
                                                                                       "pair_statistics"))
    results = json.loads((every / "results.json").read_text())
    assert list(statistics) == results["statistics"] and len(statistics) == len(predictions)
    importance = pd.read_parquet(every / "importance.parquet")
    assert set(importance["scorer"]) == {"logistic", "boosted"} and len(importance) == 2 * statistics.shape[1]
    calibration = pd.read_parquet(every / "calibration.parquet").query("scorer == 'boosted' and part == 'test'")
    test = predictions[predictions["part"] == "test"]
    assert calibration["pairs"].sum() == len(test)
    for row in calibration.itertuples():
        mine = test[(test["boosted"] * 10).astype(int).clip(upper=9) == row.bin]
        assert (row.pairs, row.frequency) == (len(mine), pytest.approx(mine["label"].mean()))
        assert row.likelihood == pytest.approx(mine["boosted"].mean())


def test_fitted_classifiers_are_read_again(tmp_path, links, capsys):
    out, asked = tmp_path / "run", tmp_path / "asked.csv"
    assert run("--graph", links, "--out", out, *FAST) == 0
    before, files = pd.read_parquet(out / "predictions.parquet"), out / "checkpoints" / "statistics.pt"
    asked.write_text("n0,n1\nn20,n3\nn1,n0\n")
    written = files.read_bytes()
    assert run("--resume", out, "--pairs", asked) == 0
    assert pd.read_parquet(out / "predictions.parquet").equals(before) and files.read_bytes() == written
    table = pd.read_parquet(out / "likelihoods.parquet")
    assert table["likelihood"].between(0, 1).all() and table["likelihood"][0] == pytest.approx(table["likelihood"][2])
    config = (out / "config.yaml").read_bytes()
    assert run("--resume", out, "--seed", "1") == 2
    assert "of another run" in capsys.readouterr().err
    assert run("--resume", out, "--boosted.trees", "5") == 2
    assert (out / "config.yaml").read_bytes() == config


def test_shipped_configuration(tmp_path, links):
    assert run("--config", "link_prediction/planetoid.yaml", "--graph", links, "--out", tmp_path / "run", *FAST) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "gae" in results["baselines"] and {"hits@1", "hits@100", "mrr"} < set(results["metrics"]["test"])


def test_tiny_graph(tmp_path):
    (tmp_path / "tiny.txt").write_text("a b\nb c\nc d\nd a\nd e\n")
    for scorer in ("[auto,logistic,boosted,mean]", "[dgcnn]"):
        assert run("--graph", tmp_path / "tiny.txt", "--out", tmp_path / scorer, "--scorer", scorer, *SMALL) == 0


def test_it_learns_what_neighbours_tell(tmp_path):
    """Links within groups of a caveman graph follow from shared neighbours."""
    graph = nx.relaxed_caveman_graph(12, 8, 0.05, seed=3)
    (tmp_path / "cave.txt").write_text("".join(f"{a} {b}\n" for a, b in graph.edges))
    assert run("--graph", tmp_path / "cave.txt", "--out", tmp_path / "run", "--training.epochs", "8", "--training.lr",
               "1e-3", "--progress", "false", "--accelerator", "cpu", "--hops", "1", "--scorer", "[dgcnn]") == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]["test"]["auc"] > 0.9


def refused(capsys, tmp_path, *argv):
    out = tmp_path / "refused"
    try:
        status = run(*argv, "--out", out, "--progress", "false", "--accelerator", "cpu")
    except SystemExit as exit:
        status = exit.code
    assert status == 2 and not out.exists()
    return capsys.readouterr().err


def test_bad_input(capsys, tmp_path, links, finished):
    assert "required" in refused(capsys, tmp_path)
    assert "no graph file" in refused(capsys, tmp_path, "--graph", tmp_path / "none.csv")
    (tmp_path / "empty.txt").write_text("a a\nb b\n")
    assert "0 links between 2 nodes" in refused(capsys, tmp_path, "--graph", tmp_path / "empty.txt")
    (tmp_path / "full.txt").write_text("".join(f"{i} {j}\n" for i in range(6) for j in range(i)))
    assert "at least 3 such pairs" in refused(capsys, tmp_path, "--graph", tmp_path / "full.txt")
    (tmp_path / "asked.csv").write_text("n0,n1\nn0,m1\n")
    message = refused(capsys, tmp_path, "--graph", links, "--pairs", tmp_path / "asked.csv")
    assert "asked.csv, line 2" in message and "'m1'" in message
    assert "fractions" in refused(capsys, tmp_path, "--graph", links, "--split.test", "1.5")
    for flag, value, message in (("--sort_k", "-1", "sort_k"), ("--hits", "[0]", "K of"),
                                 ("--scorer", "[auto,mean]", "names nothing that learns"),
                                 ("--negatives", "hard", "negatives"), ("--logistic.strength", "0", "positive"),
                                 ("--dgcnn.widht", "3", "'dgcnn.width'")):
        assert message in refused(capsys, tmp_path, "--graph", links, flag, value)
    for flag, value, message in (("--training.select", "best", "'loss' or 'auc'"), ("--hops", "0", "at least 1")):
        assert message in refused(capsys, tmp_path, "--graph", links, "--scorer", "[dgcnn]", flag, value)
    assert run("--graph", links, "--out", finished, *SMALL) == 2
    assert "--resume" in capsys.readouterr().err
    kept = {name: (finished / name).read_bytes() for name in ("config.yaml", "split.parquet", "results.json")}
    assert run("--resume", finished, "--seed", "1") == 2
    assert "of another run" in capsys.readouterr().err
    assert all((finished / name).read_bytes() == content for name, content in kept.items())
