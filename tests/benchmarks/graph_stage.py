"""Speed of the graph stage beside named baselines, in one run: python tests/benchmarks/graph_stage.py [rows] [dim].

Baselines: a FAISS ``IndexFlatIP``; one pair at a time with PyG's ``k_hop_subgraph`` and SciPy's shortest paths.
"""
import sys
import time

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.csgraph import shortest_path
from torch_geometric.utils import k_hop_subgraph, to_scipy_sparse_matrix, to_undirected

from mprd_pyg.graph import KNNGraph, NeighbourLists, PairSubgraphs
from mprd_pyg.mprd import GCNRelation, PairClassifier


def timed(function, repeat=3):
    """Best wall time of a few runs, and the last result."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        result = function()
        best = min(best, time.perf_counter() - start)
    return best, result


def row(name, seconds, count, unit, baseline=None):
    ratio = "" if baseline is None else f"{count / seconds / baseline:10.1f} x"
    print(f"{name:58s}{seconds:9.3f} s{count / seconds:14,.0f} {unit}{ratio}", flush=True)


def slow_pair(edge_index, num_nodes, i, j):
    """One induced pair subgraph with its distances, by library calls."""
    nodes, edges, roots, _ = k_hop_subgraph([i, j], 1, edge_index, relabel_nodes=True, num_nodes=num_nodes)
    adjacency = to_scipy_sparse_matrix(edges, num_nodes=len(nodes)).tocsr()
    for root in roots.tolist():
        keep = np.delete(np.arange(len(nodes)), root)
        shortest_path(adjacency[keep][:, keep], directed=False, unweighted=True)


def main(n=4_000, dim=256):
    print(f"N = {n:,}, d = {dim}, {torch.get_num_threads()} threads")
    x = F.normalize(torch.randn(n // 13, dim).repeat_interleave(13, 0)[:n] + 1.2 * torch.randn(n // 13 * 13, dim)[:n])
    n = len(x)
    index = faiss.IndexFlatIP(dim)
    index.add(x.numpy())
    flat, _ = timed(lambda: index.search(x.numpy(), 9), 1)
    row("IndexFlatIP, k = 8", flat, n, "rows/s")
    seconds, graph = timed(lambda: KNNGraph(k=8)(x, keep_features=True), 1)
    row("KNNGraph(k=8)", seconds, n, "rows/s", n / flat)
    pairs = graph.edge_index.T.contiguous()
    undirected = to_undirected(graph.edge_index, num_nodes=n)
    some = pairs[:: len(pairs) // 200].tolist()
    seconds, _ = timed(lambda: [slow_pair(undirected, n, *pair) for pair in some], 1)
    baseline = len(some) / seconds
    row("k_hop_subgraph + SciPy, one pair at a time", seconds, len(some), "graphs/s")
    lists = NeighbourLists.from_graph(graph)
    for edges, hops in (("roots", 1), ("induced", 1), ("induced", 2)):
        asked = pairs if hops == 1 else pairs[:10_000]
        seconds, _ = timed(lambda e=edges, h=hops, a=asked: PairSubgraphs(e, h)(lists, a))
        row(f"PairSubgraphs({edges!r}, hops={hops})", seconds, len(asked), "graphs/s", baseline)
    relation = GCNRelation(PairClassifier(dim), PairSubgraphs())
    seconds, _ = timed(lambda: relation.likelihood(graph, pairs), 1)
    row("GCN likelihoods, 512 wide, memory to likelihood", seconds, len(pairs), "pairs/s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
