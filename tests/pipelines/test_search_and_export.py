"""python -m pipelines.search and pipelines.export, whole, on a checkpoint without training."""
import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mprd_pyg.data.pedestrian.synthetic import write_synthetic
from mprd_pyg.data.views import plain_view
from mprd_pyg.models import ImageEmbedder
from mprd_pyg.training import save_checkpoint
from paul import PatchNet
from pipelines import export, search
from pipelines.command_line import cli
from pipelines.runs.networks import load_network
from pipelines.search import open_search

SIZE = [32, 16]
SPECS = {
    "stripes of an ImageEmbedder": ("mprd_pyg.models.ImageEmbedder", {"stripes": 2, "center_weight": 4.0}),
    "pgn": ("paul.PatchNet", {"patches": 3, "dim": 8, "localization_width": 16}),
    "stripes": ("paul.PatchNet", {"patches": 3, "dim": 8, "scheme": "stripes"}),
    "random": ("paul.PatchNet", {"patches": 3, "dim": 8, "scheme": "random"}),
}


def checkpoint(path, which):
    class_path, options = SPECS[which]
    options = options | {"arch": "resnet18", "last_stage": 1, "weights": None}
    torch.manual_seed(0)
    network = (PatchNet if "Patch" in class_path else ImageEmbedder)(**options)
    if which == "pgn":  # patches of its own for each image, some beyond the image's border
        with torch.no_grad():
            network.generator.localization[-1].weight.normal_(0, 0.3)
            network.generator.localization[-1].bias.add_(0.3 * torch.randn(18))
    for _ in range(3):  # BatchNorm statistics that are not those of a new network
        network(torch.randn(8, 3, *SIZE))
    save_checkpoint(path, {"describe": {"network": {"class_path": class_path, "init_args": options}, "size": SIZE},
                           "method": {"network": network.state_dict()}})
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("pedestrians") / "target", identities=(3, 3), cameras=2,
                           images_per_camera=2, height=64, width=32, distractors=0, junk=0)


def run(pipeline, *argv):
    try:
        return cli.main(pipeline.make_parser(), pipeline.run, [*map(str, argv), "--progress", "false"])
    except SystemExit as exit:  # the parser's own errors
        return exit.code


