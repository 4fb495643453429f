"""Graphs from files: edge lists, MATLAB matrices, PyG ``Data`` and Planetoid files; no file runs code."""
import csv
import difflib
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch_geometric.data import Data
from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
from torch_geometric.data.storage import GlobalStorage

from mprd_pyg.link_prediction.link_graph import LinkGraph
from mprd_pyg.link_prediction.planetoid import read_planetoid

HEADERS = {"source", "target", "src", "dst", "from", "to", "node1", "node2", "node_1", "node_2", "id1", "id2", "id_1",
           "id_2", "u", "v", "i", "j", "weight", "w", "label", "type", "fromnodeid", "tonodeid"}
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
MAX_NODES = 1_000_000  # of a file with fewer bytes than that
MAT_READER = Path(__file__).with_name("mat_reader.py")
KINDS = "an edge list (text or CSV), .mat, .pt (PyG Data) or Planetoid ind.NAME.graph"


def read_graph(path: str | Path, key: str = "net") -> LinkGraph:
    """Read a graph; the ending of the name says how.

    Args:
        path: ``.mat``: a square matrix, weights are ignored. ``.pt``, ``.pth``: a PyG ``Data`` saved by
            ``torch.save``. ``ind.NAME.graph`` (or ``ind.NAME``): Planetoid, with features. Anything else: a text file,
            one link per line, two node names of any kind, separated by commas, semicolons, tabs or blanks; lines that
            begin with ``#``, ``%`` or ``//`` are comments; further columns are ignored.
        key: name of the matrix in a ``.mat`` file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not readable as what its name says.
    """
    path = Path(path)
    if path.name.startswith("ind.") and path.suffix not in (".mat", ".pt", ".pth"):
        return read_planetoid(path)
    if not path.is_file():
        raise FileNotFoundError(f"no graph file {path}: give {KINDS}")
    reader = {".mat": lambda: read_mat(path, key), ".pt": lambda: read_data(path), ".pth": lambda: read_data(path)}
    return reader.get(path.suffix.lower(), lambda: read_edge_list(path))()


def read_rows(path: Path) -> list[tuple[int, str, str]]:
    """The first two fields of each line of a text file, with line numbers; comments and a header are left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text (byte {error.start} is not UTF-8): give {KINDS}") from error
    kept = [(number, line) for number, line in enumerate(lines, 1)
            if line.strip() and not line.lstrip().startswith(("#", "%", "//"))]
    if not kept:
        raise ValueError(f"{path} holds no line that names two nodes")
    separator = next((s for s in (",", ";", "\t") if s in kept[0][1]), None)
    texts = (line.strip() for _, line in kept)
    fields = csv.reader(texts, delimiter=separator, skipinitialspace=True) if separator else (t.split() for t in texts)
    rows = []
    for (number, line), row in zip(kept, fields, strict=False):
        row = [part.strip() for part in row]
        if len(row) < 2 or not row[0] or not row[1]:
            raise ValueError(f"{path}, line {number}: expected two node names, got {line.strip()!r}; the separator "
                             f"was taken from line {kept[0][0]}: {'blanks' if separator is None else repr(separator)}")
        rows.append((number, row[0], row[1]))
    header = {part.lower() for part in rows[0][1:]} <= HEADERS
    return rows[1:] if header and rows[0][1] != rows[0][2] else rows


def read_edge_list(path: Path) -> LinkGraph:
    """One link per line; names that are all integers are sorted by value, others as text."""
    rows = read_rows(path)
    if not rows:
        raise ValueError(f"{path} holds no line that names two nodes, only a header")
    names = sorted({name for row in rows for name in row[1:]})
    if all(name.isdecimal() for name in names):
        names.sort(key=int)
    number = {name: i for i, name in enumerate(names)}
    return LinkGraph.from_edges(np.array([(number[a], number[b]) for _, a, b in rows]), len(names), names)


def read_pairs(path: str | Path, graph: LinkGraph) -> torch.Tensor:
    """Pairs of a graph's nodes (P, 2) from a text file of the form of an edge list, by name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line without two nodes, with a node that the graph does not have, or with one node twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path} with the pairs to score")
    number = {name: i for i, name in enumerate(graph.names)}
    pairs = []
    for line, *names in read_rows(path):
        unknown = [name for name in names if name not in number]
        if unknown:
            near = difflib.get_close_matches(unknown[0], graph.names[:10_000], n=1, cutoff=0.0)
            raise ValueError(f"{path}, line {line}: the graph has no node {unknown[0]!r}; names look like {near[0]!r}")
        if names[0] == names[1]:
            raise ValueError(f"{path}, line {line}: a pair needs two different nodes, got {names[0]!r} twice")
        pairs.append([number[name] for name in names])
    if not pairs:
        raise ValueError(f"{path} holds no line that names two nodes, only a header")
    return torch.tensor(pairs)


