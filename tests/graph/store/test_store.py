"""Saved pair subgraphs: what is read is what was written, or nothing."""
import json
import os
import pickle
import random
import zlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from mprd_pyg.graph import KNNGraph, PairSubgraphDataset, PairSubgraphs, PairSubgraphWriter
from mprd_pyg.graph.store.store_files import read_manifest
from mprd_pyg.manifest import FileEntry, Manifest

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


def test_statistics_of_pairs_come_back_and_an_append_may_go_without(store, parts):
    one, two, images, _ = parts
    assert PairSubgraphDataset(store).statistic_names == () and "pair_statistics" not in PairSubgraphDataset(store)[0]
    assert PairSubgraphDataset(store).statistics.shape == (80, 0)
    values, names = torch.randn(30, 3, generator=torch.Generator().manual_seed(2)), ["jaccard", "similarity", "walks_3"]
    PairSubgraphWriter(store, images=images).append(two, statistics=values, statistic_names=names)
    dataset = PairSubgraphDataset(store)
    assert dataset.statistic_names == tuple(names) == tuple(dataset.statistics)
    assert dataset.statistics[:80].isna().all(axis=None) and bool(dataset[3].pair_statistics.isnan().all())
    assert torch.equal(torch.tensor(dataset.statistics[80:].to_numpy()), values)
    assert torch.equal(dataset[85].pair_statistics, values[5:6])
    picked = dataset[[109, 80]]
    assert torch.equal(picked.batch().pair_statistics, values[[29, 0]])
    assert torch.equal(picked.batch()[0].pair_statistics, values[29:])
    assert torch.equal(torch.tensor(picked.statistics.to_numpy()), values[[29, 0]])
    assert torch.equal(pickle.loads(pickle.dumps(picked))[1].pair_statistics, values[:1])
    writer = PairSubgraphWriter(store)
    with pytest.raises(ValueError, match="holds the statistics jaccard, similarity, walks_3"):
        writer.append(two, statistics=values, statistic_names=["jaccard", "similarity", "walks_4"])
    with pytest.raises(ValueError, match=r"statistics are \(30, 3\), expected \(30, 2\)"):
        writer.append(two, statistics=values, statistic_names=names[:2])
    with pytest.raises(ValueError, match=r"expected \(50, 3\)"):
        writer.append(one, statistics=values, statistic_names=names)
    writer.append(one)
    assert len(PairSubgraphDataset(store)) == 160


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


def files_of(store):
    """The content of every file of a store, all of which count."""
    files = {path.name: path.read_bytes() for path in store.iterdir()}
    assert set(files) == {"manifest.json", *(entry.name for entry in read_manifest(store).files)} and len(files) == 5
    return files


def test_a_file_cut_at_any_byte_is_refused_and_named(store):
    for name, whole in files_of(store).items():
        rng, size = random.Random(name), len(whole)
        # the line break at the manifest's end is no loss
        for cut in {0, 1, size - 2, *rng.sample(range(size - 1), min(size - 1, 12))}:
            (store / name).write_bytes(whole[:cut])
            for open_ in (PairSubgraphDataset, PairSubgraphWriter):
                with pytest.raises(ValueError, match=name):
                    open_(store)
        (store / name).unlink()
        with pytest.raises((ValueError, FileNotFoundError), match=name):
            PairSubgraphDataset(store)
        (store / name).write_bytes(whole)
        assert len(PairSubgraphDataset(store)) == 80


def test_an_edited_byte_anywhere_is_refused_and_named(store):
    for name, whole in files_of(store).items():
        rng, size = random.Random(name), len(whole)
        for place in {0, size - 1, *rng.sample(range(size), min(size, 40))}:
            edited = bytearray(whole)
            edited[place] ^= rng.randrange(1, 256)
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


@pytest.mark.parametrize("moment", ["pairs", "commit"])
def test_a_crash_while_appending_loses_only_that_append(store, parts, monkeypatch, moment):
    one, two, images, _ = parts
    writer = PairSubgraphWriter(store, images=images)
    replace, calls = os.replace, [0]

    def crash(*paths):
        calls[0] += 1
        if calls[0] == (1 if moment == "pairs" else 2):
            raise KeyboardInterrupt
        return replace(*paths)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", crash)
        writer.append(one)
    (store / "pairs-00002.arrow.part").write_bytes(b"half a write")  # of a process that was killed
    before = PairSubgraphDataset(store)  # what was not committed is ignored
    assert len(before) == 80
    PairSubgraphWriter(store, images=images).append(two, epoch=3)
    assert not list(store.glob("*.part")) and len(list(store.iterdir())) == 6
    after = PairSubgraphDataset(store)
    assert len(after) == 110 and after.table["epoch"].tolist() == before.table["epoch"].tolist() + [3] * 30
    for i in range(80):
        same(before[i], after[i])
    for i, graph in enumerate(two.to_data_list()):
        same(graph, after[80 + i])
    writer = PairSubgraphWriter(store)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="full"):
        patch.setattr("mprd_pyg.manifest.replacing", lambda path: full(path))
        writer.append(one)
    writer.append(one)  # after a full disk the same writer goes on
    assert len(PairSubgraphDataset(store)) == len(writer) == 160


def full(path):
    raise OSError(f"{path}: the disk is full")


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
    assert [path.name for path in store.glob("features-*")] == ["features-1.npy"]
    one = PairSubgraphDataset(store)[0]
    assert torch.equal(one.x, 3 * parts[3][one.n_id])
    writer.set_features(parts[3] * 4, epoch=5)
    assert [path.name for path in store.glob("features-*")] == ["features-0.npy"]
    assert torch.equal(PairSubgraphDataset(store)[0].x, 4 * parts[3][one.n_id])


