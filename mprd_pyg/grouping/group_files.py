"""Features and groups of many images on disk: only ever appended to, checked before use, and mapped into memory."""
import os
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mprd_pyg.files import locked, replacing
from mprd_pyg.manifest import FileEntry, Manifest, refusing_damage
from mprd_pyg.parquet import read_parquet

MANIFEST, FEATURES, KIND = "groups.json", "features.f32", "mprd-pyg groups, version 1"
COLUMNS = {"root": "int64", "path": "object", "bytes": "int64", "mtime_ns": "int64", "person_id": "int64",
           "camera_id": "int64", "group": "int64", "confidence": "float32", "verdict": "int64", "similarity": "float32",
           "nearest": "int64", "nearest_similarity": "float32"}
TABLE = re.compile(r"images-\d{6}\.parquet")


class GroupFiles:
    """The files of a groups folder: ``features.f32``, a table of the images, and a manifest that is replaced last.

    Features are appended behind the bytes that the manifest counts; what an interrupted call left there is cut off
    when the folder is opened. So at any moment the folder holds the images before or after a call of ``save``.

    Args:
        folder: opened if it holds groups, else made by the first :meth:`save`.

    Raises:
        ValueError: it is damaged, or holds something else.

    Attributes:
        table: a row per image, in the order of the features: ``COLUMNS``.
        about: plain values.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.table = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
        self.about: dict[str, Any] = {}
        self.stored = FileEntry(FEATURES, 0, 0)
        if (self.folder / MANIFEST).is_file():
            with locked(self.folder):
                self._open()

    def _open(self) -> None:
        remedy = f"remove {self.folder} and make the groups again"
        manifest = Manifest.read(self.folder / MANIFEST, KIND, remedy)
        path = self.folder / FEATURES
        with refusing_damage(self.folder / MANIFEST, remedy):
            self.stored, table = manifest.files
            if self.stored.name != FEATURES or not TABLE.fullmatch(table.name):
                raise ValueError(f"it names {self.stored.name} and {table.name}")
        if path.is_file() and path.stat().st_size > self.stored.bytes:
            os.truncate(path, self.stored.bytes)
        manifest.check_files(self.folder, remedy)
        self.about = manifest.about
        with refusing_damage(self.folder / table.name, remedy):
            self.table = read_parquet(self.folder / table.name)[list(COLUMNS)].astype(COLUMNS)
            if 4 * len(self.table) * self.about["dim"] != self.stored.bytes:
                raise ValueError(f"{len(self.table)} images and {self.stored.bytes} bytes of features do not fit")

    def __len__(self) -> int:
        return len(self.table)

    @property
    def features(self) -> Tensor:
        """(N, d) unit features, mapped: only what is used is read. They are not to be written to."""
        if not len(self):
            return torch.zeros(0, self.about.get("dim", 0))
        mapped = np.memmap(self.folder / FEATURES, "<f4", "c", shape=(len(self), self.about["dim"]))
        return torch.from_numpy(mapped)

    def save(self, table: pd.DataFrame, features: np.ndarray | None = None) -> None:
        """Write the table, which may have more rows than before at its end, and the features (A, d) of these."""
        self.folder.mkdir(parents=True, exist_ok=True)
        more = np.zeros((0, self.about.get("dim", 0)), "<f4") if features is None else \
            np.ascontiguousarray(features, dtype="<f4")
        self.about.setdefault("dim", more.shape[1])
        if more.shape != (len(table) - len(self), self.about["dim"]):
            raise ValueError(f"{len(table) - len(self)} new images of {self.about['dim']} dimensions do not fit "
                             f"features {more.shape}")
        path, before = self.folder / FEATURES, self.stored
        with locked(self.folder):
            number = 1 + max((int(name[7:13]) for name in self._tables()), default=0)
            name = self.folder / f"images-{number:06d}.parquet"
            with open(path, "ab") as file:
                file.truncate(before.bytes)
                file.write(more.data)
                file.flush()
                os.fsync(file.fileno())
            stored = FileEntry(FEATURES, before.bytes + more.nbytes, zlib.crc32(more.data, before.crc32))
            with replacing(name) as part:
                table[list(COLUMNS)].to_parquet(part, index=False)
            Manifest(KIND, (stored, FileEntry.of(name)), self.about).write(self.folder / MANIFEST)
            for old in self._tables() - {name.name}:
                (self.folder / old).unlink(missing_ok=True)
        self.stored, self.table = stored, table

    def _tables(self) -> set[str]:
        return {path.name for path in self.folder.iterdir() if TABLE.fullmatch(path.name)}
