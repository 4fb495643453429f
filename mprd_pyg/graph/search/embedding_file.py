"""An embedding matrix in a ``.npy`` file, of which blocks of rows are read."""
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: blocks of so many bytes, spread evenly over the file, are what a checksum covers
SAMPLE_BLOCKS, SAMPLE_BYTES = 64, 1 << 16


@dataclass(frozen=True)
class EmbeddingFile:
    """A (N, d) float matrix on disk; only the rows that are asked for are mapped into memory.

    Args:
        path: of a ``.npy`` file, as ``numpy.save`` writes it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ``.npy`` file, or not a two-dimensional float array in C order, or cut short.
    """

    path: Path

    def __post_init__(self):
        if not self.path.is_file():
            raise FileNotFoundError(f"no embedding matrix {self.path}")
        try:
            matrix = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise ValueError(f"{self.path} is no readable .npy file ({error}): save it with numpy.save") from error
        if not isinstance(matrix, np.memmap) or matrix.ndim != 2 or matrix.dtype.kind != "f" or not matrix.size:
            shown = f"{matrix.dtype} of shape {matrix.shape}" if isinstance(matrix, np.ndarray) else "an archive"
            raise ValueError(f"{self.path} holds {shown}: expected a float array (N, d), saved with numpy.save")
        if matrix.dtype.itemsize > 8 or not matrix.flags.c_contiguous:
            raise ValueError(f"{self.path} holds {matrix.dtype} in Fortran order or of more than 64 bits: save "
                             f"numpy.ascontiguousarray(x, 'float32')")
        object.__setattr__(self, "shape", matrix.shape)
        object.__setattr__(self, "dtype", matrix.dtype)
        object.__setattr__(self, "offset", matrix.offset)

    @property
    def bytes_per_row(self) -> int:
        """Memory that a row takes while it is read: as it is on disk, normalised, and as float32."""
        return self.shape[1] * (2 * self.dtype.itemsize + 4)

    def rows(self, start: int, stop: int, metric: str) -> Tensor:
        """Rows start ... stop - 1 as :class:`KNNGraph` compares them: (stop - start, d) float32, unit for the cosine.

        Raises:
            ValueError: a value is NaN or infinite; names the first row.
        """
        block = np.memmap(self.path, self.dtype, "r", self.offset + start * self.shape[1] * self.dtype.itemsize,
                          (stop - start, self.shape[1]))
        x = torch.from_numpy(block.astype(self.dtype.newbyteorder("=")))
        del block  # the mapped pages count as the process's memory until then
        if not bool(torch.isfinite(x.sum())):
            bad = (~torch.isfinite(x)).any(1).nonzero().flatten()
            if len(bad):
                raise ValueError(f"{self.path} holds NaN or infinite values in row {start + int(bad[0])}: no "
                                 f"neighbours can be found")
        return (F.normalize(x, dim=1) if metric == "cosine" else x).float()

    def identity(self) -> str:
        """Size, time of the last change, and a CRC-32 of the header and of blocks all over the file."""
        stat, checksum = self.path.stat(), 0
        with open(self.path, "rb") as file:
            last = max(stat.st_size - SAMPLE_BYTES, 0)
            for place in sorted({last * i // (SAMPLE_BLOCKS - 1) for i in range(SAMPLE_BLOCKS)}):
                file.seek(place)
                checksum = zlib.crc32(file.read(SAMPLE_BYTES), checksum)
        return (f"{self.shape[0]} x {self.shape[1]} {self.dtype.name}, {stat.st_size} bytes, changed at "
                f"{stat.st_mtime_ns} ns, CRC-32 {checksum:08x}")
