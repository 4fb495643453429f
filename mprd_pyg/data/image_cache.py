"""Decoded, resized images in one memory-mapped file that all processes share, checked against the files they came from.
"""
import hashlib
import json
import logging
import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mprd_pyg.data.images import read_image
from mprd_pyg.data.table import ImageTable, table_root
from mprd_pyg.files import locked, replacing

logger = logging.getLogger(__name__)

HEADER, VERSION = 4096, 1


class ImageCache:
    """The images of a table at one size: N x 3 x H x W bytes on disk, read without decoding.

    The file is found by data root, card and size, and holds what it was made from: the version, the size, and a digest
    of every image's path, file size and time of change. Whatever does not agree, is cut short, or fails the checksums
    of a sample of its images is made anew. It is written beside and renamed, under a lock, so that a second process
    waits and then uses it; one that still reads an old file goes on undisturbed.

    Args:
        frame: the image table; only paths matter.
        size: (H, W) in pixels.
        folder: where the file is kept; may be shared by any number of datasets and runs.
    """

    def __init__(self, frame: ImageTable, size: tuple[int, int], folder: str | Path):
        self.root, self.size, self.folder = table_root(frame), tuple(size), Path(folder).expanduser()
        self.names = sorted(frame["path"])
        self.slot = {name: slot for slot, name in enumerate(self.names)}
        place = json.dumps([str(self.root.resolve()), frame.attrs.get("card"), self.size])
        self.path = self.folder / f"{hashlib.sha256(place.encode()).hexdigest()[:16]}.images"
        self.header = {"version": VERSION, "size": list(self.size), "images": len(self.names),
                       "digest": files_digest(self.root, self.names)}
        self.shape = (len(self.names), 3, *self.size)

    def ensure(self, workers: int = 8, progress: bool = True) -> "ImageCache":
        """Make the file unless there is a good one.

        Args:
            workers: threads that decode.
            progress: show a bar while it is made.

        Raises:
            ValueError: an image cannot be read, or the folder cannot be written.
        """
        if self.problem() is None:
            return self
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.path.with_suffix(".lock")):
                problem = self.problem()        # another process may have made it meanwhile
                if problem is not None:
                    logger.info("image cache %s: %s", self.path, problem)
                    self._make(workers, progress)
        except OSError as error:
            raise ValueError(f"the image cache {self.path} cannot be written: {error}; give another folder "
                             "(--data.cache DIR) or do without (--data.cache none)") from error
        return self

    def problem(self) -> str | None:
        """Why the file cannot be used, or None if it can."""
        try:
            with open(self.path, "rb") as file:
                header = json.loads(file.read(HEADER))
                file.seek(0, os.SEEK_END)
                length = file.tell()
        except FileNotFoundError:
            return "made for the first time"
        except (OSError, ValueError):
            return "not readable, made anew"
        if header != self.header:
            return "of other or changed images, made anew"
        if length != HEADER + self.num_bytes + 4 * len(self.names):
            return "cut short, made anew"
        pixels, sums = self.open()
        sample = np.unique(np.linspace(0, len(self.names) - 1, 32).astype(int))
        return None if all(zlib.crc32(pixels[i]) == sums[i] for i in sample) else "damaged, made anew"

    @property
    def num_bytes(self) -> int:
        """Of the pixels."""
        return int(np.prod(self.shape))

    def open(self) -> tuple[np.ndarray, np.ndarray]:
        """The images (N, 3, H, W) uint8 in the order of their sorted paths, and their checksums, both mapped."""
        sums = np.memmap(self.path, np.uint32, "r", HEADER + self.num_bytes, (len(self.names),))
        return np.memmap(self.path, np.uint8, "r", HEADER, self.shape), sums

    def _make(self, workers: int, progress: bool) -> None:
        sums = np.zeros(len(self.names), dtype=np.uint32)
        # Written, not mapped: a full disk is then an error and not a crash.
        with (replacing(self.path, sync=False) as part, open(part, "wb") as file,
              ThreadPoolExecutor(max_workers=workers) as pool):
            file.write(json.dumps(self.header).encode().ljust(HEADER))
            for start in tqdm(range(0, len(self.names), 256), desc="image cache", leave=False,
                              disable=None if progress else True):
                names = self.names[start:start + 256]
                for i, pixels in enumerate(pool.map(lambda n: read_image(self.root / n, self.size).numpy(), names)):
                    file.write(pixels.data)
                    sums[start + i] = zlib.crc32(pixels)
            file.write(sums.data)

    def store(self, frame: ImageTable) -> "CachedStore":
        """The images of some of the table's rows, in their order."""
        return CachedStore(self, frame["path"].tolist())


class CachedStore:
    """Images by row from an :class:`ImageCache`, as :class:`~mprd_pyg.data.ImageStore` gives them.

    Args:
        cache: where they are.
        paths: of the rows.
    """

    def __init__(self, cache: ImageCache, paths: list[str]):
        self.cache, self.paths, self.root, self.size = cache, paths, cache.root, cache.size
        self.slots = np.array([cache.slot[path] for path in paths], dtype=np.int64)
        self._pixels = cache.open()[0]  # now: should the file be replaced later, this one stays

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """(3, H, W) uint8 of row ``index``, a copy."""
        return self.batch([range(len(self.paths))[int(index)]])[0]

    def batch(self, rows: Sequence[int]) -> Tensor:
        """(B, 3, H, W) uint8 of several rows, a copy."""
        return torch.from_numpy(np.asarray(self._pixels[self.slots[np.asarray(rows)]]))

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_pixels": None}       # a worker maps the file, it is not sent the images

    def __setstate__(self, state: dict):
        self.__dict__.update(state, _pixels=state["cache"].open()[0])

    def __repr__(self) -> str:
        return f"CachedStore({len(self)} images, size={self.size}, file={self.cache.path})"


def files_digest(root: Path, names: Sequence[str]) -> str:
    """The sha256 over path, size and time of change of files; a missing one raises ``FileNotFoundError``."""
    digest = hashlib.sha256()
    for name in names:
        found = os.stat(root / name)
        digest.update(f"{name}\0{found.st_size}\0{found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def default_folder() -> Path:
    """``$XDG_CACHE_HOME/mprd_pyg``, or ``~/.cache/mprd_pyg``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mprd_pyg"
