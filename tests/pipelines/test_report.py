"""The report of a run: made at its end and again from the folder, whole or with what is there."""
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from mprd_pyg.evaluation.group_metrics import evaluate_groups
from mprd_pyg.mprd import MPRD
from pipelines import cluster_contrast, link_prediction, mprd, paul
from pipelines.command_line import cli
from pipelines.report import __main__ as report
from pipelines.report import make_report, page
from pipelines.report.groups import describe_groups, groups, last_groups
from pipelines.report.importance import deciding_statistics
from pipelines.report.links import links
from pipelines.report.pairs import added_pairs, pair_quality
from pipelines.runs.run import Run

SMALL = ["--data.height", "48", "--data.width", "24", "--learner.batch_size", "16", "--progress", "false",
         "--accelerator", "cpu", "--pretrain", "false", "--evaluate_every", "1"]
TRUNK = ["--network.arch", "resnet18", "--network.last_stage", "2", "--network.weights", "null"]
GCN = ["--gcn.hidden", "16", "--knn.k", "4", "--meta_identities", "2", "--method.epochs", "2"]
PATCHES = ["--network", "paul.PatchNet", "--network.patches", "3", "--network.dim", "8",
           "--network.localization_width", "8", "--knn.k", "3", "--method.epochs", "1"]
HOSTILE = '"><svg onload=alert(1)>&lt;'


class Elements(HTMLParser):
    """All start tags with their attributes, and the text that is shown."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.style = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.style = tag == "style"

    def handle_endtag(self, tag):
        self.style = False

    def handle_data(self, data):
        self.text += "" if self.style else data


def run(pipeline, *argv):
    return cli.main(pipeline.make_parser(), pipeline.run, [str(part) for part in argv])


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """A folder of people, one image with a name that would be markup."""
    root = write_synthetic(tmp_path_factory.mktemp("pedestrians") / "target", identities=(7, 6), cameras=2,
                           images_per_camera=2, height=48, width=24, distractors=3, junk=0, seed=1)
    out = tmp_path_factory.mktemp("crops")
    for folder, own in (("bounding_box_train", "train"), ("query", "query"), ("bounding_box_test", "gallery")):
        (out / own).mkdir()
        for path in sorted((root / folder).glob("0*.jpg")):
            shutil.copy(path, out / own / f"p{path.name[:4]}c{path.name[6]}{HOSTILE}{path.stem[-9:]}.jpg")
    return out


@pytest.fixture(scope="module")
def finished(crops, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert run(mprd, "--data.card", "folder", "--data.root", crops, "--out", out, *SMALL, *TRUNK, *GCN,
               "--data.pattern", r"p(?P<person>\d+)c(?P<camera>\d).*") == 0
    return out


@pytest.fixture(scope="module")
def patched(tmp_path_factory):
    """A PAUL run on images within its run folder."""
    out = tmp_path_factory.mktemp("runs") / "patches"
    assert run(paul, "--data.card", "synthetic", "--out", out, *SMALL, *PATCHES, *TRUNK,
               "--synthetic.identities", "[6,5]", "--synthetic.cameras", "2", "--synthetic.images_per_camera", "2",
               "--synthetic.distractors", "0", "--synthetic.junk", "1") == 0
    return out


def check_page(path):
    """One file without references to anything outside, within its size; returns its elements."""
    text = path.read_text(encoding="utf-8")
    assert len(text) < page.LIMIT
    found = Elements(text)
    for tag, attributes in found.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "xlink:href", "srcset", "poster", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), (tag, name)
        assert not any(name.startswith("on") for name in attributes)
        assert "url(" not in re.sub(r"url\(#\w+\)", "", " ".join(str(value) for value in attributes.values()))
    style = text[text.index("<style>"):text.index("</style>")]
    assert "@import" not in style and "url(" not in style
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", text)
    return found


def test_every_part_is_there(finished, patched):
    common = {"metrics", "rankings", "curves", "pairs", "wrong", "embedding", "cameras", "run", "gaps"}
    for folder, own in ((finished, set()), (patched, {"patches"})):
        found = check_page(folder / "report.html")
        assert {attributes["id"] for tag, attributes in found.tags if tag == "section"} == common | own
        assert "could not be made" not in found.text and "Not here" not in found.text
    assert "camera style: no image was seen" in Elements((finished / "report.html").read_text()).text
    text = Elements((patched / "report.html").read_text()).text
    assert "drawn by this program" in text and "1 junk images of split 'gallery'" in text
    assert "Branch 3" in text and "pedal" in text


def test_names_of_files_stay_text(finished):
    found = Elements((finished / "report.html").read_text(encoding="utf-8"))
    assert not [attributes for _, attributes in found.tags if "onload" in attributes]
    assert any(HOSTILE in (attributes.get("alt") or "") for tag, attributes in found.tags if tag == "img")


def test_figures_are_the_run_s(finished):
    found = check_page(finished / "report.html")
    results = json.loads((finished / "results.json").read_text())
    for mode in ("standard", "cross"):
        assert f"{100 * results['metrics'][mode]['mAP']:.1f}" in found.text
    section = pair_quality(Run(finished))
    assert [block.kind for block in section.blocks] == ["pictures", "pictures", "terms"]


def test_examples_are_what_the_ranking_says(finished):
    """Counted images stand as in rankings.parquet; junk is the query's person in its camera; the query is not there."""
    lists = pd.read_parquet(finished / "evaluation" / "after" / "examples.parquet")
    ranking = pd.read_parquet(finished / "rankings.parquet").query("mode == 'standard'")
    scores = pd.read_parquet(finished / "evaluation" / "after" / "queries.parquet").query("mode == 'standard'")
    mean = json.loads((finished / "results.json").read_text())["metrics"]["standard"]["mAP"]
    assert scores["average_precision"].mean() == pytest.approx(mean)
    assert set(lists["group"]) == {"best", "median", "worst"} and lists["query"].nunique() <= 9
    best = lists[lists["group"] == "best"]["average_precision"].iloc[0]
    worst = lists[lists["group"] == "worst"]["average_precision"].iloc[0]
    assert best == scores["average_precision"].max() and worst == scores["average_precision"].min()
    for query, shown in lists.groupby("query"):
        counted = shown[shown["role"] != "junk"].set_index("rank")
        expected = ranking[ranking["query"] == query].set_index("rank")
        assert counted["gallery"].equals(expected["gallery"].loc[counted.index])
        assert ((counted["role"] == "right") == expected["correct"].loc[counted.index]).all()
        assert (shown["role"] == "right").any() and query not in set(shown["gallery"])
        start = re.search(r"p\d+c\d", query)[0]
        assert (shown["gallery"].str.contains(start) == (shown["role"] == "junk")).all()