def test_bad_input_is_named(store, parts, tmp_path):
    one, _, images, x = parts
    with pytest.raises(FileNotFoundError, match=r"manifest\.json does not exist"):
        PairSubgraphDataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"have 10 rows.*name node"):
        PairSubgraphDataset(store, features=x[:10])
    with pytest.raises(ValueError, match="of the branches 0 to 1, but the features have 1"):
        PairSubgraphDataset(store, features=x).batch()
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


def test_forged_manifests_are_refused(store, parts, tmp_path):
    manifest, path = read_manifest(store), store / "manifest.json"
    (tmp_path / "pairs-00000.arrow").write_bytes((store / "pairs-00000.arrow").read_bytes())

    def refused(match, files=manifest.files, about=manifest.about, kind=manifest.kind):
        content = {"kind": kind, "files": files, "about": about}
        path.write_text(json.dumps(content | {"crc32": zlib.crc32(json.dumps(content, sort_keys=True).encode())}))
        with pytest.raises(ValueError, match=match) as error:
            PairSubgraphDataset(store)
        assert "\n" not in str(error.value) and str(store) in str(error.value)

    entries = [vars(entry) for entry in manifest.files]
    for name in ("../pairs-00000.arrow", str(tmp_path / "pairs-00000.arrow"), "..", "", "a/b", "a\\b", 3, None):
        refused("outside the folder", [entries[0] | {"name": name}])
    refused("version 2", entries, kind="mprd-pyg pair subgraphs")
    refused("no integers", [entries[0] | {"bytes": "many"}])
    refused("manifest.json", [entries[0] | {"more": 1}])
    refused("manifest.json", 7)
    refused("manifest.json", entries, about=[1])
    refused("manifest.json", entries, about={"image_root": 5})
    refused("manifest.json", entries, about={"statistics": 5})
    refused("manifest.json", entries, about={"statistics": [5]})
    for text in ("{}", "[]", "7", "null", "[" * 100_000, '{"format": "mprd-pyg pair subgraphs", "version": 1}'):
        path.write_text(text)
        with pytest.raises(ValueError, match="manifest.json"):
            PairSubgraphDataset(store)


def test_forged_files_with_right_checksums_are_refused(store, parts):
    """Whoever makes a file by hand can make its checksum too: what it names must still exist."""
    manifest, path = read_manifest(store), store / "pairs-00000.arrow"
    whole = path.read_bytes()
    table = pa.ipc.open_file(whole).read_all()

    def refused(change, name=path.name, match="pairs-00000.arrow"):
        change(store / name)
        files = tuple(FileEntry.of(store / name) if entry.name == name else entry for entry in manifest.files)
        Manifest(manifest.kind, files, manifest.about).write(store / "manifest.json")
        with pytest.raises(ValueError, match=match):
            PairSubgraphDataset(store)

    def replaced(name, values):
        place = table.column_names.index(name)
        changed = table.set_column(place, name, pa.chunked_array([values]) if isinstance(values, pa.Array) else values)

        def write(path):
            with pa.ipc.new_file(str(path), changed.schema) as file:
                file.write_table(changed)
        return write

    nodes, edges = (table[name].chunk(0) for name in ("nodes", "edges"))
    z, ends = nodes.values.field("z"), edges.values.field("ends")
    for n_id in (pa.array([10**6] * len(z), pa.int32()), pa.array([-1] * len(z), pa.int32())):
        wrong = pa.LargeListArray.from_arrays(nodes.offsets, pa.StructArray.from_arrays([n_id, z], ["n_id", "z"]))
        refused(replaced("nodes", wrong), match="nodes that there are not")
    high = pa.FixedSizeListArray.from_arrays(pa.array([99] * 2 * len(ends), pa.int32()), type=ends.type)
    wrong = pa.LargeListArray.from_arrays(edges.offsets, pa.StructArray.from_arrays([high], ["ends"]))
    refused(replaced("edges", wrong), match="nodes that there are not")
    refused(replaced("root_index", high[:50]), match="nodes that there are not")
    refused(replaced("epoch", pa.array(["x"] * 50)))
    refused(replaced("epoch", pa.nulls(50, pa.int32())))
    both = pa.StructArray.from_arrays([ends, pa.array([1.0] * len(ends), pa.float32())], ["ends", "similarity"])
    refused(replaced("edges", pa.LargeListArray.from_arrays(edges.offsets, both)), match="pairs-00001.*only some")
    refused(replaced("nodes", pa.array([[1]] * 50)))
    refused(lambda path: path.write_bytes(whole[:-8]))
    refused(lambda path: path.write_bytes(b"x" * 100))
    with_values = table.append_column("statistics", pa.FixedSizeListArray.from_arrays(
        pa.array([1.0] * 100, pa.float32()), 2))  # the manifest names none

    def write(path):
        with pa.ipc.new_file(str(path), with_values.schema) as file:
            file.write_table(with_values)
    refused(write)
    table = table[:0]
    refused(replaced("epoch", pa.array([], pa.int32())))
    path.write_bytes(whole)
    images = (store / "images.arrow").read_bytes()
    refused(lambda path: path.write_bytes(b"x" * 100), "images.arrow", "images.arrow")
    (store / "images.arrow").write_bytes(images)
    refused(lambda path: np.save(path, np.zeros((60, 5))), "features-0.npy", "features-0.npy")
