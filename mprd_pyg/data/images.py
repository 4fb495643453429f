"""Any file PIL can decode becomes uint8 RGB of one size; files it cannot are found before any work."""
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from mprd_pyg.data.table import ImageTable, check_table, table_root

MAX_PIXELS = int(os.environ.get("MPRD_PYG_MAX_PIXELS", 50_000_000))
"""Pixels of an image, at most: a small file can claim more than memory holds. Set by the environment variable."""
RUN_BY_OTHERS = ("EPS", "WMF", "EMF")  # formats that PIL hands to another program


def open_rgb(path: str | Path) -> Image.Image:
    """Decode an image file whole, upright (EXIF) and as RGB; the content decides the format, not the suffix.

    16-bit images keep their upper 8 bits; an alpha channel is dropped.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file cannot be decoded, or has more than ``MAX_PIXELS``; the message names it.
    """
    try:
        if os.stat(path).st_size == 0:
            raise ValueError("the file has zero bytes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")     # PIL's remarks on metadata; what is wrong raises
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS:,}; if you "
                                     f"trust it, set MPRD_PYG_MAX_PIXELS")
                if image.format in RUN_BY_OTHERS:
                    raise ValueError(f"{image.format} is no format of photographs")
                image.load()
                return _rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise FileNotFoundError(f"image {path} does not exist") from None
    except Exception as error:      # decoders raise OSError, SyntaxError, struct.error, ... on broken content
        raise ValueError(f"image {path} cannot be read: {error}") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # I;16, I;16B, I: 16-bit greyscale, which convert() would clip
        values = np.asarray(image).astype(np.int64)
        values = values >> 8 if image.mode != "I" or values.max() > 255 else values
        image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def read_image(path: str | Path, size: tuple[int, int]) -> Tensor:
    """Read and resize one image, bilinear with antialiasing (torchvision's ``resize(..., antialias=True)``).

    Args:
        path: image file.
        size: (H, W) in pixels.

    Returns:
        (3, H, W) uint8, RGB.
    """
    height, width = size
    pixels = np.array(open_rgb(path).resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def find_unreadable(frame: ImageTable, root: str | Path | None = None, workers: int = 8) -> list[tuple[str, str]]:
    """Decode every image of the table once and list those that cannot be read.

    Args:
        frame: the image table.
        root: the data root; None takes ``frame.attrs["root"]``.
        workers: threads.

    Returns:
        (path, reason) in the table's order; empty if all is well.
    """
    root = table_root(frame, root)

    def reason(path: str) -> str | None:
        try:
            open_rgb(root / path)
        except FileNotFoundError:
            return "the file does not exist"
        except ValueError as error:
            return str(error.__cause__ or error)
        return None

    paths = frame["path"].tolist()
    with ThreadPoolExecutor(max_workers=workers) as pool:
        return [(path, text) for path, text in zip(paths, pool.map(reason, paths), strict=True) if text]


def check_images(frame: ImageTable, root: str | Path | None = None, skip_unreadable: bool = False,
                 workers: int = 8) -> ImageTable:
    """Raise one ``ValueError`` that lists all unreadable images, or leave them out.

    Args:
        frame: the image table.
        root: the data root; None takes ``frame.attrs["root"]``.
        skip_unreadable: return the table without them; ``attrs["skipped_unreadable"]`` lists their paths.
        workers: threads.

    Returns:
        The table itself if every image can be read, else the rest of it with rows numbered anew.
    """
    bad = find_unreadable(frame, root, workers)
    if not bad:
        return frame
    listed = "\n".join(f"  {path}: {reason}" for path, reason in bad[:20])
    more = f"\n  ... and {len(bad) - 20} more" if len(bad) > 20 else ""
    summary = f"{len(bad)} of {len(frame)} images cannot be read:\n{listed}{more}"
    if not skip_unreadable:
        raise ValueError(f"{summary}\nRepair them, or go on without them: --data.skip_unreadable true")
    if len(bad) == len(frame):
        raise ValueError(f"{summary}\nNone is left to go on with")
    rest = frame[~frame["path"].isin([path for path, _ in bad])].reset_index(drop=True)
    rest.attrs = {**frame.attrs, "skipped_unreadable": [path for path, _ in bad]}
    check_table(rest)
    return rest


class ImageStore:
    """The table's images at one size, by row; kept in memory once read, when they fit.

    Args:
        frame: the image table; only its paths are kept.
        root: the data root; None takes ``frame.attrs["root"]``.
        size: (H, W) in pixels.
        in_memory: keep decoded images: True, False, or ``"auto"``: when N * 3 * H * W <= ``limit`` bytes.
            The memory is claimed page by page as images are read. A copy pickled into a worker process
            starts with nothing kept, and worker processes do not share what they keep.
        limit: bytes, for ``"auto"``.

    Example::

        store = ImageStore(frame, size=(256, 128))
        store[0]                                     # (3, 256, 128) uint8
    """

    def __init__(self, frame: ImageTable, root: str | Path | None = None, size: tuple[int, int] = (256, 128),
                 in_memory: bool | Literal["auto"] = "auto", limit: int = 2**30):
        if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
            raise ValueError(f"size must be two positive whole numbers (height, width), found {size!r}")
        if in_memory not in (True, False, "auto"):
            raise ValueError(f"in_memory must be True, False or 'auto', found {in_memory!r}")
        self.root, self.size, self.paths = table_root(frame, root), tuple(size), frame["path"].tolist()
        num_bytes = len(self.paths) * 3 * size[0] * size[1]
        self.in_memory = num_bytes <= limit if in_memory == "auto" else in_memory
        self._pixels = self._filled = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        """(3, H, W) uint8 of row ``index``, a copy that may be changed; unreadable: see :func:`open_rgb`."""
        index = range(len(self.paths))[int(index)]      # negative indices; IndexError outside
        return self.batch([index])[0]

    def batch(self, rows: Sequence[int]) -> Tensor:
        """(B, 3, H, W) uint8 of several rows, likewise."""
        if not self.in_memory:
            return torch.stack([read_image(self.root / self.paths[row], self.size) for row in rows])
        if self._pixels is None:
            self._pixels = torch.empty((len(self.paths), 3, *self.size), dtype=torch.uint8)
            self._filled = np.zeros(len(self.paths), dtype=bool)
        rows = np.asarray(rows)
        for row in rows[~self._filled[rows]]:
            self._pixels[row] = read_image(self.root / self.paths[row], self.size)
            self._filled[row] = True
        return self._pixels[rows]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_pixels": None, "_filled": None}

    def __repr__(self) -> str:
        return f"ImageStore({len(self)} images, size={self.size}, in_memory={self.in_memory})"
