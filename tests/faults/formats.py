"""The file formats that the commands read: how a small file of each is written, and what is read of it."""
import json
import os
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torchvision
from PIL import Image
from scipy.io import savemat
from scipy.sparse import csc_matrix, csr_matrix
from torch_geometric.data import Data

from mprd_pyg.data import DataCard, extract
from mprd_pyg.data.cards.random_choices import recorded_split
from mprd_pyg.data.image_cache import ImageCache
from mprd_pyg.data.images import open_rgb
from mprd_pyg.data.styles.colour_statistics import CameraStatistics
from mprd_pyg.graph import KNNGraph, PairSubgraphDataset, PairSubgraphs, PairSubgraphWriter
from mprd_pyg.graph.store.store_files import MANIFEST
from mprd_pyg.link_prediction import read_graph, read_pairs
from mprd_pyg.models import ImageEmbedder
from mprd_pyg.models.trunk_by_name import build_trunk
from mprd_pyg.retrieval.gallery_files import load_gallery, save_gallery
from mprd_pyg.retrieval.gallery_index import new_index, search_index
from mprd_pyg.training import load_checkpoint, save_checkpoint
from pipelines import mprd
from pipelines.command_line import cli
from pipelines.experiments.table import load_table
from pipelines.runs.networks import load_network
from pipelines.runs.run import Run
from pipelines.runs.run_folder import CHECKSUMS, HELD, RunFolder
from tests.conftest import write_cuhk03_mat
from tests.faults.damage import change_bytes, forge_checkpoint, forge_json, forge_table

HOSTILE_MODULE = "from pathlib import Path\nfrom mprd_pyg.relations import KNearest\nclass Mine(KNearest): pass\n" \
                 "Path(__file__).with_name('executed').write_text('')\n"

@dataclass
class Format:
    """A kind of file: ``write(folder)`` returns its path, ``read(path)`` what is compared, as text or bytes."""

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    verified: bool = False  # by a checksum: other content than was written must be refused
    damage: Callable[[Path, bytes, np.random.Generator], None] = change_bytes


# -- networks and runs -----------------------------------------------------------------------------------------------

def write_checkpoint(folder: Path) -> Path:
    net = torch.nn.Linear(40, 30)
    save_checkpoint(folder / "last.pt", {
        "method": {"network": net.state_dict(), "memory": {"bank": torch.randn(1, 20, 30)}},
        "sums": {"a": 1.0, "a#": 2}, "position": {"epoch": 2, "phase": 0, "step": 0, "total": 9}, "before": {},
        "history": [{"epoch": 1, "loss": 0.5}], "random": {"cpu": torch.get_rng_state(), "cuda": []},
        "describe": {"data": "x"}})
    return folder / "last.pt"


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), value.numpy().tobytes().hex()]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def read_network(path: Path) -> Any:
    return plain(load_network(path)[0].state_dict())


def write_network(folder: Path) -> Path:
    options = {"arch": "resnet18", "last_stage": 1, "weights": None}
    network = ImageEmbedder(**options)
    save_checkpoint(folder / "net.pt", {"method": {"network": network.state_dict()}, "describe": {
        "network": {"class_path": "mprd_pyg.models.ImageEmbedder", "init_args": options}, "size": [48, 24]}})
    return folder / "net.pt"


def write_weights(folder: Path) -> Path:
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save({name: value for name, value in state.items() if name.startswith(("conv1", "bn1", "layer1"))},
               folder / "resnet18.pth")
    return folder / "resnet18.pth"