def test_search_from_the_command_line(tmp_path, root, capsys):
    file = checkpoint(tmp_path / "last.pt", "pgn")
    (root / "bounding_box_test" / "readme.txt").write_text("no image")
    query = sorted((root / "query").iterdir())[:2]
    both = ["--checkpoint", file, "--index", tmp_path / "index", "--accelerator", "cpu"]
    assert run(search, *both, "--gallery", root / "bounding_box_test", "--query", *query, "--top", 3,
               "--out", tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "6 added, 0 changed, 0 removed, 0 kept, 1 skipped" in text and "skipped readme.txt: cannot" in text
    hits = pd.read_csv(tmp_path / "out" / "hits.csv")
    assert hits["rank"].tolist() == [1, 2, 3] * 2 and hits["query"].unique().tolist() == [str(path) for path in query]
    with Image.open(tmp_path / "out" / "sheet.png") as sheet:
        assert sheet.width > 4 * 80 and np.asarray(sheet).std() > 10

    # the same in Python, against the plain product of test features
    found = open_search(file, tmp_path / "index", accelerator="cpu", progress=False).search(query, top=3)
    network, _ = load_network(file)
    store = open_search(file, tmp_path / "index", accelerator="cpu")
    paths = [str(root / "bounding_box_test" / path) for path in store.table["path"]]
    with torch.no_grad():
        x = [torch.nn.functional.normalize(network.eval()(torch.stack([
            plain_view()(export.read_image(path, SIZE)) for path in part])).flatten(1)) for part in (query, paths)]
    best = (x[0] @ x[1].T).topk(3)
    assert found["path"].tolist() == [store.table["path"][i] for i in best.indices.flatten().tolist()]
    np.testing.assert_allclose(found["similarity"], best.values.flatten(), atol=2e-3)
    np.testing.assert_allclose(hits["similarity"], found["similarity"], atol=1e-5)

    (tmp_path / "broken.jpg").write_text("no image")
    assert run(search, *both, "--query", tmp_path / "broken.jpg") == 2
    assert "broken.jpg cannot be read" in capsys.readouterr().err
    assert run(search, *both) == 2 and "nothing to do" in capsys.readouterr().err
    other = checkpoint(tmp_path / "other.pt", "stripes")
    assert run(search, "--checkpoint", other, "--index", tmp_path / "index", "--query", query[0]) == 2
    assert "another network" in capsys.readouterr().err
    state = torch.load(other, weights_only=True)
    state["describe"]["network"]["init_args"]["of_tomorrow"] = 1
    save_checkpoint(other, state)
    assert run(search, "--checkpoint", other, "--index", tmp_path / "index", "--query", query[0]) == 2
    assert "another version of this library" in capsys.readouterr().err


@pytest.mark.parametrize("which", [which for which in SPECS if which != "stripes"])  # that one is used below
def test_the_exported_programs_equal_the_network(tmp_path, root, which):
    onnx = which in ("stripes of an ImageEmbedder", "pgn")
    file, out = checkpoint(tmp_path / "last.pt", which), tmp_path / "out"
    assert run(export, "--checkpoint", file, "--out", out, "--images", root / "bounding_box_train", "--count", 5,
               "--batch_sizes", "[1, 3]", "--onnx", onnx) == 0
    about, check = json.loads((out / "export.json").read_text()), pd.read_csv(out / "check.csv")
    assert about["mean"] == [0.485, 0.456, 0.406] and [about["height"], about["width"]] == SIZE
    assert len(check) == 5 * 2 * (1 + onnx) and check["cosine"].min() > 0.999999
    # features differ between images, or the check would mean nothing
    assert all(figures["nearest_other_image"] < 0.99999 for figures in about["check"])
    # the files by themselves, as their user would open them
    network, _ = load_network(file)
    images = torch.randn(4, 3, *SIZE)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(network.eval()(images).flatten(1)).numpy()
    program = torch.export.load(out / "embedder.pt2").module()
    np.testing.assert_allclose(program(images).numpy(), expected, atol=1e-5)
    if onnx:
        import onnxruntime
        session = onnxruntime.InferenceSession(str(out / "embedder.onnx"), providers=["CPUExecutionProvider"])
        assert session.get_inputs()[0].shape == ["batch", 3, *SIZE]
        np.testing.assert_allclose(session.run(["features"], {"images": images.numpy()})[0], expected, atol=1e-5)
        metadata = session.get_modelmeta().custom_metadata_map
        assert json.loads(metadata["std"]) == about["std"] and metadata["height"] == "32"


def test_a_program_that_differs_is_refused(tmp_path, root, capsys, monkeypatch):
    file, out = checkpoint(tmp_path / "last.pt", "stripes"), tmp_path / "out"
    right = export.cosines

    def wrong(original, exported, images, batch_sizes, progress):
        def shifted(images):  # one image of a batch of three comes out slightly wrong
            x = original(images)
            return torch.cat([x[:2], x[2:] + 0.2 * x[:1]]) if len(x) == 3 else x
        return right(original, exported | {"ONNX": shifted}, images, batch_sizes, progress)

    monkeypatch.setattr(export, "cosines", wrong)
    argv = ["--checkpoint", file, "--out", out, "--images", root / "bounding_box_train", "--count", 3,
            "--batch_sizes", "[1, 3]", "--onnx", "false"]
    assert run(export, *argv) == 2
    message = capsys.readouterr().err
    assert "the ONNX program differs" in message and "batch size 3" in message
    assert not (out / "export.json").exists() and not (out / "embedder.pt2").exists()
    assert run(export, "--checkpoint", file, "--out", out) == 2
    assert "--images DIR" in capsys.readouterr().err
    assert run(export, "--checkpoint", file, "--out", out, "--images", tmp_path / "none") == 2
    assert "none" in capsys.readouterr().err
