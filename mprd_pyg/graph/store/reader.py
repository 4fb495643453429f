"""The files of a store of pair subgraphs, mapped into memory and checked, as arrays."""
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from mprd_pyg.graph.store.format import FIELDS, Record, damaged
from mprd_pyg.graph.store.writer import read_images

#: what a pair's graph carries of the table: column -> (attribute, what stands for "unknown", dtype)
CARRIED = {
    "similarity": ("similarity", float("nan"), np.float32), "likelihood": ("likelihood", float("nan"), np.float32),
    "believed": ("believed", False, np.bool_), "truth": ("y", -1, np.int64), "epoch": ("epoch", 0, np.int64),
    "branch": ("branch", 0, np.int64)}


class StoreReader:
    """The committed stretch of a store's files; nothing is copied until it is asked for.

    Args:
        folder: of the store.
        record: its commit record.
        features: (M, N, d) to join instead of the saved memory.
        image_root: folder of the images' paths.
    """

    def __init__(self, folder: Path, record: Record, features: Tensor | None, image_root: Path | None):
        self.folder, self.record = folder, record
        self.flat: dict[str, np.ndarray] = {}
        for name in record.fields or set(FIELDS) - {"edge_attr"}:
            kind = FIELDS[name]
            shape = (record.total(kind.per), kind.width)[:1 + (kind.width > 1)]
            self.flat[name] = _mapped(folder / f"{name}.bin", kind.dtype, shape)
        for name, per in (("node_end", "nodes"), ("edge_end", "edges")):
            ends = self.flat[name]
            if len(ends) and (ends[-1] != record.total(per) or ends[0] < 0 or (np.diff(ends) < 0).any()):
                raise damaged(folder / f"{name}.bin", "it does not count up to what was committed")
        saved = record.files.get("features")
        self.features: Tensor | np.ndarray | None = features
        if features is None and saved is not None:
            self.features = _mapped(folder / saved["file"], "<f4", tuple(saved["shape"]))
        numbers = self.read_table(list(CARRIED))
        self.carried = {attribute: numbers[name].to_numpy(dtype=dtype, na_value=unknown)
                        if name in numbers else np.zeros(0, dtype)
                        for name, (attribute, unknown, dtype) in CARRIED.items()}
        images = read_images(folder, record)
        have = () if images is None else images.columns
        self.labels = {name: images[name].to_numpy() for name in ("person_id", "camera_id") if name in have}
        self.paths: np.ndarray | None = None
        if "path" in have:
            paths = images["path"].to_numpy(dtype=object)
            self.paths = paths if image_root is None else np.array([str(image_root / p) for p in paths], dtype=object)

    def read_table(self, columns: list[str] | None = None) -> pd.DataFrame:
        """The pairs' table, or some of its columns."""
        names = None if columns else ["anchor_path", "neighbour_path"]
        parts = [pq.read_table(self.folder / part["table"]["file"], columns=columns, read_dictionary=names)
                 for part in self.record.parts]
        if not parts:
            return pd.DataFrame()
        # pandas' own kind of truth values can be unknown
        return pa.concat_tables(parts).unify_dictionaries().to_pandas(types_mapper={
            pa.bool_(): pd.BooleanDtype()}.get)

    def span(self, name: str, place: int) -> slice:
        """Where the nodes (``node_end``) or edges (``edge_end``) of a pair lie."""
        ends = self.flat[name]
        return slice(int(ends[place - 1]) if place else 0, int(ends[place]))

    def spans(self, name: str, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """Where they start and how many they are, for pairs (B,)."""
        ends = self.flat[name]
        start = np.where(places > 0, ends[np.maximum(places - 1, 0)], 0)
        return torch.from_numpy(start), torch.from_numpy(ends[places] - start)

    def integers(self, name: str, where: slice | np.ndarray) -> Tensor:
        """A copy of some entries of a flat file."""
        return torch.from_numpy(self.flat[name][where].astype(np.int64, order="C"))

    def of_nodes(self, n_id: Tensor, branch: Tensor) -> dict[str, Tensor]:
        """Features and labels of nodes (n,), in the banks ``branch`` (n,)."""
        found = {name: torch.from_numpy(label[n_id.numpy()]) for name, label in self.labels.items()}
        if isinstance(self.features, Tensor):
            device = self.features.device
            found["x"] = self.features[branch.to(device), n_id.to(device)]
        elif self.features is not None:
            found["x"] = torch.from_numpy(self.features[branch.numpy(), n_id.numpy()])
        return found


def _mapped(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if not np.prod(shape):
        return np.zeros(shape, dtype)  # an empty file cannot be mapped
    return np.asarray(np.memmap(path, dtype, "r", shape=shape))