@pytest.fixture(scope="module")
def grouped(crops, tmp_path_factory):
    """A cluster contrast run, whose groups are the connected components of nearest images."""
    out = tmp_path_factory.mktemp("runs") / "groups"
    assert run(cluster_contrast, "--data.card", "folder", "--data.root", crops, "--data.pattern",
               r"p(?P<person>\d+)c(?P<camera>\d).*", "--out", out, *SMALL, *TRUNK, "--knn.k", "2", "--method.epochs",
               "2", "--method.steps", "2", "--method.groups_per_batch", "3", "--method.images_per_group", "2",
               "--groups", "Groups", "--groups.base", "KNearest", "--groups.base.k", "1", "--groups.finder",
               "ConnectedComponents") == 0
    return out


def test_groups_are_those_of_the_last_epoch(grouped):
    opened = Run(grouped)
    label, history = last_groups(opened), opened.history
    figures = evaluate_groups(label, opened.images["person_id"].to_numpy()[:len(label)])
    assert figures.groups == history["groups/groups"].iloc[-1] > 1
    assert figures.pair_f == pytest.approx(history["groups/pair_f"].iloc[-1])
    section = groups(opened)
    assert [picture.title for picture in section.blocks[0].items][:2] == ["Groups beside people, percent",
                                                                          "Number of groups"]
    sheets = section.blocks[-1].items
    assert len(sheets) == min(figures.groups, 9) and sheets[0].title == "Largest"
    assert len(sheets[0].tiles) == min(np.bincount(label[label >= 0]).max(), 24)
    found = check_page(grouped / "report.html")
    assert "Which images it took for one person" in found.text and "could not be made" not in found.text
    assert "groups/adjusted_rand" not in found.text  # no curve a second time
    assert "Believed pairs that were added" in found.text  # groups of more than 3 images, and k = 2


