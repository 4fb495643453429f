"""Planetoid's ``ind.NAME.*`` files: Python pickles, read by an unpickler that can build arrays and nothing else."""
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mprd_pyg.link_prediction.link_graph import LinkGraph


class SparseParts:
    """Stands in for ``scipy.sparse.csr_matrix`` while reading: its fields, which are checked before use."""

    def __setstate__(self, state: Any) -> None:
        self.state = state


def latin1(text: str, encoding: str) -> bytes:
    """Stands in for ``_codecs.encode``, by which Python 3 writes bytes in the old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it holds bytes as {encoding!r}")
    return text.encode("latin1")


ALLOWED = {
    ("_codecs", "encode"): latin1,
    ("collections", "defaultdict"): defaultdict, ("__builtin__", "list"): list, ("builtins", "list"): list,
    ("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np.array([]).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.array([]).__reduce__()[0],
    ("scipy.sparse.csr", "csr_matrix"): SparseParts, ("scipy.sparse._csr", "csr_matrix"): SparseParts,
}


class ArrayUnpickler(pickle.Unpickler):
    """Resolves no name but those of NumPy arrays, CSR matrices, lists and default dictionaries."""

    def find_class(self, module: str, name: str) -> Any:
        """The allowed object of that name."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only arrays, CSR matrices and lists of "
                                         f"neighbours are read")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """None are read."""
        raise pickle.UnpicklingError("it holds a persistent id")


def read_pickle(path: Path) -> Any:
    """Arrays of a pickle.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or names anything else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: a Planetoid graph needs ind.NAME.graph, and for features "
                                f"ind.NAME.allx, .tx and .test.index beside it")
    try:
        with open(path, "rb") as file:
            return ArrayUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises any kind
        raise ValueError(f"{path} was not read as a Planetoid file: {error}") from error


def read_planetoid(path: str | Path) -> LinkGraph:
    """Graph and features of ``ind.NAME.graph``; any of the NAME's files, or ``ind.NAME``, names them all.

    Test nodes missing from ``test.index`` (Citeseer) get zero features. Nodes are named by number, from 0.
    """
    path = Path(path)
    name = path.name.split(".")[1]
    file = {part: path.with_name(f"ind.{name}.{part}") for part in ("graph", "allx", "tx", "test.index")}
    lists = read_pickle(file["graph"])
    try:
        edges = [(int(node), int(other)) for node, others in lists.items() for other in others]
        num_nodes = 1 + max(max(map(int, lists)), max((max(edge) for edge in edges), default=0))
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{file['graph']} holds no lists of neighbours ({error})") from error
    x = None
    if file["allx"].is_file():
        x = features(file)
        num_nodes = max(num_nodes, len(x))
        x = torch.cat([x, x.new_zeros(num_nodes - len(x), x.shape[1])])
    return LinkGraph.from_edges(np.array(edges, dtype=np.int64).reshape(-1, 2), num_nodes, x=x)


def features(file: dict[str, Path]) -> torch.Tensor:
    """(N, d): ``allx``, then ``tx`` at the rows that ``test.index`` names."""
    known, tested = (dense(file[part]) for part in ("allx", "tx"))
    try:
        rows = np.array(file["test.index"].read_text().split(), dtype=np.int64)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no file {file['test.index']}, which says whose features tx are") from error
    except ValueError as error:
        raise ValueError(f"{file['test.index']} holds something other than node numbers ({error})") from error
    if len(rows) != len(tested) or known.shape[1] != tested.shape[1] or len(rows) and rows.min() < len(known):
        raise ValueError(f"{file['tx']} ({tested.shape}), {file['allx']} ({known.shape}) and {file['test.index']} "
                         f"({len(rows)} nodes) do not fit together: they are of different graphs")
    x = np.zeros((max(len(known), int(rows.max(initial=-1)) + 1), known.shape[1]), dtype=np.float32)
    x[:len(known)], x[rows] = known, tested
    return torch.from_numpy(x)


def dense(path: Path) -> np.ndarray:
    """A matrix; a sparse one is put together again by SciPy, which checks its indices."""
    from scipy.sparse import csr_matrix
    value = read_pickle(path)
    try:
        if isinstance(value, SparseParts):
            parts = value.state
            matrix = csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=parts["_shape"])
            matrix.check_format(full_check=True)
            value = matrix.toarray()
        if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind not in "biuf":
            raise TypeError(f"{type(value).__name__} is no matrix of numbers")
    except Exception as error:
        raise ValueError(f"{path} does not hold a matrix of features ({error})") from error
    return value.astype(np.float32)
