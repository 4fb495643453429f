"""The files of a store: a manifest, the image table, the features, and one Arrow IPC file of pairs per append.

A file of pairs has one row per pair. All are mapped into memory and not copied.
"""
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import torch
from torch import Tensor

from mprd_pyg.graph.pairs.flat_subgraphs import PackedSubgraphs
from mprd_pyg.manifest import Manifest, refusing_damage

MANIFEST, IMAGES, KIND = "manifest.json", "images.arrow", "mprd-pyg pair subgraphs, version 2"
REMEDY = "restore it from a copy, or save the subgraphs anew in another folder"
#: What is known of a pair beside its subgraph; all but epoch and branch may be unknown.
COLUMNS = pa.schema([("similarity", pa.float32()), ("likelihood", pa.float32()), ("believed", pa.bool_()),
                     ("truth", pa.bool_()), ("epoch", pa.int32()), ("branch", pa.int32())])
TWO, MAX_NODES = pa.list_(pa.int32(), 2), 2**31 - 1
Append = tuple[PackedSubgraphs, pa.RecordBatch, Tensor | None]


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a store.

    Raises:
        FileNotFoundError: the folder holds no store.
        ValueError: the manifest is damaged or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no saved pair subgraphs: {path} does not exist")
    manifest = Manifest.read(path, KIND, REMEDY)
    if not isinstance(manifest.about.get("image_root", ""), str):
        raise ValueError(f"{path} was edited: its image_root is no folder; {REMEDY}")
    names = manifest.about.get("statistics", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} was edited: its statistics are no names; {REMEDY}")
    return manifest


def read_store(folder: Path, manifest: Manifest) -> tuple[list[Append], pd.DataFrame | None, np.ndarray | None]:
    """Map the files that a manifest names, after comparing their checksums.

    Returns:
        The subgraphs of each append, with the columns known of their pairs and their statistics (P, F), if it has
        any; the table of the graph's nodes; and their features (M, N, d).

    Raises:
        ValueError: one is damaged, or a subgraph names nodes that there are not.
    """
    manifest.check_files(folder, REMEDY)
    appends, images, features = [], None, None
    for name in sorted((entry.name for entry in manifest.files), key=lambda name: name != IMAGES):
        path = folder / name
        with refusing_damage(path, REMEDY):
            if name == IMAGES:
                images = _read_images(path)
            elif path.suffix == ".npy":
                features = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
                if features.ndim != 3 or features.dtype != np.float32:
                    raise ValueError(f"it holds {features.shape} {features.dtype}, expected (M, N, d) float32")
            else:
                appends.append(_read_pairs(path, MAX_NODES if images is None else len(images),
                                           len(manifest.about.get("statistics", ()))))
                if (appends[0][0].edge_attr is None) != (appends[-1][0].edge_attr is None):
                    raise ValueError("only some files have similarities along the edges")
    return appends, images, features


def write_pairs(path: Path, subgraphs: PackedSubgraphs, columns: dict[str, pa.Array],
                statistics: Tensor | None = None) -> None:
    """Write subgraphs (``nodes``, ``edges`` and ``root_index`` of each) beside the columns of their pairs, and the
    pairs' ``statistics`` (P, F)."""
    nodes = {"n_id": subgraphs.n_id.cpu().numpy(), "z": subgraphs.z.cpu().numpy()}
    edges = {"ends": _two(subgraphs.edge_index.T)}
    if subgraphs.edge_attr is not None:
        edges["similarity"] = subgraphs.edge_attr.detach().float().cpu().numpy()
    if statistics is not None:
        values = statistics.detach().float().cpu().contiguous()
        columns = columns | {"statistics": pa.FixedSizeListArray.from_arrays(values.flatten().numpy(), values.shape[1])}
    table = pa.table({"root_index": _two(subgraphs.root_index), "nodes": _lists(subgraphs.ptr, nodes),
                      "edges": _lists(subgraphs.edge_ptr, edges), **columns})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


def _read_images(path: Path) -> pd.DataFrame:
    table = pa.feather.read_table(str(path))
    table.validate(full=True)
    known = {"path": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
             "person_id": pa.types.is_integer, "camera_id": pa.types.is_integer}
    wrong = [field.name for field in table.schema if not known.get(field.name, lambda _: False)(field.type)]
    wrong += [name for name in table.column_names if table[name].null_count]
    if wrong:
        raise ValueError(f"it holds something other than paths and numbers in {', '.join(map(repr, wrong))}")
    return table.to_pandas()


def _read_pairs(path: Path, num_nodes: int, num_statistics: int) -> Append:
    file = pa.ipc.open_file(pa.memory_map(str(path)))
    rows = file.get_batch(0)
    rows.validate(full=True)
    if file.num_record_batches > 1 or not rows.num_rows or rows["epoch"].null_count or rows["branch"].null_count:
        raise ValueError("it is not one batch of pairs with their epochs and branches")
    nodes, edges, root_index = rows["nodes"], rows["edges"], rows["root_index"]
    edge_attr = None
    if edges.type.value_type.get_field_index("similarity") >= 0:
        edge_attr = _tensor(edges.values.field("similarity"), torch.float32)
    subgraphs = PackedSubgraphs(
        _tensor(nodes.values.field("n_id")), _tensor(nodes.values.field("z")),
        _tensor(edges.values.field("ends").flatten()).view(-1, 2).T, _tensor(root_index.flatten()).view(-1, 2),
        _tensor(nodes.offsets, torch.int64), _tensor(edges.offsets, torch.int64), edge_attr)
    size = subgraphs.ptr.diff()
    for index, limit in ((subgraphs.root_index.T, size), (subgraphs.n_id, num_nodes),
                         (subgraphs.edge_index, size.repeat_interleave(subgraphs.edge_ptr.diff()))):
        if bool((index < 0).any()) or bool((index >= limit).any()):
            raise ValueError("a subgraph names nodes that there are not")
    statistics = None
    if rows.schema.get_field_index("statistics") >= 0:
        statistics = _tensor(rows["statistics"].flatten(), torch.float32).view(len(subgraphs), num_statistics)
    return subgraphs, pa.RecordBatch.from_arrays([rows[name] for name in COLUMNS.names], schema=COLUMNS), statistics


def _lists(ptr: Tensor, fields: dict[str, pa.Array]) -> pa.Array:
    entries = pa.StructArray.from_arrays([pa.array(values) for values in fields.values()], list(fields))
    return pa.LargeListArray.from_arrays(ptr.cpu().numpy(), entries)


def _two(index: Tensor) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(index.contiguous().flatten().cpu().numpy(), type=TWO)


def _tensor(column: pa.Array, dtype: torch.dtype = torch.int32) -> Tensor:
    tensor = torch.from_dlpack(column)  # no copy, and never to be written to
    if tensor.dtype != dtype:
        raise ValueError(f"a column is of {tensor.dtype}, expected {dtype}")
    return tensor