def test_groups_of_unknown_people_are_shown_without_purity(grouped, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(grouped, folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"root": str(Run(grouped).image_root)}))
    pd.read_parquet(folder / "images.parquet").assign(person_id=-1).to_parquet(folder / "images.parquet")
    (folder / "checksums.json").unlink()
    sheets = groups(Run(folder)).blocks[-1].items
    assert {sheet.title for sheet in sheets} == {"Largest"} and "purity" not in sheets[0].note
    assert {tile.frame for tile in sheets[0].tiles} == {"junk"}


def test_size_and_purity_by_hand():
    label, person = np.array([4, 4, 4, 1, 1, -1, 4, 7, 7]), np.array([2, 3, 2, 5, -1, 2, -1, -1, -1])
    table = describe_groups(label, person)
    assert table.index.tolist() == [1, 4, 7] and table["size"].tolist() == [2, 4, 2]
    assert table["person"].tolist()[:2] == [5, 2] and table["purity"].tolist()[:2] == [1, 2 / 3]
    assert table.loc[7].isna()[["person", "purity"]].all()


def test_added_pairs_by_hand():
    """Of image 0 the third most similar is believed, of image 1 all three; a pair told twice counts once."""
    pairs = pd.DataFrame({"anchor": [0, 0, 0, 1, 1, 1, 1], "neighbour": [1, 2, 3, 0, 2, 3, 3],
                          "similarity": [0.9, 0.8, 0.1, 0.2, 0.5, 0.4, 0.4],
                          "believed": [False, True, True, True, True, True, True]})
    assert [added_pairs(pairs, k) for k in (1, 2, 3)] == [4, 2, 0]


@pytest.fixture(scope="module")
def linked(tmp_path_factory):
    """A run of link prediction by statistics."""
    out = tmp_path_factory.mktemp("links")
    edges = np.random.default_rng(0).integers(0, 60, (400, 2))
    near = edges[np.abs(edges[:, 0] - edges[:, 1]) < 12]
    (out / "links.csv").write_text("\n".join(f"n{a},n{b}" for a, b in near))
    assert run(link_prediction, "--graph", out / "links.csv", "--out", out / "run", "--scorer", "[boosted,logistic]",
               "--progress", "false", "--accelerator", "cpu") == 0
    return out / "run"


def test_mistakes_of_links_stand_beside_the_medians(linked):
    section = links(Run(linked))
    assert [picture.title for picture in section.blocks[0].items] == [
        "Likelihood of the test pairs", "True against false links (ROC)", "Likelihood against frequency"]
    table, values = (pd.read_parquet(linked / f"{name}.parquet") for name in ("predictions", "pair_statistics"))
    test = table["part"] == "test"
    importance = pd.read_parquet(linked / "importance.parquet").query("scorer == 'boosted'")
    names = deciding_statistics(Run(linked))[:7]
    assert importance.set_index("statistic")["auc_lost"][names].tolist() == \
        importance["auc_lost"].nlargest(7).tolist()
    worst = table[test & (table["label"] == 0)]["likelihood"].idxmax()
    for block, linked_pair in zip(section.blocks[1:], (1, 0), strict=True):
        assert block.header[3:] == [name.replace("_", " ") for name in names]
        for line, label in ((-2, 1), (-1, 0)):
            median = values.loc[test & (table["label"] == label), names].median()
            assert [float(cell.replace(",", "")) for cell in block.rows[line][3:]] == pytest.approx(
                median.to_list(), rel=5e-3)
        if not linked_pair:
            assert block.rows[0][:2] == table.loc[worst, ["source", "target"]].to_list()
            assert [float(cell.replace(",", "")) for cell in block.rows[0][3:]] == pytest.approx(
                values.loc[worst, names].to_list(), rel=5e-3)


