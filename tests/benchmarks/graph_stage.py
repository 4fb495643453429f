"""Speed of the graph stage beside named baselines, in one run: python tests/benchmarks/graph_stage.py [rows] [dim].

Baselines: a FAISS ``IndexFlatIP``; one pair at a time with PyG's ``k_hop_subgraph`` and SciPy's shortest paths, on a
sample.
"""
import sys

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from measure import Table, timed
from scipy.sparse.csgraph import shortest_path
from torch_geometric.data import Data
from torch_geometric.utils import k_hop_subgraph, to_scipy_sparse_matrix, to_undirected

from mprd_pyg.graph import KNNGraph, NeighbourLists, PairSubgraphs


def slow_pair(edge_index, num_nodes, i, j):
    """One induced pair subgraph with its distances, by library calls."""
    nodes, edges, roots, _ = k_hop_subgraph([i, j], 1, edge_index, relabel_nodes=True, num_nodes=num_nodes)
    adjacency = to_scipy_sparse_matrix(edges, num_nodes=len(nodes)).tocsr()
    for root in roots.tolist():
        keep = np.delete(np.arange(len(nodes)), root)
        shortest_path(adjacency[keep][:, keep], directed=False, unweighted=True)


def clustered(n, dim, noise=0.8):
    """Unit features in groups of 13, whose nearest neighbours are mostly of the group."""
    torch.manual_seed(0)
    return F.normalize(torch.randn(-(-n // 13), dim).repeat_interleave(13, 0)[:n] + noise * torch.randn(n, dim))


def per_node(graph, fewest, threshold):
    """The graph with as many neighbours of each node as are more similar than a threshold, and at least ``fewest``."""
    rank = torch.arange(graph.num_edges) % (graph.num_edges // graph.num_nodes)
    keep = (rank < fewest) | (graph.edge_attr > threshold)
    return Data(edge_index=graph.edge_index[:, keep], num_nodes=graph.num_nodes)


def main(n=13_000, dim=256):
    threads = torch.get_num_threads()
    print(f"N = {n:,}, d = {dim}, {threads} threads\n")
    x = clustered(n, dim)
    table = Table("rows", threads)
    index = faiss.IndexFlatIP(dim)
    index.add(x.numpy())
    base = table.row("IndexFlatIP, k = 8", n, *timed(lambda: index.search(x.numpy(), 9), 1)[:2])
    wall, cpu, graph8 = timed(lambda: KNNGraph(k=8)(x), 1)
    table.row("KNNGraph(k=8)", n, wall, cpu, base)
    graph30 = KNNGraph(k=30)(x)
    print()
    table = Table("graphs", threads)
    pairs = graph8.edge_index.T.contiguous()
    undirected = to_undirected(graph8.edge_index, num_nodes=n)
    some = pairs[:: len(pairs) // 200].tolist()
    base = table.row("k_hop_subgraph + SciPy, one pair at a time, k = 8", len(some),
                     *timed(lambda: [slow_pair(undirected, n, *pair) for pair in some], 1)[:2])
    ragged = per_node(graph30, 8, 0.6)
    for name, graph in (("k = 8", graph8), ("k = max(8, similarity > 0.6)", ragged), ("k = 30", graph30)):
        lists = NeighbourLists.from_graph(graph)
        for edges, hops in (("roots", 1), ("induced", 1), ("induced", 2)):
            asked = pairs if hops == 1 and (edges == "roots" or graph is not graph30) else pairs[::20]
            builder = PairSubgraphs(edges, hops)
            builder(lists, asked[:10])
            wall, cpu, batch = timed(lambda e=builder, g=lists, a=asked: e(g, a))
            size = f"{batch.num_nodes / len(asked):.0f} nodes, {batch.num_edges / len(asked):.0f} edges each"
            table.row(f"PairSubgraphs({edges!r}, {hops}), {name}, {size}", len(asked), wall, cpu, base)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
