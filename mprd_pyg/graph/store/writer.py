"""Writing pair subgraphs to disk, append by append; an interruption loses at most the append it hits."""
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch_geometric.data import Batch

from mprd_pyg.graph.store.format import FIELDS, RECORD, Record, append_at, check_files, write_whole

IMAGE_COLUMNS = ("path", "person_id", "camera_id")
SCHEMA = pa.schema([
    ("anchor", pa.int32()), ("neighbour", pa.int32()), ("anchor_path", pa.string()), ("neighbour_path", pa.string()),
    ("anchor_camera", pa.int32()), ("neighbour_camera", pa.int32()), ("similarity", pa.float32()),
    ("likelihood", pa.float32()), ("believed", pa.bool_()), ("truth", pa.bool_()), ("epoch", pa.int32()),
    ("branch", pa.int32())])


class PairSubgraphWriter:
    """Makes a store of pair subgraphs, or goes on with one; read it by :class:`PairSubgraphDataset`.

    Every :meth:`append` writes its stretch of the flat files and one Parquet file of pairs, and then commits both
    by replacing the record ``manifest.json``. What a crash leaves behind is overwritten by the next append.

    Args:
        folder: of the store.
        images: table of the graph's nodes, row = node, with any of the columns path, person_id, camera_id. The
            pairs' paths, cameras and truth are taken from it. A store keeps the one it was made with.
        image_root: folder that the paths are relative to.
        about: plain values to keep with the store.

    Raises:
        ValueError: the folder's store is damaged, or was made with another image table.
    """

    def __init__(self, folder: str | Path, images: pd.DataFrame | None = None, image_root: str | Path | None = None,
                 about: dict[str, Any] | None = None):
        self.folder = Path(folder)
        images = None if images is None else images[[name for name in IMAGE_COLUMNS if name in images]]
        if (self.folder / RECORD).exists():
            self.record = Record.read(self.folder)
            check_files(self.folder, self.record, contents=False)
            self.images = read_images(self.folder, self.record)
            if images is not None and (self.images is None or not self.images.equals(images.reset_index(drop=True))):
                raise ValueError(f"{self.folder} is of another run: its data are other images. Write to another folder "
                                 f"or resume with the images it began with")
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            root = {} if image_root is None else {"image_root": str(Path(image_root).absolute())}
            self.record, self.images = Record(about=(about or {}) | root), None
            if images is not None:
                self.images = images.reset_index(drop=True)
                self.record.files["images"] = self._parquet("images", pa.Table.from_pandas(self.images))
            self.record.write(self.folder)

    def __len__(self) -> int:
        return self.record.total("pairs")

    def append(self, batch: Batch, similarity: Tensor | None = None, likelihood: Tensor | None = None,
               believed: Tensor | None = None, truth: Tensor | None = None, epoch: int | Tensor = 0,
               branch: int | Tensor = 0) -> None:
        """Add the subgraphs of a batch and commit them.

        Args:
            batch: of :class:`PairSubgraphs`; ``edge_attr`` (E,), if it has any, is the similarity along each edge.
            similarity: (P,) of the pairs.
            likelihood: (P,) of "same person", in [0, 1].
            believed: (P,) bool.
            truth: (P,) bool, whether both show the same person; by default the image table's identities say.
            epoch: one for all, or (P,).
            branch: one for all, or (P,).

        Raises:
            ValueError: a column of another length, a node that the image table has not, edge similarities that only
                some appends have, or a store that somebody else changed meanwhile.
        """
        if self.record != Record.read(self.folder):
            raise ValueError(f"{self.folder} was written to by another process since it was opened: "
                             f"only one may append at a time; open it again")
        flat = self._flatten(batch)
        fields = sorted(flat)
        if self.record.parts and fields != self.record.fields:
            raise ValueError(f"{self.folder} holds the fields {', '.join(self.record.fields)}, this batch has "
                             f"{', '.join(fields)}: give edge_attr always or never")
        roots = batch.n_id[batch.root_index].cpu().numpy()
        given = {"similarity": similarity, "likelihood": likelihood, "believed": believed, "truth": truth,
                 "epoch": epoch, "branch": branch}
        table = self._table(roots, given)
        counts = {"pairs": batch.num_graphs, "nodes": len(flat["n_id"]), "edges": len(flat["edge_index"])}
        checksums = {name: append_at(self.folder / f"{name}.bin", self.record.total(kind.per) * kind.bytes,
                                     [flat[name].data.cast("B") if flat[name].size else b""])
                     for name, kind in FIELDS.items() if name in flat}
        epochs = table["epoch"]
        part = counts | {"crc32": checksums, "max_node": int(flat["n_id"].max()),
                         "epochs": [pc.min(epochs).as_py(), pc.max(epochs).as_py()],
                         "table": self._parquet(f"pairs-{len(self.record.parts):05d}", table)}
        self._commit(fields=fields, parts=[*self.record.parts, part])

    def drop_epochs(self, first: int) -> None:
        """Forget the appends from the first one on that holds pairs of epoch ``first`` or a later one."""
        late = [number for number, part in enumerate(self.record.parts) if part["epochs"][1] >= first]
        if late:
            self._commit(parts=self.record.parts[:late[0]])

    def set_features(self, features: Tensor, epoch: int | None = None) -> None:
        """Save the memory bank (N, d) or (M, N, d) that is joined on reading, in place of any earlier one."""
        bank = features.detach().float().cpu()
        bank = (bank.unsqueeze(0) if bank.dim() == 2 else bank).contiguous()
        old = self.record.files.get("features")
        number = int(old["file"].split("-")[1].split(".")[0]) + 1 if old else 0
        entry = write_whole(self.folder / f"features-{number:05d}.bin",
                            *(part.numpy().astype("<f4", copy=False).data.cast("B")
                              for part in bank.flatten(0, 1).split(1 << 14)))
        entry |= {"shape": list(bank.shape), "epoch": epoch}
        self._commit(files=self.record.files | {"features": entry})
        if old:
            (self.folder / old["file"]).unlink(missing_ok=True)

    def _commit(self, **changes: Any) -> None:
        record = Record(**vars(self.record) | changes)
        record.write(self.folder)
        self.record = record

    def _flatten(self, batch: Batch) -> dict[str, np.ndarray]:
        """The batch's tensors as they lie in the files."""
        ptr, owner = batch.ptr.cpu(), batch.batch.cpu()
        edge_index = batch.edge_index.cpu()
        edge_owner = owner[edge_index[0]]
        if bool((edge_owner.diff() < 0).any()):
            raise ValueError("the batch's edges are not grouped by graph")
        if int(batch.n_id.max()) >= (2**31 if self.images is None else len(self.images)):
            most = "2^31 nodes can be saved" if self.images is None else f"the image table has {len(self.images)} rows"
            raise ValueError(f"the subgraphs name node {int(batch.n_id.max())}, but {most}")
        edge_count = torch.bincount(edge_owner, minlength=batch.num_graphs)
        flat = {"node_end": ptr[1:] + self.record.total("nodes"),
                "edge_end": edge_count.cumsum(0) + self.record.total("edges"),
                "root_index": batch.root_index.cpu() - ptr[:-1, None], "n_id": batch.n_id.cpu(), "z": batch.z.cpu(),
                "edge_index": (edge_index - ptr[edge_owner]).T}
        if batch.get("edge_attr") is not None:
            flat["edge_attr"] = batch.edge_attr.detach().cpu()
            if flat["edge_attr"].shape != edge_owner.shape:
                raise ValueError(f"edge_attr must be one similarity per edge, got {tuple(flat['edge_attr'].shape)}")
        return {name: np.ascontiguousarray(value.numpy(), dtype=FIELDS[name].dtype) for name, value in flat.items()}

    def _table(self, roots: np.ndarray, given: dict[str, Any]) -> pa.Table:
        """The pairs' table, from what was given and from the image table."""
        columns: dict[str, Any] = {"anchor": roots[:, 0], "neighbour": roots[:, 1]}
        for name, value in given.items():
            if value is None or isinstance(value, int):
                continue
            value = value.detach().cpu().numpy() if isinstance(value, Tensor) else value
            if len(value) != len(roots):
                raise ValueError(f"{name} has {len(value)} entries for {len(roots)} pairs")
            columns[name] = value
        columns |= {name: np.full(len(roots), given[name]) for name in ("epoch", "branch") if name not in columns}
        have = () if self.images is None else self.images.columns
        for side, row in (("anchor", roots[:, 0]), ("neighbour", roots[:, 1])):
            if "path" in have:
                columns[f"{side}_path"] = pa.array(self.images["path"], pa.string()).take(pa.array(row))
            if "camera_id" in have:
                columns[f"{side}_camera"] = self.images["camera_id"].to_numpy()[row]
        if "person_id" in have and "truth" not in columns:
            person = self.images["person_id"].to_numpy()[roots]
            columns["truth"] = pa.array(person[:, 0] == person[:, 1], mask=(person < 0).any(1))
        return pa.Table.from_arrays([_column(columns.get(kind.name), kind.type, len(roots)) for kind in SCHEMA],
                                    schema=SCHEMA)

    def _parquet(self, name: str, table: pa.Table) -> dict[str, Any]:
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        return write_whole(self.folder / f"{name}.parquet", memoryview(sink.getvalue()))


def _column(value: Any, kind: pa.DataType, count: int) -> pa.Array:
    if value is None:
        return pa.nulls(count, kind)
    return value if isinstance(value, pa.Array) else pa.array(value, from_pandas=True).cast(kind)


def read_images(folder: Path, record: Record) -> pd.DataFrame | None:
    """The table of the graph's nodes that a store was made with."""
    if "images" not in record.files:
        return None
    return pq.read_table(folder / record.files["images"]["file"]).to_pandas()
