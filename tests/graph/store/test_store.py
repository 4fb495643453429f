"""Saved pair subgraphs: what is read is what was written, or nothing."""
import json
import os
import pickle
import random
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from mprd_pyg.graph import KNNGraph, PairSubgraphDataset, PairSubgraphs, PairSubgraphWriter
from mprd_pyg.graph.store import format as store_format

GRAPH = ("n_id", "z", "edge_index", "root_index")


@st.composite
def graphs_and_pairs(draw):
    """Any directed graph: self-loops, repeats, isolated nodes; any pairs with i != j."""
    n = draw(st.integers(2, 12))
    node = st.integers(0, n - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=30))
    pairs = draw(st.lists(st.tuples(node, node).filter(lambda p: p[0] != p[1]), min_size=1, max_size=8))
    edge_index = torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T
    return Data(edge_index=edge_index, num_nodes=n), torch.tensor(pairs)


def same(one, two, keys=GRAPH):
    for key in keys:
        assert one[key].dtype == two[key].dtype and torch.equal(one[key], two[key]), key
    assert one.num_nodes == two.num_nodes


@given(graphs_and_pairs(), st.sampled_from(["roots", "induced"]), st.integers(1, 2), st.booleans(), st.data())
@settings(deadline=None, max_examples=40)
def test_any_graph_comes_back_by_item_slice_mask_batch_and_loader(tmp_path_factory, case, edges, hops, weights, data):
    graph, pairs = case
    folder = tmp_path_factory.mktemp("store") / "s"
    batch = PairSubgraphs(edges=edges, hops=hops)(graph, pairs)
    keys = GRAPH
    if weights:
        batch.edge_attr = torch.rand(batch.num_edges)
        batch._slice_dict["edge_attr"] = batch._slice_dict["edge_index"]
        batch._inc_dict["edge_attr"] = torch.zeros(len(pairs), dtype=torch.long)
        keys = (*GRAPH, "edge_attr")
    cut = data.draw(st.integers(0, len(pairs) - 1))
    graphs = batch.to_data_list()
    writer = PairSubgraphWriter(folder)
    for part in (graphs[:cut], graphs[cut:]):  # in one append or in two
        if part:
            writer.append(Batch.from_data_list(part), similarity=torch.rand(len(part)))
    dataset = PairSubgraphDataset(folder)
    assert len(dataset) == len(pairs) == len(writer)
    assert dataset.table[["anchor", "neighbour"]].to_numpy().tolist() == pairs.tolist()
    for one, read in zip(graphs, dataset, strict=True):
        same(one, read, keys)
        assert read.n_id[read.root_index].tolist()[0] in pairs.tolist()
    asked = data.draw(st.lists(st.integers(-len(pairs), len(pairs) - 1), min_size=1, max_size=8))
    expected = Batch.from_data_list([graphs[i] for i in asked])
    mask = torch.zeros(len(pairs), dtype=torch.bool).index_fill_(0, torch.tensor(asked), True)
    whole = (*keys, "batch", "ptr")
    for read in (dataset.batch(asked), dataset[asked].batch(), dataset[torch.tensor(asked)].batch(slice(None)),
                 next(iter(DataLoader(dataset[np.array(asked)], batch_size=len(asked)))),
                 next(iter(dataset[asked].loader(len(asked))))):
        same(expected, read, whole)
        for i, one in enumerate(read.to_data_list()):
            same(graphs[asked[i]], one, keys)
    assert dataset[asked].table["anchor"].tolist() == pairs[asked, 0].tolist()
    same(Batch.from_data_list([graphs[i] for i in mask.nonzero().flatten()]), dataset[mask].batch(), whole)
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(pairs)), st.integers(0, len(pairs)))))
    assert len(dataset[start:stop]) == stop - start
    if stop > start:
        same(graphs[start], dataset[start:stop][0], keys)


