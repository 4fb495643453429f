"""--constraints in the training commands: what is said is believed, and what is wrong with the file is one line."""
import itertools
import json

import pandas as pd
import pytest

from mprd_pyg.relations import append_statements
from pipelines import cluster_contrast, mprd, patch_mprd, paul
from pipelines.command_line import cli
from pipelines.runs.run import Run

SMALL = ["--data.height", "48", "--data.width", "24", "--progress", "false", "--accelerator", "cpu", "--method.epochs",
         "1", "--network.weights", "null", "--meta_identities", "2", "--data.card", "synthetic", "--knn.k", "3",
         "--pretrain", "false"]
ONE = ["--network.arch", "resnet18", "--network.last_stage", "2", "--learner.batch_size", "8",
       "--camera_style", "none"]
SIX_PATCHES = ["--data.height", "96", "--data.width", "48"]
COMMANDS = {
    "mprd": (mprd, [*ONE, "--gcn.hidden", "8"]),
    "mprd_relation": (mprd, [*ONE, "--relation", "KNearest", "--relation.k", "2"]),
    "cluster_contrast": (cluster_contrast, [*ONE, "--groups", "Groups", "--groups.base", "KReciprocalJaccard",
                                            "--groups.finder", "ConnectedComponents"]),
    "paul": (paul, [*SIX_PATCHES, "--ipfl.r", "2"]),
    "patch_mprd": (patch_mprd, [*SIX_PATCHES, "--ipfl.r", "2", "--gcn.hidden", "8"]),
}


def run(name, root, out, *argv):
    command, options = COMMANDS[name]
    return cli.main(command.make_parser(), command.run, [
        *SMALL, *options, "--data.root", str(root), "--out", str(out), *map(str, argv)])


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_said_is_believed(name, pedestrians, tmp_path):
    root, file, out = pedestrians(identities=(5, 4)), tmp_path / "said.csv", tmp_path / "out"
    paths = sorted(f"bounding_box_train/{path.name}" for path in (root / "bounding_box_train").iterdir())
    same, different = paths[::5], (paths[0], paths[1])
    append_statements(file, [*((a, b, "same") for a, b in itertools.pairwise(same)), (*different, "different")])
    assert run(name, root, out, "--constraints", file) == 0
    opened = Run(out)
    images, pairs = opened.images["path"].iloc[:opened.rows].tolist(), opened.pairs()
    known = [path for path in same if path in images]
    assert len(known) > 1 and pairs["believed"].any()
    for path in known:
        of_image = pairs[pairs["anchor_path"] == path]
        for other in set(known) - {path}:
            line = of_image[of_image["neighbour_path"] == other]
            assert len(line) and (line["believed"] & (line["likelihood"] == 1)).all()
    apart = pairs[pairs["anchor_path"].isin(same) & (pairs["neighbour_path"] == different[1])]
    assert not apart["believed"].any() and (apart["likelihood"] == 0).all()
    assert "Constrained" in json.loads((out / "results.json").read_text()).get("relation", "Constrained")
    assert (out / "constraints.csv").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("lines, message", [
    ("a.jpg,b.jpg,same\n", "said.csv line 2: no image is called 'a.jpg'"),
    ("{0},{1},same\n{1},{2},same\n{0},{2},different\n", "line 4: {0} and {2} are said to be different, but {0} = {1}"),
], ids=["unknown", "contradiction"])
def test_a_bad_file_is_refused_before_any_work(lines, message, pedestrians, tmp_path, capsys):
    root, file = pedestrians(identities=(5, 4)), tmp_path / "said.csv"
    paths = sorted(f"bounding_box_train/{path.name}" for path in (root / "bounding_box_train").iterdir())
    file.write_text("path,other_path,verdict\n" + lines.format(*paths))
    assert run("mprd", root, tmp_path / "out", "--constraints", file) == 2
    error = capsys.readouterr().err
    assert message.format(*paths) in error and error.strip().count("\n") == 0 and not (tmp_path / "out").exists()
    assert run("mprd", root, tmp_path / "out", "--constraints", tmp_path / "none.csv") == 2
    assert "no file of constraints" in capsys.readouterr().err


def test_a_tracklet_column_makes_must_links(pedestrians, tmp_path, monkeypatch):
    root = pedestrians(identities=(5, 4))
    from pipelines.command_line import training_run
    choose = training_run.choose_meta

    def with_tracklets(*arguments):
        table = choose(*arguments)
        marked = table.assign(tracklet_id=[7 if row in (0, 5) else -1 for row in range(len(table))])
        marked.attrs = table.attrs
        return marked
    monkeypatch.setattr(training_run, "choose_meta", with_tracklets)
    assert run("mprd_relation", root, tmp_path / "out") == 0
    pairs = pd.DataFrame(Run(tmp_path / "out").pairs())
    line = pairs[(pairs["anchor"] == 0) & (pairs["neighbour"] == 5)]
    assert len(line) == 1 and line["believed"].all() and (line["likelihood"] == 1).all()
