"""CUHK03's archive, a MATLAB v7.3 file: images as PNG files, its 20 test sets, and lists of the 767/700 protocol."""
import io
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

logger = logging.getLogger(__name__)

BOXES = {"labeled": 14_096, "detected": 14_097}
"""The two kinds of bounding boxes, and how many images of each the published archive holds."""
SPLITS_FILE = "splits_classic.json"
File = tuple[str, Callable[[], bytes]]


@contextmanager
def open_cuhk03(archive: Path, folders: Sequence[Path] = ()) -> Iterator[list[File]]:
    """The files to write, in a fixed order; their contents can be made while the context is open.

    - ``images_labeled/P_NNN_V_II.png`` and ``images_detected/...``: pair of cameras, person, view, image;
    - ``splits_classic.json``: the test identities (``P_NNN``) of the 20 published splits;
    - ``lists_new_labeled/{train,query,gallery}.txt`` and ``lists_new_detected/...`` where
      ``cuhk03_new_protocol_config_labeled.mat`` and ``..._detected.mat`` are found.

    Args:
        archive: ``cuhk-03.mat``.
        folders: where to look for the two configurations.

    Raises:
        ValueError: the archive is truncated, no MATLAB v7.3 file, or not CUHK03's.
    """
    import h5py  # takes a while, and only this needs it

    try:
        opened = h5py.File(archive, "r")
    except OSError as error:
        raise ValueError(f"{archive} is truncated or no MATLAB v7.3 file ({error}); compare its size with the "
                         "original's and get it again") from error
    with opened as mat:
        try:
            missing = [key for key in (*BOXES, "testsets") if key not in mat]
            if missing:
                raise ValueError(f"{archive} lacks {', '.join(missing)}: it is not CUHK03's cuhk-03.mat; it holds "
                                 f"{', '.join(sorted(mat)) or 'nothing'}")
            images = {box: _images(mat, box) for box in BOXES}
            files = [file for box in BOXES for file in images[box].items()]
            files.append((SPLITS_FILE, (json.dumps({"test": _test_sets(mat)}, indent=0) + "\n").encode))
        except (OSError, KeyError, IndexError, RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(f"{archive} is damaged, or not CUHK03's: {error}") from error
        for box, count in BOXES.items():
            if len(images[box]) != count:
                logger.warning("%s holds %s %s images, %s expected", archive.name, f"{len(images[box]):,}", box,
                               f"{count:,}")
            config = next((path for folder in folders for path in
                           [folder / f"cuhk03_new_protocol_config_{box}.mat"] if path.is_file()), None)
            if config is not None:
                files += _lists(config, box, images[box])
            else:
                logger.warning("without cuhk03_new_protocol_config_%s.mat beside the archive, one level above it or in "
                               "the output folder there are no lists for the 767/700 protocol", box)
        yield files


def _images(mat: Any, box: str) -> dict[str, Callable[[], bytes]]:
    """Path -> function that makes the PNG, of every cell that is not empty."""
    found = {}
    for pair, reference in enumerate(mat[box][()].T.flat, start=1):     # HDF5 reverses MATLAB's order of dimensions
        cells = mat[reference][()].T                    # (persons, 10): five images of each view
        if cells.ndim != 2 or cells.shape[1] != 10:
            raise ValueError(f"{mat.filename}: {box}, pair {pair}: expected persons x 10 cells, found {cells.shape}")
        for (person, image), cell in np.ndenumerate(cells):
            if mat[cell].ndim == 3:                     # an empty cell is stored as a vector, its size
                name = f"{pair}_{person + 1:03d}_{1 if image < 5 else 2}_{image + 1:02d}.png"
                found[f"images_{box}/{name}"] = _png(mat, cell, f"{mat.filename}: {name}")
    return found


def _png(mat: Any, cell: Any, what: str) -> Callable[[], bytes]:
    def content() -> bytes:
        try:
            pixels = mat[cell][()].T                      # (3, W, H) -> (H, W, 3)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{what} cannot be read, the archive is damaged: {error}") from error
        if pixels.dtype != np.uint8 or pixels.shape[2] != 3:
            raise ValueError(f"{what}: expected uint8 (H, W, 3), found {pixels.dtype} {pixels.shape}")
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG", compress_level=3)
        return buffer.getvalue()
    return content


def _test_sets(mat: Any) -> list[list[str]]:
    sets = [mat[reference][()].T.astype(int) for reference in mat["testsets"][()].T.flat]
    for number, rows in enumerate(sets):
        if rows.ndim != 2 or rows.shape[1] != 2:
            raise ValueError(f"{mat.filename}: test set {number}: expected rows of pair and person, found {rows.shape}")
    return [sorted({f"{pair}_{person:03d}" for pair, person in rows.tolist()}) for rows in sets]


def _lists(config: Path, box: str, images: dict) -> list[File]:
    """The list files that a configuration of the 767/700 protocol (Zhong et al., CVPR 2017) stands for."""
    from scipy.io import loadmat

    try:
        values = loadmat(config)
        names = [str(name[0]) if isinstance(name, np.ndarray) else str(name) for name in values["filelist"].ravel()]
        chosen = {split: [names[row] for row in values[f"{split}_idx"].ravel().astype(int) - 1]
                  for split in ("train", "query", "gallery")}
    except Exception as error:      # the reader raises all kinds of errors on files of another kind
        raise ValueError(f"{config} is no configuration of CUHK03's 767/700 protocol: {error!r}") from error
    absent = sorted({name for part in chosen.values() for name in part if f"images_{box}/{name}" not in images})
    if absent:
        raise ValueError(f"{config} names {len(absent)} images that the archive does not hold, first: "
                         f"{', '.join(absent[:5])}")
    return [(f"lists_new_{box}/{split}.txt", "".join(f"{name}\n" for name in part).encode)
            for split, part in chosen.items()]
