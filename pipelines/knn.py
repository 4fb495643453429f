"""Build the kNN graph of a saved embedding matrix, from disk and in any number of processes; a killed run goes on.

python -m pipelines.knn features.npy --k 10 --out graph.pt
python -m pipelines.knn features.npy --k 10 --out graph.pt --processes 4
torchrun --nproc-per-node 4 -m pipelines.knn features.npy --k 10 --out graph.pt
"""
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jsonargparse import Namespace
from torch_geometric.data import Data

from mprd_pyg.files import replacing, working_in
from mprd_pyg.graph import KNNGraph
from mprd_pyg.graph.edge_directions import Directions, with_directions
from mprd_pyg.graph.search.embedding_file import EmbeddingFile
from mprd_pyg.graph.search.knn_parts import KNNParts
from pipelines.command_line import cli
from pipelines.command_line.knn_processes import rank_and_world_size, search_in_processes, waiting_for_all


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.knn", description=__doc__.splitlines()[0])
    parser.add_argument("features", type=str, help="float array (N, d), as numpy.save writes it")
    parser.add_argument("--out", type=str, required=True, help="file of the graph")
    parser.add_argument("--k", type=int, default=10, help="neighbours per node (the least number, with a threshold)")
    parser.add_argument("--metric", type=Literal["cosine", "l2"], default="cosine",
                        help="edge_attr is the cosine, or minus the squared distance")
    parser.add_argument("--threshold", type=float | None, default=None,
                        help="all rows more similar than this are neighbours")
    parser.add_argument("--k_max", type=int | None, default=None, help="most neighbours per node, with a threshold")
    parser.add_argument("--edges", type=Directions, default="directed",
                        help="symmetric: each edge runs both ways; mutual: only edges that both nodes have")
    parser.add_argument("--index", type=str, default="exact",
                        help="exact; or, in one process that holds all rows, hnsw, ivfpq, nndescent or a FAISS factory "
                             "string")
    parser.add_argument("--processes", type=int, default=1, help="on this machine; torchrun gives its own number")
    parser.add_argument("--memory", type=float, default=2.0,
                        help="GiB that a process may hold for rows and lists: all rows, where they fit, or blocks")
    parser.add_argument("--progress", type=bool, default=True, help="show a progress bar")
    parser.several = True
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Search, join, save; nothing where the graph is there already."""
    rank, world_size = rank_and_world_size(cfg.processes)
    knn = KNNGraph(cfg.k, cfg.metric, cfg.threshold, cfg.k_max, cfg.index)
    file, out = EmbeddingFile(Path(cfg.features)), Path(cfg.out)
    parts = KNNParts(file, out.with_name(out.name + ".parts"), cfg.k, cfg.metric, cfg.threshold, cfg.k_max,
                     int(cfg.memory * 2**30))
    built_from = f"{parts.built_from}, index={cfg.index}, edges={cfg.edges}"
    if out.exists():
        check_built_from(out, built_from)
        print(f"{out} is there already, of the same input and options")
        return
    if cfg.index != "exact":
        if max(cfg.processes, world_size) > 1:
            raise ValueError(f"the index {cfg.index!r} is built in one process: give --processes 1, or --index exact")
        if not parts.fits:
            raise ValueError(f"the index {cfg.index!r} holds all rows, which are more than --memory {cfg.memory} GiB: "
                             f"raise it, or give --index exact")
        save(knn(torch.from_numpy(np.load(file.path))), out, cfg.edges, built_from)
        return
    with working_in(parts.folder) if rank == 0 else nullcontext():
        with waiting_for_all() if world_size > 1 else nullcontext():
            if world_size > 1:
                parts.search(rank, world_size, cfg.progress)
            else:
                search_in_processes(parts, cfg.processes, cfg.progress)
        if rank == 0:
            save(parts.join(), out, cfg.edges, built_from)
            parts.remove()


def check_built_from(path: Path, built_from: str) -> None:
    """Refuse a file that is there and is not the graph of this input and these options."""
    try:
        found = read_graph(path).built_from
    except Exception as error:
        raise ValueError(f"{path} exists and is no graph of this command: give another --out") from error
    if found != built_from:
        raise ValueError(f"{path} exists and was built from another input or with other options ({found}; now "
                         f"{built_from}): give another --out, or remove it")


def read_graph(path: str | Path) -> Data:
    """The graph that this command saved: edge_index (2, E), edge_attr (E,), num_nodes, built_by, built_from."""
    return Data.from_dict(torch.load(path, weights_only=True))


def save(graph: Data, out: Path, edges: Directions, built_from: str) -> None:
    """Write the graph, whole or not at all."""
    graph = with_directions(graph, edges)
    graph.built_from = built_from
    with replacing(out) as part:
        torch.save(graph.to_dict(), part)
    recall = f", recall {graph.recall:.4f}" if "recall" in graph else ""
    print(f"{out}: {graph.num_nodes:,} nodes, {graph.num_edges:,} edges, found by {graph.built_by}{recall}")


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