def write_run(folder: Path, name: str) -> Path:
    with HELD:
        run = RunFolder(str(folder / "run"), "x")
    run.write_text("config.yaml", "relation: {class_path: KNearest}\nmethod: {epochs: 2}\nknn: {k: 8}\n")
    run.write_json("results.json", {"metrics": {"standard": {"mAP": 0.5}}, "pipeline": "mprd", "seed": 0})
    run.write_json("run.json", {"pipeline": "mprd", "rows": 20, "root": "."})
    run.write_table("images.parquet", pd.DataFrame({
        "path": [f"{i}.jpg" for i in range(30)], "person_id": range(30), "camera_id": [0, 1] * 15}))
    run.write_table("pairs/epoch_001.parquet", pd.DataFrame({
        "anchor": range(20), "neighbour": range(10, 30), "similarity": np.linspace(0, 1, 20)}))
    run.write_arrays("evaluation/after/features.npz", features=np.random.rand(9, 5), path=np.array(["a"] * 9),
                     person_id=np.arange(9), camera_id=np.zeros(9, int))
    run.write_text("logs/history.csv", "epoch,loss\n1,0.5\n2,0.25\n")
    write_store(run.path)
    return run.path / name


def of_run(read: Callable[[Run], Any], depth: int = 0) -> Callable[[Path], str]:
    return lambda path: str(read(Run(path.parents[depth])))


def write_store(folder: Path, name: str = MANIFEST) -> Path:
    bank = torch.randn(20, 5)
    graph = KNNGraph(k=4)(bank)
    images = pd.DataFrame({"path": [f"{i}.jpg" for i in range(20)], "camera_id": [0, 1] * 10, "person_id": range(20)})
    writer = PairSubgraphWriter(folder / "subgraphs", images, folder)
    for epoch in (1, 2):
        writer.append(PairSubgraphs()(graph, graph.edge_index.T[5 * epoch:5 * epoch + 6]), epoch=epoch,
                      statistics=torch.rand(6, 2), statistic_names=("a", "b"))
    writer.set_features(bank)
    return folder / "subgraphs" / name


def read_store(path: Path) -> Any:
    store = PairSubgraphDataset(path.parent)
    tables = [store.table.to_csv(), store.statistics.to_csv()]
    return plain([store.batch().to_dict(), store[3].to_dict(), *tables]) if len(store) else tables


def write_gallery(folder: Path, name: str) -> Path:
    index = new_index(8, ("SQfp16", "Flat", "HNSW32")[np.random.randint(3)])
    index.add(np.random.rand(40, 8).astype(np.float32))
    table = pd.DataFrame({"path": [f"{i}.jpg" for i in range(40)], "bytes": range(40), "mtime_ns": range(40)})
    save_gallery(folder / "index", index, table, {
        "network": "x", "root": str(folder), "index_type": "SQfp16", "skipped": [{"path": "a", "reason": "b"}]})
    return folder / "index" / name


def read_gallery(path: Path) -> Any:
    index, table, about = load_gallery(path.parent)
    similarity, rows = search_index(index, np.eye(8, dtype=np.float32), 5)
    return [similarity.tolist(), rows.tolist(), table.to_csv(), about]


# -- settings --------------------------------------------------------------------------------------------------------