@pytest.fixture(scope="module")
def parts():
    """Two batches of subgraphs with what is known of their pairs, and the images behind them."""
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    pairs = KNNGraph(k=4)(x).edge_index.flip(0).T
    images = pd.DataFrame({"path": [f"train/{i:02d}.jpg" for i in range(60)], "camera_id": np.arange(60) % 2,
                           "person_id": np.arange(60) // 3 - 1})  # the first three are unknown people
    graph = KNNGraph(k=4)(x)
    return PairSubgraphs()(graph, pairs[:50]), PairSubgraphs()(graph, pairs[50:80]), images, x


@pytest.fixture
def store(parts, tmp_path):
    one, two, images, x = parts
    writer = PairSubgraphWriter(tmp_path / "store", images=images, image_root=tmp_path / "images", about={"k": 4})
    writer.append(one, likelihood=torch.linspace(0, 1, 50), believed=torch.arange(50) > 20, epoch=1)
    writer.append(two, similarity=torch.linspace(-1, 1, 30), epoch=torch.full((30,), 2), branch=1)
    writer.set_features(torch.stack([x, 2 * x]), epoch=2)
    return tmp_path / "store"


def test_table_features_and_labels_are_joined(store, parts):
    one, two, images, x = parts
    dataset = PairSubgraphDataset(store)
    table = dataset.table
    assert list(table) == ["anchor", "neighbour", "anchor_path", "neighbour_path", "anchor_camera",
                           "neighbour_camera", "similarity", "likelihood", "believed", "truth", "epoch", "branch"]
    person = images["person_id"].to_numpy()
    for i in (0, 17, 49, 50, 79):
        row, graph = table.iloc[i], dataset[i]
        a, b = int(row["anchor"]), int(row["neighbour"])
        assert graph.n_id[graph.root_index].tolist() == [[a, b]]
        assert row["anchor_path"] == f"train/{a:02d}.jpg" and row["neighbour_camera"] == b % 2
        unknown = min(person[a], person[b]) < 0
        assert pd.isna(row["truth"]) if unknown else row["truth"] == (person[a] == person[b])
        assert graph.y.item() == (-1 if unknown else int(person[a] == person[b]))
        assert graph.path == [str(store.parent / "images" / images["path"][int(n)]) for n in graph.n_id]
        assert graph.person_id.tolist() == person[graph.n_id].tolist()
        assert torch.equal(graph.x, x[graph.n_id] * (1 if i < 50 else 2))  # by branch
    assert table["epoch"].tolist() == [1] * 50 + [2] * 30 and table["branch"].tolist() == [0] * 50 + [1] * 30
    assert table["likelihood"].isna().sum() == 30 and table["believed"].isna().sum() == 30
    assert dataset[5].likelihood.item() == pytest.approx(5 / 49) and not dataset[60].believed
    batch = dataset.batch([3, 70])
    assert torch.equal(batch.x, torch.cat([dataset[3].x, dataset[70].x])) and batch.epoch.tolist() == [1, 2]
    assert torch.equal(batch[1].person_id, dataset[70].person_id)
    picked = dataset[table.index[table["believed"].fillna(False) & (table["epoch"] == 1)]]
    assert len(picked) == 29 and bool(picked.table["believed"].all()) and picked[0].believed
    moved = PairSubgraphDataset(store, features=x + 1, image_root="elsewhere")
    assert torch.equal(moved[0].x, x[moved[0].n_id] + 1) and moved[0].path[0].startswith("elsewhere")
    assert dataset.num_node_features == 5 and dataset.num_classes == 2


def test_transforms_workers_and_pickling(store):
    def mark(graph):
        graph.marked = graph.z + 1
        return graph
    dataset = PairSubgraphDataset(store, transform=mark)
    assert torch.equal(dataset[4].marked, dataset[4].z + 1)
    assert torch.equal(dataset.batch([4, 9]).marked, torch.cat([dataset[4].z, dataset[9].z]) + 1)
    plain = PairSubgraphDataset(store)
    expected = [plain[i].n_id for i in range(80)]
    read = [graph.n_id for batch in DataLoader(plain, 16, num_workers=2) for graph in batch.to_data_list()]
    assert all(torch.equal(a, b) for a, b in zip(expected, read, strict=True))
    shuffled = torch.cat([batch.n_id[batch.root_index] for batch in plain.loader(16, shuffle=True, num_workers=1)])
    assert sorted(shuffled.tolist()) == sorted(plain.table[["anchor", "neighbour"]].to_numpy().tolist())
    copied = pickle.dumps(plain[10:20])
    assert len(copied) < 20_000 and torch.equal(pickle.loads(copied)[0].n_id, expected[10])  # paths, not contents


def committed(store):
    """Every file of a store and how many of its bytes count."""
    record = store_format.Record.read(store)
    sizes = {f"{name}.bin": store_format.FIELDS[name].bytes * record.total(store_format.FIELDS[name].per)
             for name in record.fields}
    entries = [part["table"] for part in record.parts] + list(record.files.values())
    return sizes | {entry["file"]: entry["bytes"] for entry in entries} | {
        "manifest.json": (store / "manifest.json").stat().st_size}


def test_a_file_cut_at_any_byte_is_refused_and_named(store):
    for name, size in committed(store).items():
        whole = (store / name).read_bytes()
        assert len(whole) == size
        for cut in {0, 1, size - 1, *random.sample(range(size), min(size, 12))}:
            (store / name).write_bytes(whole[:cut])
            for check in ("contents", "sizes"):
                with pytest.raises(ValueError, match=name):
                    PairSubgraphDataset(store, check=check)
            with pytest.raises(ValueError, match=name):
                PairSubgraphWriter(store)
        (store / name).unlink()
        with pytest.raises((ValueError, FileNotFoundError), match=name):
            PairSubgraphDataset(store)
        (store / name).write_bytes(whole)
        assert len(PairSubgraphDataset(store)) == 80


def test_an_edited_byte_anywhere_is_refused_and_named(store):
    for name, size in committed(store).items():
        whole = (store / name).read_bytes()
        for place in {0, size - 1, *random.sample(range(size), min(size, 25))}:
            edited = bytearray(whole)
            edited[place] ^= random.randrange(1, 256)
            if name == "manifest.json" and _equal_json(whole, edited):
                continue  # white space
            (store / name).write_bytes(edited)
            with pytest.raises(ValueError, match=name):
                PairSubgraphDataset(store)
        (store / name).write_bytes(whole)
    assert len(PairSubgraphDataset(store)) == 80


def _equal_json(one, two):
    try:
        return json.loads(one) == json.loads(two)
    except ValueError:
        return False


@pytest.mark.parametrize("moment", ["flat", "table", "commit"])
def test_a_crash_while_appending_loses_only_that_append(store, parts, monkeypatch, moment):
    one, two, images, _ = parts
    writer = PairSubgraphWriter(store, images=images)
    replace, calls = os.replace, [0]

    def crash(*_):
        if moment == "flat" or (calls[0] == (moment == "commit")):
            raise KeyboardInterrupt
        calls[0] += 1
        return replace(*_)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if moment == "flat":  # in the middle of the flat files
            truncate = store_format.append_at
            patch.setattr("mprd_pyg.graph.store.writer.append_at", lambda path, *rest: crash()
                          if path.name == "z.bin" else truncate(path, *rest))
        patch.setattr(os, "replace", crash)
        writer.append(one)
    with open(store / "n_id.bin", "ab") as file:
        file.write(b"half a write")
    before = PairSubgraphDataset(store)  # what lies beyond the commit is ignored
    assert len(before) == 80
    PairSubgraphWriter(store, images=images).append(two, epoch=3)
    after = PairSubgraphDataset(store)
    assert len(after) == 110 and after.table["epoch"].tolist() == before.table["epoch"].tolist() + [3] * 30
    for i in range(80):
        same(before[i], after[i])
    for i, graph in enumerate(two.to_data_list()):
        same(graph, after[80 + i])


def test_a_reader_keeps_its_pairs_while_others_are_appended(store, parts):
    reader = PairSubgraphDataset(store)
    first = reader[79]
    PairSubgraphWriter(store).append(parts[0])
    assert len(reader) == 80 and torch.equal(reader[79].n_id, first.n_id) and len(PairSubgraphDataset(store)) == 130


def test_two_writers_do_not_mix(store, parts):
    one, two = PairSubgraphWriter(store), PairSubgraphWriter(store)
    one.append(parts[0])
    with pytest.raises(ValueError, match="another process"):
        two.append(parts[0])


def test_epochs_can_be_dropped_and_written_again(store, parts):
    writer = PairSubgraphWriter(store)
    writer.drop_epochs(5)
    assert len(writer) == 80
    writer.drop_epochs(2)
    assert len(writer) == len(PairSubgraphDataset(store)) == 50
    writer.append(parts[0], epoch=2)
    assert PairSubgraphDataset(store).table["epoch"].tolist() == [1] * 50 + [2] * 50
    writer.drop_epochs(0)
    empty = PairSubgraphDataset(store)
    assert len(empty) == 0 and not len(empty.table)
    with pytest.raises(IndexError, match="no pairs"):
        empty.batch()


def test_features_are_replaced_whole(store, parts):
    writer = PairSubgraphWriter(store)
    writer.set_features(parts[3] * 3, epoch=4)
    assert [path.name for path in store.glob("features-*")] == ["features-00001.bin"]
    one = PairSubgraphDataset(store)[0]
    assert torch.equal(one.x, 3 * parts[3][one.n_id])


def test_bad_input_is_named(store, parts, tmp_path):
    one, _, images, x = parts
    with pytest.raises(FileNotFoundError, match=r"manifest\.json does not exist"):
        PairSubgraphDataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"have 10 rows.*name node"):
        PairSubgraphDataset(store, features=x[:10])
    with pytest.raises(ValueError, match="check must be"):
        PairSubgraphDataset(store, check="some")
    with pytest.raises(ValueError, match="other images"):
        PairSubgraphWriter(store, images=images.assign(camera_id=3))
    writer = PairSubgraphWriter(store)
    with pytest.raises(ValueError, match="likelihood has 3 entries for 50 pairs"):
        writer.append(one, likelihood=torch.rand(3))
    one = one.clone()
    one.edge_attr = torch.rand(one.num_edges)
    with pytest.raises(ValueError, match="always or never"):
        writer.append(one)
    few = PairSubgraphWriter(tmp_path / "few", images=images[:5])
    with pytest.raises(ValueError, match="image table has 5 rows"):
        few.append(parts[0])
    record = json.loads((store / "manifest.json").read_text())
    shutil.copytree(store, tmp_path / "later")
    (tmp_path / "later" / "manifest.json").write_text(json.dumps(record | {"version": 2}))
    with pytest.raises(ValueError, match="version 2"):
        PairSubgraphDataset(tmp_path / "later")
    outside = store_format.Record.read(store)
    outside.files["images"]["file"] = "../images.parquet"
    outside.write(store)
    with pytest.raises(ValueError, match="outside the folder"):
        PairSubgraphDataset(store)