def read_mat(path: Path, key: str) -> LinkGraph:
    """A square matrix whose entries other than 0 are links; nodes are named by row, counted from 0."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "links.npz"
        # By its path, not as a module: it starts without torch, and nothing is imported from the current folder.
        reader = subprocess.run([sys.executable, MAT_READER, path.absolute(), key, out], stdout=subprocess.DEVNULL,
                                stderr=subprocess.PIPE, text=True, errors="replace")
        if reader.returncode < 0:
            raise ValueError(f"{path} is not a readable .mat file: its reader was ended by "
                             f"{signal.Signals(-reader.returncode).name}; save it again with -v7")
        if reader.returncode:
            said = reader.stderr.strip().splitlines() or ["is not a readable .mat file"]
            raise ValueError(f"{path} {said[-1]}")
        with np.load(out, allow_pickle=False) as arrays:
            return in_file(path, arrays["edges"], int(arrays["num_nodes"]))


def read_data(path: Path) -> LinkGraph:
    """A PyG ``Data`` with ``edge_index`` and, where it has them, features ``x``; read with ``weights_only=True``."""
    try:
        with torch.serialization.safe_globals([Data, DataEdgeAttr, DataTensorAttr, GlobalStorage]):
            data = torch.load(path, map_location="cpu", weights_only=True)
        found = {name: data.get(name) for name in ("edge_index", "x", "num_nodes")} if isinstance(data, Data) else {}
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} was not read as a PyG Data ({first}): files that hold anything but tensors and "
                         f"Data are refused; save it with torch.save(Data(edge_index=..., x=...), path)") from error
    edge_index, x, num_nodes = (found.get(name) for name in ("edge_index", "x", "num_nodes"))
    if not isinstance(edge_index, torch.Tensor):
        raise ValueError(f"{path} holds {type(data).__name__} without an edge_index, not a PyG Data with one: save one "
                         f"graph with torch.save(Data(edge_index=..., x=...), path)")
    if edge_index.dim() != 2 or edge_index.shape[0] != 2 or edge_index.dtype not in INTEGERS or not held(edge_index):
        raise ValueError(f"{path}: edge_index has shape {tuple(edge_index.shape)} and type {edge_index.dtype}; "
                         f"expected integers (2, E)")
    if x is not None and (not isinstance(x, torch.Tensor) or x.dim() == 0 or x.is_complex()):
        raise ValueError(f"{path}: x is {type(x).__name__}; expected a dense tensor (N, d)")
    if x is not None and (not held(x) if x.layout == torch.strided else
                          x.numel() * x.element_size() > 10_000 * path.stat().st_size):
        raise ValueError(f"{path}: x has shape {tuple(x.shape)}, which a file of {path.stat().st_size:,} bytes does "
                         f"not hold")
    if x is not None and x.layout != torch.strided:
        x = x.to_dense()
    highest = int(edge_index.max()) + 1 if edge_index.numel() else 0
    try:
        num_nodes = (len(x) if x is not None else highest) if num_nodes is None else int(num_nodes)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: num_nodes is no number ({error})") from error
    return in_file(path, edge_index.T.numpy(), num_nodes, x)


def held(x: torch.Tensor) -> bool:
    """Whether a tensor is dense and its elements are all stored: a view can repeat one of them endlessly."""
    return x.layout == torch.strided and x.nbytes <= x.untyped_storage().nbytes()


def in_file(path: Path, edges: np.ndarray, num_nodes: int, x: torch.Tensor | None = None) -> LinkGraph:
    """The graph, or an error that names the file; a small file has a million nodes at most."""
    size = path.stat().st_size
    if num_nodes > max(MAX_NODES, size):
        raise ValueError(f"{path}: {num_nodes:,} nodes in a file of {size:,} bytes; number the nodes from 0, or leave "
                         f"out those without links")
    try:
        return LinkGraph.from_edges(edges, num_nodes, x=x)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
