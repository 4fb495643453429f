"""python -m pipelines.subgraphs and the notebooks, on one small run."""
import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image

import pipelines
from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from mprd_pyg.graph import PairStatistics, PairSubgraphDataset
from mprd_pyg.training import load_checkpoint, save_checkpoint
from pipelines import mprd, paul, subgraphs
from pipelines.command_line import cli
from pipelines.runs.run import Run
from pipelines.subgraphs import choose_pairs, save_subgraphs

NOTEBOOKS = Path(pipelines.__file__).parent / "notebooks"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    assert cli.main(mprd.make_parser(), mprd.run, ["--config", "mprd/tiny.yaml", "--out", str(out), "--progress",
                                                   "false"]) == 0
    return out


@pytest.fixture
def folder(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


def run(*argv):
    return cli.main(subgraphs.make_parser(), subgraphs.run, [*map(str, argv), "--progress", "false"])


def drawn(folder):
    """The index, checked against the files."""
    index = pd.read_csv(folder / "subgraphs" / "index.csv")
    files = {path.name for suffix in ("png", "svg") for path in (folder / "subgraphs").glob(f"*.{suffix}")}
    assert set(index["picture"]) == files and not list((folder / "subgraphs").glob(".*"))
    return index


def test_mistakes_of_the_last_epoch_are_drawn_and_saved(folder, capsys):
    pairs = pd.read_parquet(folder / "pairs" / "epoch_003.parquet")
    wrong = pairs[pairs["believed"] != pairs["true"]]
    before = len(PairSubgraphDataset(folder / "subgraphs"))
    assert run(folder, "--number", 3) == 0
    index = drawn(folder)
    confidence = np.where(wrong["believed"], wrong["likelihood"], 1 - wrong["likelihood"])
    assert len(index) == 3 and (index["believed"] != index["truth"]).all()
    assert np.allclose(np.where(index["believed"], index["likelihood"], 1 - index["likelihood"]),
                       np.sort(confidence)[::-1][:3])
    for name in index["picture"]:
        assert Image.open(folder / "subgraphs" / name).width > 1000
    dataset = PairSubgraphDataset(folder / "subgraphs")
    found = index.merge(dataset.table, on=["epoch", "anchor", "neighbour"], suffixes=("", "_saved"))
    assert len(found) == 3 and np.allclose(found["likelihood"], found["likelihood_saved"])
    assert run(folder, "--number", 3) == 0  # all are saved by now
    assert len(PairSubgraphDataset(folder / "subgraphs")) == len(dataset) >= before
    assert "3 of 3 pairs are in" in capsys.readouterr().out and len(drawn(folder)) == 3


def test_saved_and_rebuilt_subgraphs_are_the_same(folder):
    saved = Run(folder)
    dataset = saved.subgraphs()
    last = dataset.table[dataset.table["epoch"] == 3]
    shutil.rmtree(folder / "subgraphs")
    save_subgraphs(saved, last, folder / "subgraphs")
    again = saved.subgraphs()
    names = {"anchor_path": str, "neighbour_path": str}  # categories come in the order of their first use
    pd.testing.assert_frame_equal(again.table.astype(names), last.reset_index(drop=True).astype(names))
    one, two = dataset[last.index].batch(), again.batch()
    for name in ("n_id", "z", "edge_index", "root_index", "ptr", "y", "person_id"):
        assert torch.equal(one[name], two[name]), name
    assert torch.allclose(one.edge_attr, two.edge_attr, atol=1e-6)
    assert saved.find_subgraphs(last.iloc[[2, 0]]).tolist() == [2, 0]
    assert saved.find_subgraphs(last.assign(epoch=2)).tolist() == [-1] * len(last)


def test_saved_pairs_carry_their_statistics_on_the_memory_at_the_end_of_the_epoch(finished):
    opened = Run(finished)
    saved = opened.subgraphs()
    last = saved[saved.table.index[saved.table["epoch"] == 3]]
    graph, pairs = opened.memory_graph(), torch.tensor(last.table[["anchor", "neighbour"]].to_numpy()).long()
    graph.camera_id = torch.tensor(opened.images["camera_id"].to_numpy()[:opened.rows])
    whole = pd.DataFrame(PairStatistics(last.statistic_names)(graph, pairs).numpy(), columns=last.statistic_names)
    lists = ["similarity", "rank_best", "rank_worst", "reciprocal", "density_min", "density_max", "edge_probability",
             "same_group", "reciprocal_jaccard", "camera_reciprocal_jaccard"]
    assert len(pairs) > 50 and last.statistics[lists].equals(whole[lists])
    for name in ("common_neighbours", "degree_min", "degree_max"):  # the sample's graph ends some steps away
        assert (last.statistics[name] <= whole[name]).all() and (last.statistics[name] == whole[name]).mean() > 0.8
    assert torch.equal(last.batch().pair_statistics, torch.tensor(last.statistics.to_numpy()))


def test_every_choice_of_pairs(folder, capsys):
    assert run(folder, "--pairs", "random", "--number", 2, "--format", "svg") == 0
    assert "<svg" in (folder / "subgraphs" / drawn(folder)["picture"][0]).read_text()
    assert run(folder, "--pairs", "believed", "--number", 1, "--nodes", 8) == 0
    assert drawn(folder)["believed"].sum() >= 1 and len(drawn(folder)) in (2, 3)
    assert run(folder, "--pairs", "all", "--draw", "false") == 0
    judged = pd.read_parquet(folder / "pairs" / "epoch_003.parquet")
    table = PairSubgraphDataset(folder / "subgraphs").table
    assert (table["epoch"] == 3).sum() == len(judged)
    assert run(folder, "--pairs", "0,47") == 0 and "not judged" in capsys.readouterr().err
    picture = drawn(folder).iloc[-1]
    assert (picture["anchor"], picture["neighbour"]) == (0, 47) and np.isnan(picture["likelihood"])


def test_pairs_of_an_earlier_epoch_that_are_not_saved_are_drawn_from_the_last_memory_and_not_saved(folder, capsys):
    shutil.rmtree(folder / "subgraphs")
    assert run(folder, "--epoch", 1, "--pairs", "random", "--number", 2) == 0
    output = capsys.readouterr()
    assert "is that of the checkpointed memory, epoch 3" in output.err and "0 of 2 pairs are in" in output.out
    assert set(drawn(folder)["graph_epoch"]) == {3} and set(drawn(folder)["epoch"]) == {1}
    assert not (folder / "subgraphs" / "manifest.json").exists()


def test_the_order_of_choices():
    frame = pd.DataFrame({"believed": [True, True, False, False], "truth": [False, False, True, False],
                          "likelihood": [0.7, 0.9, 0.2, 0.1], "similarity": [0.5] * 4})
    assert choose_pairs(frame, "mistakes", 2).index.tolist() == [1, 2]
    assert choose_pairs(frame, "believed", 9).index.tolist() == [1, 0]
    assert choose_pairs(frame, "random", 9, seed=1).index.sort_values().tolist() == [0, 1, 2, 3]
    unknown = frame.assign(truth=pd.array([pd.NA, pd.NA, True, pd.NA], dtype="boolean"))
    assert choose_pairs(unknown, "mistakes", 9).index.tolist() == [2]


@pytest.mark.parametrize("argv, message", [
    (["--epoch", 9], "epoch 9 has no pairs: .* has those of epochs 1, 2, 3"),
    (["--pairs", "wrong"], "mistakes, believed, random, all or ANCHOR,NEIGHBOUR"),
    (["--pairs", "4,4"], "two different images 0 ... 59"), (["--pairs", "4,60"], "two different images 0 ... 59"),
    (["--pairs", "0,59"], "image 59 is not in the graph: it has the images 0 ... 47"),  # a labelled meta image
    (["--number", 0], "--number must be at least 1"), (["--image_root", "nowhere"], "Give their folder: --image_root")])
def test_bad_requests_are_named(finished, capsys, argv, message):
    assert run(finished, *argv) == 2
    assert re.search(message, capsys.readouterr().err)


def test_folders_that_cannot_be_opened_are_named(folder, tmp_path, capsys):
    assert run(tmp_path / "none") == 2 and "is no run folder" in capsys.readouterr().err
    unknown = pd.read_parquet(folder / "images.parquet").assign(person_id=-1)
    cut = folder / "subgraphs" / "pairs-00000.arrow"
    cut.write_bytes(cut.read_bytes()[:-1])
    assert run(folder) == 2 and "pairs-00000.arrow was cut short or edited" in capsys.readouterr().err
    assert cli.main(mprd.make_parser(), mprd.run, ["--resume", str(folder)]) == 2  # before it trains
    assert "pairs-00000.arrow was cut short or edited" in capsys.readouterr().err
    shutil.rmtree(folder / "subgraphs")
    unknown.to_parquet(folder / "images.parquet")
    assert run(folder) == 2 and "images.parquet cannot be read" in capsys.readouterr().err
    (folder / "checksums.json").unlink()
    assert run(folder) == 2 and "the identities of the run's images are unknown" in capsys.readouterr().err
    checkpoint = folder / "checkpoints" / "last.pt"
    state = load_checkpoint(checkpoint)
    del state["method"]["memory"]
    save_checkpoint(checkpoint, state)
    assert run(folder, "--pairs", "random") == 2 and "holds no memory" in capsys.readouterr().err
    checkpoint.unlink()
    assert run(folder, "--pairs", "random") == 2 and "no checkpoint" in capsys.readouterr().err
    shutil.rmtree(folder / "pairs")
    assert run(folder) == 2 and "has no judged pairs: MPRD judges none" in capsys.readouterr().err
    (folder / "run.json").write_text("[]")
    assert run(folder) == 2 and "run.json cannot be read, restore it" in capsys.readouterr().err


def test_patch_pairs_of_paul_are_drawn_by_branch(tmp_path):
    root = write_synthetic(tmp_path / "people", identities=(6, 4), cameras=2, images_per_camera=2, height=48, width=24,
                           distractors=0, junk=0, seed=1)
    out = tmp_path / "paul"
    assert cli.main(paul.make_parser(), paul.run, [
        "--data.card", "synthetic", "--data.root", str(root), "--out", str(out), "--data.height", "48",
        "--data.width", "24", "--method.epochs", "1", "--learner.batch_size", "8", "--knn.k", "3", "--progress",
        "false", "--accelerator", "cpu", "--pretrain", "false", "--network", "paul.PatchNet", "--network.patches", "2",
        "--network.dim", "8", "--network.localization_width", "8", "--network.arch", "resnet18",
        "--network.last_stage", "2", "--network.weights", "null"]) == 0
    assert run(out, "--pairs", "all", "--draw", "false") == 0
    saved = PairSubgraphDataset(out / "subgraphs")
    judged = pd.read_parquet(out / "pairs" / "epoch_001.parquet")
    assert saved.table["branch"].value_counts().to_dict() == judged["branch"].value_counts().to_dict()
    assert run(out, "--pairs", "believed", "--number", "2") == 0
    assert drawn(out)["picture"].str.contains("_branch_").any() or drawn(out)["branch"].eq(0).all()


@pytest.mark.parametrize("name", ["inspect_pairs", "reuse_for_link_prediction"])
def test_notebooks_run_and_are_committed_without_outputs(name, finished, monkeypatch):
    monkeypatch.setenv("MPRD_RUN", str(finished))
    monkeypatch.setenv("PYTHONPATH", str(Path(pipelines.__file__).parent.parent))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    text = "".join(output.get("text", "") for output in outputs)
    if name == "inspect_pairs":
        assert len(pictures) >= 4 and "judged in epoch 1 and again in epoch 3" in text
        tables = "".join(output.get("data", {}).get("text/plain", "") for output in outputs)
        assert "this pair" in tables and "camera_reciprocal_jaccard" in tables
    else:
        auc = {line.rsplit("AUC")[0].strip(): float(line.split()[-1]) for line in text.splitlines() if "AUC" in line}
        assert len(pictures) == 1 and auc["pair classifier"] > 85 and auc["common neighbours"] > 75
