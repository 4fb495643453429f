"""Links of a MATLAB matrix, read in a process of its own: a damaged file can crash SciPy's reader.

Run by :func:`mprd_pyg.link_prediction.graph_files.read_mat`: ``python mat_reader.py FILE KEY OUT``. It writes arrays
to OUT, or what is wrong to standard error.
"""
import sys
from contextlib import suppress

import numpy as np
from scipy.io import loadmat
from scipy.sparse import coo_matrix, issparse

MEMORY = 16 << 30  # bytes of address space: sizes that a damaged file only claims are refused
SECONDS = 300  # of computing


def read(path: str, key: str) -> dict[str, np.ndarray]:
    """``edges`` (E, 2), those of entries other than 0, and ``num_nodes``.

    Raises:
        ValueError: the file has no square matrix of numbers of that name.
    """
    try:
        found = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    except NotImplementedError as error:
        raise ValueError("is of MATLAB's version 7.3: save it with -v7") from error
    if key not in found:
        shapes = ", ".join(f"{name} {getattr(value, 'shape', '')}" for name, value in found.items())
        raise ValueError(f"has no matrix {key!r}; it holds: {shapes or 'nothing'}. Name one by --key")
    matrix = found[key]
    if not issparse(matrix) and (not isinstance(matrix, np.ndarray) or matrix.dtype.kind not in "biuf"):
        raise ValueError(f"has {key!r}, which is not a matrix of numbers: name another one by --key")
    if len(matrix.shape) != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"has {key!r} of shape {matrix.shape}: an adjacency matrix is square")
    if issparse(matrix):
        matrix.check_format(full_check=True)
    matrix = coo_matrix(matrix)
    matrix.eliminate_zeros()
    return {"edges": np.stack([matrix.row, matrix.col], axis=1), "num_nodes": np.array(matrix.shape[0])}


if __name__ == "__main__":
    with suppress(ImportError, OSError, ValueError):  # where the system has no such limits
        import resource
        for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_AS, MEMORY)):
            resource.setrlimit(limit, (value, value))
    try:
        with open(sys.argv[3], "wb") as file:
            np.savez(file, **read(*sys.argv[1:3]))
    except Exception as error:  # SciPy's reader raises many kinds on damaged files
        text = " ".join(str(error).split())[:1000] or type(error).__name__
        known = isinstance(error, ValueError) and text.startswith(("is of", "has "))
        sys.exit(text if known else f"is not a readable .mat file ({text})")