def test_the_page_of_a_link_run(linked):
    found = check_page(linked / "report.html")
    sections = [attributes["id"] for tag, attributes in found.tags if tag == "section"]
    assert sections == ["metrics", "links", "importance", "run", "gaps"]
    assert "Boosted: AUC lost" in found.text and "Logistic: AUC lost" in found.text
    for words in ("could not be made", "Not here", "0 epochs", "photographs"):
        assert words not in found.text


def test_again_from_the_folder_alone(patched, tmp_path, capsys):
    """Moved with its images, the run gives the same page but for the time."""
    moved = tmp_path / "moved"
    shutil.copytree(patched, moved)
    (moved / "report.html").unlink()
    assert report.main([str(moved)]) == 0
    assert "report.html" in capsys.readouterr().out

    def tags(folder):
        return [(tag, attributes.get("src"), attributes.get("alt")) for tag, attributes in
                check_page(folder / "report.html").tags]
    assert tags(moved) == tags(patched)


def test_unfinished_and_bare_folders(crops, tmp_path, monkeypatch, capsys):
    def killed(self, epoch):
        raise KeyboardInterrupt
    out = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(MPRD, "end_epoch", killed)
        assert run(mprd, "--data.card", "folder", "--data.root", crops, "--out", out, *SMALL, *TRUNK, *GCN,
                   "--data.pattern", r"p(?P<person>\d+)c(?P<camera>\d).*") == 130
    assert not (out / "report.html").exists()
    text = check_page(make_report(out)).text
    assert "The run is not finished" in text and "no epoch is finished yet" in text and "0 of 2" in text
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "results.json").write_text(json.dumps({
        "pipeline": "link_prediction", "graph": {"file": "graphs/USAir.mat"}, "metrics": {"test": {"auc": 0.9}},
        "baselines": {"katz": {"test": {"auc": 0.8125}}}}))
    found = check_page(make_report(tmp_path / "bare"))
    assert "Link prediction on USAir.mat" in found.text and "probability that a true link" in found.text
    cells = re.findall(r"\d+\.\d", found.text)
    assert cells == ["90.0", "90.0", "90.0", "81.2"] and "before" not in found.text.split("Beside simpler")[0]
    (tmp_path / "bare" / "results.json").write_text(json.dumps({
        "card": "viper", "metrics": {"single_shot": {"mAP": 0.31, "mAP_sd": 0.012, "num_valid_queries": 632,
                                                     "draws": 10}}}))
    text = check_page(make_report(tmp_path / "bare")).text
    assert "31.0 ± 1.2" in text and "632" in text and "galleries drawn" in text and "_sd" not in text
    (tmp_path / "bare" / "results.json").write_text("{")
    assert report.main([str(tmp_path / "bare")]) == 2 and "results.json" in capsys.readouterr().err
    assert report.main([str(tmp_path / "nowhere")]) == 2
    assert report.main([str(crops)]) == 2 and "is no run folder" in capsys.readouterr().err


def test_what_is_gone_is_named(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"root": str(tmp_path / "gone")}))
    shutil.rmtree(folder / "pairs")
    (folder / "evaluation" / "after" / "cameras.parquet").write_bytes(b"no table")
    text = check_page(make_report(folder)).text
    assert f"are not below {tmp_path / 'gone'}" in text and "has no judged pairs" in text
    assert "cameras.parquet cannot be read, restore it" in text and "How the features lie" in text


def test_a_mistake_in_the_report_costs_nothing_else(finished, monkeypatch, caplog, tmp_path):
    from pipelines.report import try_report
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    monkeypatch.setattr(page, "builders", lambda pipeline: [("Curves", lambda run: 1 / 0)])
    assert try_report(folder) == folder / "report.html"
    assert "ZeroDivisionError" in check_page(folder / "report.html").text and "ZeroDivisionError" in caplog.text
    monkeypatch.setattr(page, "render", lambda *_: 1 / 0)
    assert try_report(folder) is None and "python -m pipelines.report" in caplog.text