def write_text(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder / name


def write_card(folder: Path) -> Path:
    DataCard.load("msmt17").to_yaml(folder / "card.yaml")
    return folder / "card.yaml"


def read_config(path: Path) -> str:
    os.chdir(path.parent)
    (path.parent / "hostile.py").write_text(HOSTILE_MODULE)
    sys.path.insert(0, str(path.parent))
    return str(cli.parse(mprd.make_parser(), ["--resume", str(path.parent)]))


def write_colours(folder: Path) -> Path:
    CameraStatistics(torch.arange(2), torch.rand(2, 3).double(), torch.eye(3).double().repeat(2, 1, 1),
                     torch.tensor([4, 5])).save(folder / "camera_style.json", {"seed": 0})
    return folder / "camera_style.json"


# -- images and archives ---------------------------------------------------------------------------------------------

def write_image(folder: Path, name: str) -> Path:
    Image.fromarray(np.random.randint(0, 255, (48, 24, 3), dtype=np.uint8)).save(folder / name)
    return folder / name


def write_archive(folder: Path, name: str) -> Path:
    image = write_image(folder, "1.png")
    if name.endswith("zip"):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(image, "a/1.png")
    else:
        with tarfile.open(folder / name, "w:gz") as archive:
            archive.add(image, "a/1.png")
    return folder / name


def write_cache(folder: Path) -> Path:
    return cache_of(folder).ensure(progress=False).path


def cache_of(folder: Path) -> ImageCache:
    if not (folder / "0.png").is_file():
        for number in range(4):
            write_image(folder, f"{number}.png")
    frame = pd.DataFrame({"path": [f"{number}.png" for number in range(4)]})
    frame.attrs["root"] = str(folder)
    return ImageCache(frame, (24, 12), folder)


def read_cache(path: Path) -> str:
    cache = cache_of(path.parent).ensure(progress=False)
    return cache.store(pd.DataFrame({"path": cache.names})).batch(range(4)).numpy().tobytes().hex()


def write_extraction(folder: Path, name: str) -> Path:
    extract(write_archive(folder, "x.zip"), folder / "out", progress=False)
    record = folder / "out" / "x.zip.extracted.json"
    if name.endswith("extracting"):  # as an extraction that was stopped leaves it
        whole = json.loads(record.read_text())
        record.unlink()
        (folder / "out" / name).write_text("".join(json.dumps(line) + "\n" for line in (
            whole["source"], *([path, *known] for path, known in whole["files"].items()))))
    return folder / "out" / name


def read_archive(path: Path) -> str:
    outside = set(path.parent.iterdir())
    record = extract(path, path.parent / "out", progress=False)
    if set(path.parent.iterdir()) - outside - {path.parent / "out"}:
        (path.parent / "executed").write_text("written outside")
    return str(record["files"])


# -- graphs ----------------------------------------------------------------------------------------------------------

def write_graph(folder: Path, kind: str) -> Path:
    edges = np.array([[i, (i * i + 3) % 30] for i in range(30)])
    path = folder / f"graph.{kind}"
    matrix = csc_matrix((np.ones(30), edges.T), shape=(30, 30))
    if kind == "mat":
        savemat(path, {"net": matrix}, do_compression=bool(np.random.randint(2)))
    elif kind == "pt":
        torch.save(Data(edge_index=torch.from_numpy(edges.T.copy()), x=torch.rand(30, 4)), path)
    elif kind == "txt":
        path.write_text("".join(f"n{i} n{j}\n" for i, j in edges))
    else:
        path = folder / f"ind.x.{kind}"
        (folder / "ind.x.graph").write_bytes(pickle.dumps({int(i): [int(j)] for i, j in edges}, protocol=2))
        (folder / "ind.x.allx").write_bytes(pickle.dumps(csr_matrix(np.random.rand(25, 6)), protocol=2))
        (folder / "ind.x.tx").write_bytes(pickle.dumps(csr_matrix(np.random.rand(5, 6)), protocol=2))
        (folder / "ind.x.test.index").write_text("25 26 27 28 29")
    return path


def read_any_graph(path: Path) -> str:
    graph = read_graph(path)
    return graph.fingerprint


def read_asked(path: Path) -> str:
    return str(read_pairs(path, read_graph(write_graph(path.parent, "txt"))))


SPLITS = '{"test": [["a", "b"], ["b"]]}'
TABLE = """title: "Row by row"
pipeline: mprd
metrics: [rank1, mAP]
rows:
  - {name: "k = 8", options: {knn.k: 8}, published: {market1501: [50, 40.5]}}
  - {name: direct, direct: true}
"""
RUN_FILES = {  # name, how it is read, how deep it lies
    "images.parquet": (lambda run: run.images.to_csv(), 0),
    "pairs/epoch_001.parquet": (lambda run: run.pairs().to_csv(), 1)}
STORE = ("pairs-00000.arrow", "images.arrow", "features-0.npy", "manifest.json")
GALLERY = ("index-000001.faiss", "images-000001.parquet", "gallery.json")
FORMATS = {
    "checkpoint": Format(write_checkpoint, lambda path: plain(dict(load_checkpoint(path))), True),
    "checkpoint, forged": Format(write_checkpoint, lambda path: plain(dict(load_checkpoint(path))),
                                 damage=forge_checkpoint),
    "network": Format(write_network, read_network, True),
    "network, forged": Format(write_network, read_network, damage=forge_checkpoint),
    "weights": Format(write_weights, lambda path: len(build_trunk("resnet18", 1, 1, str(path)).state_dict())),
    **{f"table {name}": Format(partial(write_run, name=name), of_run(read, depth), True)
       for name, (read, depth) in RUN_FILES.items()},
    **{f"table {name}, forged": Format(partial(write_run, name=name), of_run(read, depth), damage=forge_table)
       for name, (read, depth) in RUN_FILES.items()},
    "arrays": Format(lambda f: write_run(f, "evaluation/after/features.npz"),
                     of_run(lambda run: {k: v.tolist() for k, v in run.features("after").items()}, 2), True),
    "results": Format(lambda f: write_run(f, "results.json"), of_run(lambda run: (run.results, run.record))),
    "checksums": Format(lambda f: write_run(f, CHECKSUMS), of_run(lambda run: run.images.to_csv())),
    "history": Format(lambda f: write_run(f, "logs/history.csv"), of_run(lambda run: run.history, 1)),
    "options": Format(lambda f: write_run(f, "config.yaml"), of_run(lambda run: run.options)),
    **{f"pair store {name}": Format(partial(write_store, name=name), read_store, True) for name in STORE},
    **{f"pair store {name}, forged": Format(partial(write_store, name=name), read_store, damage=forge_json)
       for name in STORE},
    **{f"gallery {name}": Format(partial(write_gallery, name=name), read_gallery, True) for name in GALLERY},
    **{f"gallery {name}, forged": Format(partial(write_gallery, name=name), read_gallery, damage=forge_json)
       for name in GALLERY[1:]},
    "configuration": Format(lambda f: write_run(f, "config.yaml"), read_config),
    "card": Format(write_card, lambda path: str(DataCard.load(str(path)))),
    "table of experiments": Format(lambda f: write_text(f, "table.yaml", TABLE), lambda path: load_table(str(path))),
    "splits": Format(lambda f: write_text(f, "splits.json", SPLITS), lambda path: recorded_split(path, 1, {"a", "b"})),
    "camera colours": Format(write_colours, lambda path: CameraStatistics.load(path, {"seed": 0})),
    **{kind: Format(partial(write_image, name=f"x.{kind}"), lambda path: open_rgb(path).tobytes().hex())
       for kind in ("png", "jpg", "bmp", "tif", "gif", "webp")},
    "image cache": Format(write_cache, read_cache, True),
    **{kind: Format(partial(write_archive, name=f"x.{kind}"), read_archive) for kind in ("zip", "tar.gz")},
    "cuhk-03.mat": Format(lambda folder: write_cuhk03_mat(folder / "cuhk-03.mat"), read_archive),
    **{f"extraction {kind}": Format(partial(write_extraction, name=f"x.zip.{kind}"), lambda path: extract(
        path.parents[1] / "x.zip", path.parent, progress=False)) for kind in ("extracted.json", "extracting")},
    **{f"graph {kind}": Format(partial(write_graph, kind=kind), lambda path: read_any_graph(
        path if path.suffix in (".mat", ".pt", ".txt") else path.with_name("ind.x.graph")))
       for kind in ("mat", "pt", "txt", "graph", "allx", "tx", "test.index")},
    "asked pairs": Format(lambda folder: write_text(folder, "asked.csv", "n1,n2\nn3,n4\n"), read_asked)}
