"""Pair subgraphs as an Arrow IPC file with one row per pair, which is mapped into memory and not copied."""
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

from mprd_pyg.graph.pairs.flat_subgraphs import PackedSubgraphs
from mprd_pyg.graph.store.store_manifest import REMEDY
from mprd_pyg.manifest import refusing_damage

#: What is known of a pair beside its subgraph; all but epoch and branch may be unknown.
COLUMNS = pa.schema([("similarity", pa.float32()), ("likelihood", pa.float32()), ("believed", pa.bool_()),
                     ("truth", pa.bool_()), ("epoch", pa.int32()), ("branch", pa.int32())])
TWO = pa.list_(pa.int32(), 2)


class PairFile(NamedTuple):
    """What one file holds: P subgraphs, and the columns known of their pairs."""

    subgraphs: PackedSubgraphs
    columns: pa.RecordBatch


def write_pairs(path: Path, subgraphs: PackedSubgraphs, columns: dict[str, pa.Array]) -> None:
    """Write subgraphs (``nodes``, ``edges`` and ``root_index`` of each) beside the columns of their pairs."""
    attr = subgraphs.edge_attr
    nodes = {"n_id": subgraphs.n_id.cpu().numpy(), "z": subgraphs.z.cpu().numpy()}
    edges = {"ends": _two(subgraphs.edge_index.T)}
    if attr is not None:
        edges["similarity"] = attr.detach().float().cpu().numpy()
    table = pa.table({"root_index": _two(subgraphs.root_index), "nodes": _lists(subgraphs.ptr, nodes),
                      "edges": _lists(subgraphs.edge_ptr, edges), **columns})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


def read_pairs(path: Path) -> PairFile:
    """Map a file whose checksum was compared.

    Raises:
        ValueError: it is not such a file, or its subgraphs name nodes that they have not.
    """
    with refusing_damage(path, REMEDY):
        file = pa.ipc.open_file(pa.memory_map(str(path)))
        if file.num_record_batches != 1:
            raise ValueError(f"it has {file.num_record_batches} record batches, expected 1")
        rows = file.get_batch(0)
        rows.validate(full=True)
        nodes, edges = rows["nodes"], rows["edges"]
        has_similarity = edges.type.value_type.get_field_index("similarity") >= 0
        subgraphs = PackedSubgraphs(
            _tensor(nodes.values.field("n_id")), _tensor(nodes.values.field("z")), _pairs(edges.values.field("ends")).T,
            _pairs(rows["root_index"]), _tensor(nodes.offsets, torch.int64), _tensor(edges.offsets, torch.int64),
            _tensor(edges.values.field("similarity"), torch.float32) if has_similarity else None)
        columns = pa.RecordBatch.from_arrays([rows[name] for name in COLUMNS.names], schema=COLUMNS)
        size = subgraphs.ptr.diff()
        for index, limit in ((subgraphs.root_index.T, size),
                             (subgraphs.edge_index, size.repeat_interleave(subgraphs.edge_ptr.diff()))):
            if bool((index < 0).any()) or bool((index >= limit).any()):
                raise ValueError("a subgraph names nodes that it has not")
        if bool((subgraphs.n_id < 0).any()):
            raise ValueError("a subgraph names a negative node")
    return PairFile(subgraphs, columns)


def _lists(ptr: Tensor, fields: dict[str, pa.Array]) -> pa.Array:
    return pa.LargeListArray.from_arrays(ptr.cpu().numpy(), pa.StructArray.from_arrays(fields.values(), fields.keys()))


def _two(index: Tensor) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(index.contiguous().flatten().cpu().numpy(), type=TWO)


def _pairs(column: pa.Array) -> Tensor:
    if column.type != TWO:
        raise ValueError(f"a column is of type {column.type}, expected {TWO}")
    return _tensor(column.flatten()).view(-1, 2)


def _tensor(column: pa.Array, dtype: torch.dtype = torch.int32) -> Tensor:
    tensor = torch.from_dlpack(column)  # no copy, and never to be written to
    if tensor.dtype != dtype:
        raise ValueError(f"a column is of {tensor.dtype}, expected {dtype}")
    return tensor