def test_a_page_too_large_is_cut(finished, monkeypatch, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    monkeypatch.setattr(page, "LIMIT", (finished / "report.html").stat().st_size - 1000)
    text = check_page(make_report(folder)).text
    assert "the page would have been over 8 MB" in text


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: the page was not rendered")
def test_rendered_in_a_browser(finished, tmp_path):
    """Light and dark, on a phone: something is drawn to the end, and nothing is wider than the screen."""
    pictures = {}
    for name, options in {"light": [], "dark": ["--blink-settings=preferredColorScheme=0"]}.items():
        picture = tmp_path / f"{name}.png"
        subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                        "--disable-background-networking", "--disable-component-update", "--disable-sync",
                        "--hide-scrollbars", f"--user-data-dir={tmp_path / name}", *options,
                        f"--screenshot={picture}", "--window-size=390,6000",
                        (finished / "report.html").resolve().as_uri()], check=True, capture_output=True, timeout=240)
        pictures[name] = np.asarray(Image.open(picture).convert("L"), dtype=int)
        assert pictures[name].shape == (6000, 390)
    light, dark = pictures["light"], pictures["dark"]
    assert light[0, 0] == 255 and dark[0, 0] < 40
    assert (np.abs(light - 255) > 60).any(1).reshape(60, 100).any(1).all()  # no empty stretch of 100 pixels
    assert (light[:, -8:] == 255).all()  # the margin on the right stays free: nothing sticks out


def test_sampling_of_test_images():
    from pipelines.command_line.record import sample_rows
    person = np.array([3, -1, 5, 3, 0, 5, 5, 9])
    everything = sample_rows(person, (0,), limit=10)
    assert everything.tolist() == [0, 2, 3, 5, 6, 7]
    for limit in range(1, 6):
        rows = sample_rows(person, (0,), limit)
        assert 0 < len(rows) <= limit and (person[rows] > 0).all()
        for name in np.unique(person[rows]):  # whole identities, unless there is but one
            assert (person[rows] == name).sum() == (person == name).sum() or len(np.unique(person[rows])) == 1
    assert sample_rows(np.array([-1, -1])).tolist() == []


def test_example_queries_by_hand():
    from mprd_pyg.evaluation import evaluate_ranking
    from pipelines.command_line.record import example_queries
    # Queries of five people; the gallery holds each once in another camera, at a chosen place of the list.
    gallery = torch.eye(5)
    query = torch.tensor([[9, 1, 2, 3, 4], [5, 4, 1, 2, 3], [5, 1, 4, 2, 3], [5, 4, 3, 2, 1], [5, 4, 3, 2, 1.0]])
    ids = np.arange(5)
    result = evaluate_ranking(query, gallery, ids, ids, np.ones(5, int), np.full(5, 2))
    assert result.rank_of_first_match.tolist() == [1, 2, 2, 4, 5]
    assert example_queries(result, ids, each=1) == {"best": [0], "median": [2], "worst": [4]}
    assert example_queries(result, np.zeros(5, int), each=1) == {"best": [0], "median": [], "worst": []}


def test_nearest_patches_equal_a_slow_search():
    from pipelines.report.patches import NEAREST, nearest_patches
    rng = np.random.default_rng(0)
    features, person, camera = rng.normal(size=(20, 6)), rng.integers(0, 4, 20), rng.integers(0, 2, 20)
    near = nearest_patches(features, person, camera, 3, branches=2)
    for branch in range(2):
        part = features.astype(np.float32)[:, 3 * branch:3 * branch + 3]
        others = [i for i in range(20) if (person[i], camera[i]) != (person[3], camera[3])]
        others.sort(key=lambda i, part=part: float(((part[i] - part[3]) ** 2).sum()))
        assert near[branch].tolist() == others[:NEAREST]


def test_epochs_without_cut_neighbour_lists_count_as_none(tmp_path):
    from pipelines.report.curves import curves
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "history.csv").write_text("epoch,lr,knn/capped\n1,0.5,7\n2,0.5,\n")
    pictures, constant = curves(Run(tmp_path)).blocks
    assert [picture.title for picture in pictures.items] == ["Neighbour lists cut"]
    assert constant.text == "The same in every epoch: learning rate of the trunk 0.5."
