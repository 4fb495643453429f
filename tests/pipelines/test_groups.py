"""python -m pipelines.groups, whole, on a checkpoint without training."""
import html
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mprd_pyg.data.views import plain_view
from mprd_pyg.grouping import GroupFolder
from mprd_pyg.models import ImageEmbedder
from mprd_pyg.relations import Constraints
from mprd_pyg.training import save_checkpoint
from pipelines import groups
from pipelines.command_line import cli
from pipelines.groups import open_groups
from pipelines.report.group_page import choose
from pipelines.search import open_search

SIZE, OPTIONS = [32, 16], {"arch": "resnet18", "last_stage": 1, "weights": None}
COLOURS = ["red", "lime", "blue", "yellow", "white"]


def checkpoint(path, seed=0):
    torch.manual_seed(seed)
    network = ImageEmbedder(**OPTIONS)
    save_checkpoint(path, {"describe": {"network": {"class_path": "mprd_pyg.models.ImageEmbedder",
                                                    "init_args": OPTIONS}, "size": SIZE},
                           "method": {"network": network.state_dict()}})
    return path


def paint(folder, colours, images, first=0):
    """Images of one colour each, with noise; 4_0002.png is number 2 of the fifth."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in colours:
        base = np.asarray(Image.new("RGB", (16, 32), COLOURS[name]), dtype=float)
        for i in range(first, first + images):
            noise = np.random.default_rng([name, i]).normal(0, 25, base.shape)
            Image.fromarray((base + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{name}_{i:04d}.png")
    return folder


def run(*argv):
    try:
        return cli.main(groups.make_parser(), groups.run, [
            *map(str, argv), "--progress", "false", "--accelerator", "cpu", "--finder", "ConnectedComponents"])
    except SystemExit as exit:  # the parser's own errors
        return exit.code


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A checkpoint, a gallery of four individuals, its groups, and what embedded it."""
    root = tmp_path_factory.mktemp("groups")
    file = checkpoint(root / "last.pt")
    gallery = paint(root / "crops", range(4), 10)
    (gallery / "notes.txt").write_text("no image")
    assert run("--checkpoint", file, "--gallery", gallery, "--out", root / "out") == 0
    return root


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made / "out", tmp_path / "out")
    return tmp_path / "out"


def test_from_crops_to_groups_and_a_page(made, capsys):
    table = pd.read_parquet(made / "out" / "groups.parquet")
    pd.testing.assert_frame_equal(pd.read_csv(made / "out" / "groups.csv"), table, check_dtype=False, atol=1e-4)
    assert {"path", "group", "confidence", "verdict", "uncertain"} <= set(table)
    colour = table["path"].str[0]
    assert (table.groupby(colour)["group"].nunique() == 1).all() and table["group"].nunique() == 4
    assert table["confidence"].between(0, 1).all() and set(table["verdict"]) == {"member"}
    page = (made / "out" / "groups.html").read_text()
    for number in table["group"].unique():
        assert f'id="group-{number}"' in page
    shown = {html.unescape(title).split(",")[0] for title in re.findall(r'class="tile[^"]*" title="([^"]*)"', page)}
    assert shown == set(table["path"]) and "http://" not in page and "https://" not in page
    # the features are those of the network
    folder = GroupFolder(made / "out")
    network = ImageEmbedder(**OPTIONS)
    network.load_state_dict(torch.load(made / "last.pt", weights_only=True)["method"]["network"])
    with torch.no_grad():
        pixels = [np.array(Image.open(made / "crops" / path)) for path in table["path"][:3]]
        views = torch.stack([plain_view()(torch.from_numpy(image).permute(2, 0, 1)) for image in pixels])
        x = network.eval()(views).flatten(1)
    torch.testing.assert_close(folder.files.features[:3], torch.nn.functional.normalize(x, dim=1), atol=1e-5, rtol=0)


