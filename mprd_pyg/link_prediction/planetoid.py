"""Planetoid's ``ind.NAME.*`` files: Python pickles, read by an unpickler that can build arrays and nothing else."""
import math
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
        edges = np.array([(int(node), int(other)) for node, others in lists.items() for other in others],
                         dtype=np.int64).reshape(-1, 2)
        num_nodes = 1 + max(max(map(int, lists)), int(edges.max(initial=0)))
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{file['graph']} holds no lists of neighbours ({error})") from error
    check_nodes(file["graph"], num_nodes, len(lists) + len(np.unique(edges)))
    x = None
    if file["allx"].is_file():
        x = features(file)
        num_nodes = max(num_nodes, len(x))
        check_nodes(file["graph"], num_nodes, len(lists) + len(x))
        x = torch.cat([x, x.new_zeros(num_nodes - len(x), x.shape[1])])
    return LinkGraph.from_edges(edges, num_nodes, x=x)


def check_nodes(path: Path, num_nodes: int, named: int) -> None:
    """Raise ValueError where the highest number is far above how many nodes are named: memory is taken for all."""
    if num_nodes > 2 * named + 1000:
        raise ValueError(f"{path} names node {num_nodes - 1:,} and no more than {named:,} nodes: it is damaged, or its "
                         f"nodes are not numbered from 0")


def features(file: dict[str, Path]) -> torch.Tensor:
    """(N, d): ``allx``, then ``tx`` at the rows that ``test.index`` names."""
    known, tested = (dense(file[part]) for part in ("allx", "tx"))
    try:
        rows = np.array(file["test.index"].read_text().split(), dtype=np.int64)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no file {file['test.index']}, which says whose features tx are") from error
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{file['test.index']} holds something other than node numbers ({error})") from error
    if len(rows) != len(tested) or known.shape[1] != tested.shape[1] or len(rows) and rows.min() < len(known):
        raise ValueError(f"{file['tx']} ({tested.shape}), {file['allx']} ({known.shape}) and {file['test.index']} "
                         f"({len(rows)} nodes) do not fit together: they are of different graphs")
    check_nodes(file["test.index"], int(rows.max(initial=-1)) + 1, len(known) + len(tested))
    x = np.zeros((max(len(known), int(rows.max(initial=-1)) + 1), known.shape[1]), dtype=np.float32)
    x[:len(known)], x[rows] = known, tested
    return torch.from_numpy(x)


def check_size(path: Path, size: int) -> None:
    """Raise ValueError for a matrix of far more bytes than its file holds, even as zeros that are left out."""
    if size > 100_000_000 + 10_000 * path.stat().st_size:
        raise ValueError(f"a matrix of {size:,} bytes in a file of {path.stat().st_size:,}")


def dense(path: Path) -> np.ndarray:
    """A matrix; a sparse one is put together again by SciPy, which checks its indices."""
    from scipy.sparse import csr_matrix
    value = read_pickle(path)
    try:
        if isinstance(value, SparseParts):
            parts = value.state
            check_size(path, 4 * math.prod(map(int, parts["_shape"])))
            matrix = csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=parts["_shape"])
            matrix.check_format(full_check=True)
            value = matrix.toarray()
        if not isinstance(value, np.ndarray) or value.ndim != 2 or value.dtype.kind not in "biuf":
            raise TypeError(f"{type(value).__name__} is no matrix of numbers")
        check_size(path, value.nbytes)
    except Exception as error:
        raise ValueError(f"{path} does not hold a matrix of features ({error})") from error
    return value.astype(np.float32)
