"""Find the images of a folder that look like a given one: embedded once, kept as a FAISS index."""
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from mprd_pyg import processes
from mprd_pyg.data.images import read_image
from mprd_pyg.models.embedding import embed_images
from mprd_pyg.retrieval.embedded_files import embed_files
from mprd_pyg.retrieval.gallery_files import MANIFEST, foreign_files, load_gallery, save_gallery
from mprd_pyg.retrieval.gallery_index import check_index_type, new_index, search_index
from mprd_pyg.retrieval.gallery_scan import COLUMNS, GalleryUpdate, list_files

__all__ = ["GallerySearch", "GalleryUpdate"]


class GallerySearch:
    """Search a gallery by the cosine of test features, branches concatenated as in the evaluation.

    Args:
        embedder: (B, 3, H, W) normalised images -> (B, M, d).
        size: (H, W) that images are resized to.
        folder: where the index is kept; what is there already is opened.
        describe: plain values that say which network this is, beside its weights.
        index_type: a FAISS factory string; None is that of the index there, ``"SQfp16"`` for a new one, which
            compares with every image in half precision; ``"Flat"`` does in single precision; ``"HNSW32"`` (or
            ``"HNSW32_SQfp16"``) is approximate, and fast for millions.
        device: where the embedder runs.
        batch_size: images per forward pass.
        workers: threads that decode images.
        progress: show a bar.

    Raises:
        ValueError: the folder's index is damaged, of another network, size or type.

    Example::

        gallery = GallerySearch(network, (256, 128), "index")
        print(gallery.update("images"))
        hits = gallery.search(["someone.jpg"], top=10)         # DataFrame: query, rank, path, similarity
    """

    def __init__(self, embedder: nn.Module, size: tuple[int, int], folder: str | Path,
                 describe: dict[str, Any] | None = None, index_type: str | None = None,
                 device: str | torch.device = "cpu", batch_size: int = 64, workers: int = 4, progress: bool = True):
        check_index_type(index_type or "SQfp16")
        self.embedder, self.size, self.folder = embedder.to(device).eval(), tuple(size), Path(folder)
        self.device, self.batch_size, self.workers, self.progress = device, batch_size, workers, progress
        self.network = network_hash(embedder, {"describe": describe or {}, "size": list(size)})
        self.index_type = index_type or "SQfp16"
        self.index: faiss.Index | None = None
        self.table = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in
                                   zip(COLUMNS, ("object", "int64", "int64"), strict=True)})
        self.root, self.skipped = "", []
        if not processes.is_first():
            return  # rank 0 keeps the index, the others embed
        if (self.folder / MANIFEST).is_file():
            self._open(index_type)
        elif foreign := foreign_files(self.folder):
            raise ValueError(f"{self.folder} holds {foreign[0]} and no {MANIFEST}: give an empty or new folder")

    def _open(self, index_type: str | None) -> None:
        index, table, about = load_gallery(self.folder)
        if about["network"] != self.network:
            raise ValueError(f"{self.folder} was made with another network (weights, options or image size), whose "
                             f"features cannot be compared with this one's: give another index folder")
        if index_type not in (None, about["index_type"]):
            raise ValueError(f"{self.folder} is an index of type {about['index_type']}, not {index_type}: give that "
                             f"type or another index folder")
        self.index_type, self.root, self.skipped = about["index_type"], about["root"], about["skipped"]
        self.index, self.table = index, table

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"GallerySearch({len(self)} images of {self.root or 'no gallery yet'}, {self.index_type})"

    def update(self, root: str | Path) -> GalleryUpdate:
        """Bring the index up to date with a folder of images, searched recursively.

        Only new and changed files (size or time of change) are embedded; removed ones leave the index. Files that
        are no images are skipped and reported, hidden ones (``.name``) passed over. It can be stopped at any
        moment and goes on where the last save was. Several processes share the embedding; rank 0 keeps the index.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: no readable image in it, or the index is of another gallery.
        """
        root = Path(root).resolve()
        if not processes.is_first():
            for _ in self._files(root, []):
                pass
            return processes.broadcast(GalleryUpdate(0, 0, 0, 0))
        found, bad = list_files(root, self.folder.resolve())
        now = set(found.itertuples(index=False, name=None))
        same = np.array([row in now for row in self.table.itertuples(index=False, name=None)], dtype=bool)
        present = self.table["path"].isin(found["path"]).to_numpy()
        if len(self) and str(root) != self.root and not same.any():
            raise ValueError(f"{self.folder} is the index of {self.root}, and none of its images is in {root}: "
                             f"give another index folder")
        bad += [entry for entry in self.skipped if tuple(entry.get(name) for name in COLUMNS) in now]
        done = {*self.table["path"][same], *(entry["path"] for entry in bad)}
        new = found[~found["path"].isin(done)].reset_index(drop=True)
        changed, removed, kept = set(self.table["path"][present & ~same]), int((~present).sum()), int(same.sum())
        dirty = not same.all() or len(new) or str(root) != self.root or bad != self.skipped
        if not same.all():
            self._keep(np.flatnonzero(same))
        self.root, self.skipped = str(root), bad
        unsaved = 0
        try:
            for part, features in self._embedded(new):
                if self.index is None:
                    self.index = new_index(features.shape[1], self.index_type)
                self.index.add(features)
                self.table = pd.concat([self.table, part], ignore_index=True)
                unsaved += len(part)
                if unsaved >= max(2048, len(self) // 4):  # geometric: saving costs a constant share of the work
                    self._save()
                    unsaved = 0
        finally:
            if len(self) and dirty:
                self._save()
        reports = [(entry["path"], entry["reason"]) for entry in self.skipped]
        if not len(self):
            listed = "".join(f"\n  {path}: {reason}" for path, reason in reports[:20])
            raise ValueError(f"{root} holds no readable image{listed}")
        embedded = set(new["path"]) - {path for path, _ in reports}
        return processes.broadcast(
            GalleryUpdate(len(embedded - changed), len(embedded & changed), removed, kept, sorted(reports)))

    def search(self, queries: Sequence[str | Path | Image.Image], top: int = 10) -> pd.DataFrame:
        """The most similar gallery images of each query: columns query, rank (from 1), path, similarity (cosine).

        Raises:
            FileNotFoundError, ValueError: a query that cannot be read; an empty index.
        """
        if top < 1 or not len(queries):
            raise ValueError(f"got {len(queries)} queries and top={top}; expected at least one of each")
        images = [self._tensor(query) for query in queries]
        names = [str(query) if isinstance(query, str | Path) else f"query {i + 1}" for i, query in enumerate(queries)]
        similarity, rows = self.nearest(self._features(images), top)
        hits = pd.DataFrame({"query": np.repeat(names, rows.shape[1]),
                             "rank": np.tile(np.arange(1, rows.shape[1] + 1), len(names)),
                             "path": self.table["path"].to_numpy()[rows.reshape(-1)],
                             "similarity": similarity.reshape(-1).clip(-1, 1)})  # rounding of halves may pass 1
        return hits[rows.reshape(-1) >= 0].reset_index(drop=True)  # a graph index may find fewer

    def nearest(self, features: np.ndarray, top: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Similarities and rows of the table for unit features (Q, d): both (Q, min(top, N)), best first."""
        if self.index is None or not len(self):
            raise ValueError(f"{self.folder} holds no images yet: give a gallery")
        return search_index(self.index, np.ascontiguousarray(features, dtype=np.float32), min(top, len(self)))

    def _features(self, images: list[Tensor]) -> np.ndarray:
        x = embed_images(self.embedder, images, device=self.device, batch_size=self.batch_size)
        return F.normalize(x.flatten(1).float(), dim=1).cpu().numpy()

    def _tensor(self, query: str | Path | Image.Image) -> Tensor:
        if not isinstance(query, Image.Image):
            return read_image(query, self.size)
        height, width = self.size
        pixels = np.array(query.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()

    def _embedded(self, new: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, np.ndarray]]:
        """Rows of ``new`` with their features, part by part; unreadable files go to ``skipped``."""
        entries = new.set_index("path", drop=False)
        for places, features, unreadable in self._files(Path(self.root), new["path"].tolist()):
            self.skipped = self.skipped + [{**entries.loc[path].to_dict(), "reason": reason}
                                           for path, reason in unreadable]
            if len(places):
                yield new.iloc[places], features

    def _files(self, root: Path, paths: list[str]) -> Iterator[tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]]:
        return embed_files(self.embedder, root, paths, self.size, self.device, self.batch_size, self.workers,
                           self.progress)

    def _keep(self, rows: np.ndarray) -> None:
        """Make the index anew from some of its own vectors."""
        index = new_index(self.index.d, self.index_type)
        for start in range(0, len(rows), 8192):
            index.add(self.index.reconstruct_batch(rows[start:start + 8192]))
        self.index, self.table = index, self.table.iloc[rows].reset_index(drop=True)

    def _save(self) -> None:
        save_gallery(self.folder, self.index, self.table, {
            "network": self.network, "index_type": self.index_type, "root": self.root, "skipped": self.skipped})


def network_hash(network: nn.Module, more: dict[str, Any]) -> str:
    """SHA-256 of all weights, their names and plain values beside them."""
    digest = hashlib.sha256(json.dumps(more, sort_keys=True, default=str).encode())
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