def test_new_images_join_or_found_groups_and_the_old_are_not_embedded_again(copied, tmp_path, capsys, monkeypatch):
    before = pd.read_parquet(copied / "groups.parquet")
    more = paint(tmp_path / "more", [1], 3, first=50)
    paint(more, [4], 9)
    seen = []
    forward = ImageEmbedder.forward
    monkeypatch.setattr(ImageEmbedder, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    assert run("--add", more, "--out", copied) == 0
    text = capsys.readouterr().out
    assert sum(seen) == 12 and "12 images added, 3 of them to groups that were there" in text
    after = pd.read_parquet(copied / "groups.parquet")
    assert after["path"][:40].tolist() == before["path"].tolist()
    assert after["group"][:40].tolist() == before["group"].tolist()
    old = before["group"][before["path"].str[0] == "1"].iloc[0]
    assert (after["group"][40:43] == old).all() and (after["group"][43:] == after["group"].iloc[43]).all()
    assert after["group"].iloc[43] not in set(before["group"]) and after["root"].iloc[-1] == str(more.resolve())
    assert f'id="group-{after["group"].iloc[43]}"' in (copied / "groups.html").read_text()
    seen.clear()
    assert run("--add", more, "--out", copied) == 0 and not seen  # nothing is new


def test_constraints_in_the_library_tell_what_they_merge(copied, made):
    folder = GroupFolder(copied)
    one, other = folder.images["group"].iloc[[0, 10]]
    update = folder.group(Constraints(torch.tensor([[0], [10]]), torch.tensor([[20], [21]]), 40))
    gone, stays = max(one, other), min(one, other)
    told = [str(change) for change in update.changes]
    assert f"group {gone} was merged into group {stays} (10 images)" in told
    again = GroupFolder(copied).images["group"]
    assert (again[:20] == stays).all() and again[20] != again[21]


def test_constraints_of_a_file_join_and_part_groups(made, tmp_path, capsys):
    said = tmp_path / "constraints.csv"
    said.write_text("path,other_path,verdict\n0_0000.png,1_0000.png,same\n2_0000.png,2_0001.png,different\n")
    base = ("--checkpoint", made / "last.pt", "--gallery", made / "crops")
    assert run(*base, "--out", tmp_path / "out", "--constraints", said) == 0
    group = pd.read_parquet(tmp_path / "out" / "groups.parquet").set_index("path")["group"]
    assert group["0_0000.png"] == group["1_0000.png"] == group["1_0009.png"]
    assert group["2_0000.png"] != group["2_0001.png"]
    said.write_text("path,other_path,verdict\nnone.png,1_0000.png,same\n")
    assert run(*base, "--out", tmp_path / "bad", "--constraints", said) == 2
    assert "none.png" in capsys.readouterr().err


def test_an_interrupted_embedding_goes_on(made, tmp_path, monkeypatch):
    from mprd_pyg.grouping import group_folder
    from mprd_pyg.retrieval import embedded_files
    monkeypatch.setattr(group_folder, "SAVE", 8)
    whole = embedded_files.embed_files

    def small_parts(*args):
        for number, part in enumerate(whole(*args, chunk=8)):
            if number == 3:
                raise KeyboardInterrupt
            yield part
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(group_folder, "embed_files", small_parts)
        assert run("--checkpoint", made / "last.pt", "--gallery", made / "crops", "--out", out) == 130
    with open(out / "features.f32", "ab") as file:
        file.write(b"what a killed process left")
    assert len(GroupFolder(out)) == 24
    seen = []
    forward = ImageEmbedder.forward
    monkeypatch.setattr(ImageEmbedder, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    assert run("--checkpoint", made / "last.pt", "--gallery", made / "crops", "--out", out) == 0
    assert sum(seen) == 16
    columns = ["path", "group", "verdict"]
    pd.testing.assert_frame_equal(pd.read_parquet(out / "groups.parquet")[columns],
                                  pd.read_parquet(made / "out" / "groups.parquet")[columns])


def test_a_search_index_is_read_instead_of_embedding(made, tmp_path, monkeypatch):
    search = open_search(made / "last.pt", tmp_path / "index", made / "crops", accelerator="cpu", progress=False)
    assert len(search) == 40
    monkeypatch.setattr(ImageEmbedder, "forward", None)
    assert run("--checkpoint", made / "last.pt", "--gallery", made / "crops", "--index", tmp_path / "index", "--out",
               tmp_path / "out") == 0
    assert pd.read_parquet(tmp_path / "out" / "groups.parquet")["group"].nunique() == 4


def test_known_identities_check_the_groups(made, tmp_path):
    folder = open_groups(tmp_path / "out", made / "last.pt", accelerator="cpu", progress=False)
    frame = pd.DataFrame({"path": sorted(path.name for path in (made / "crops").glob("*.png"))})
    folder.embed(made / "crops", frame.assign(person_id=frame["path"].str[0].astype(int), camera_id=0))
    folder.group()
    figures = folder.metrics()
    assert figures["pair_f"] == figures["bcubed_f"] == figures["adjusted_rand"] == 1 and figures["identities"] == 4
    assert figures["estimated_individuals"] == 4 and folder.about["threshold_from"] == "identities"


def test_what_cannot_be_grouped_is_told_in_one_line(made, copied, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    other, file, crops = checkpoint(tmp_path / "other.pt", seed=1), made / "last.pt", made / "crops"
    cut = tmp_path / "cut"
    shutil.copytree(copied, cut)
    with open(cut / "features.f32", "rb+") as features:
        features.truncate(1000)
    for argv, message in (
            (["--out", tmp_path / "a"], "nothing to group: give a run folder, or --checkpoint FILE and --gallery"),
            (["--checkpoint", file, "--out", tmp_path / "b"], "nothing to group"),
            (["--checkpoint", file, "--gallery", tmp_path / "empty", "--out", tmp_path / "c"], "no readable image"),
            (["--add", crops, "--out", tmp_path / "empty"], "--add needs --out DIR, the folder of an earlier call"),
            (["--add", crops, "--out", copied, "--checkpoint", other], "was made with another network"),
            (["--add", crops, "--out", cut], "features.f32 was cut short or edited: it has 1,000 bytes"),
            (["--checkpoint", file, "--gallery", crops, "--split", "train"], "--split is of a data card")):
        assert run(*argv) == 2, argv
        error = capsys.readouterr().err.strip()
        assert message in error and "\n" not in error, error
    with pytest.raises(ValueError, match="is no groups folder: groups.json is not there"):
        GroupFolder(tmp_path / "empty")


def test_uncertain_images_are_shown_of_large_groups():
    uncertain = np.zeros(30, dtype=bool)
    uncertain[25:] = True
    assert choose(np.arange(30), uncertain, 8).tolist() == [0, 1, 2, 3, 25, 26, 27, 28]
    assert choose(np.arange(10, 18), uncertain, 8).tolist() == list(range(10, 18))
    assert choose(np.arange(22, 30), uncertain, 5).tolist() == [22, 23, 24, 25, 26]
