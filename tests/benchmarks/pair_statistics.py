"""Speed of pair statistics beside NetworkX and SciPy, in one run: python tests/benchmarks/pair_statistics.py [rows].

The baseline computes five of the neighbourhood columns only, one pair at a time, with the pair's edge taken out.
"""
import sys

import networkx as nx
import torch
from graph_stage import clustered
from measure import Table, timed
from torch_geometric.utils import to_networkx, to_scipy_sparse_matrix, to_undirected

from mprd_pyg.graph import KNNGraph, NeighbourLists, PairStatistics
from mprd_pyg.graph.pairs.statistics import FEATURES, NEIGHBOURHOOD, PAGERANK, SIMILARITY


def slow_pair(graph, adjacency, i, j):
    """Common neighbours, Jaccard, Adamic-Adar, resource allocation, walks of three steps of one pair."""
    own = graph.has_edge(i, j)
    if own:
        graph.remove_edge(i, j)
    len(list(nx.common_neighbors(graph, i, j)))
    for index in (nx.jaccard_coefficient, nx.adamic_adar_index, nx.resource_allocation_index):
        list(index(graph, [(i, j)]))
    adjacency[list(graph[i])][:, list(graph[j])].sum()
    if own:
        graph.add_edge(i, j)


def main(n=13_000):
    threads = torch.get_num_threads()
    graph = KNNGraph(k=8)(clustered(n, 256), keep_features=True)
    pairs = graph.edge_index.T.contiguous()
    print(f"N = {n:,}, k = 8, {len(pairs):,} pairs, {threads} threads\n")
    table = Table("pairs", threads)
    slow, adjacency = to_networkx(graph, to_undirected=True), to_scipy_sparse_matrix(
        to_undirected(graph.edge_index, num_nodes=n), num_nodes=n).tocsr()
    some = pairs[:: len(pairs) // 1000].tolist()
    base = table.row("NetworkX and SciPy, one pair at a time, 5 columns", len(some),
                     *timed(lambda: [slow_pair(slow, adjacency, *pair) for pair in some], 1)[:2])
    lists = NeighbourLists.from_graph(graph)
    for title, source, names, every in (
            (f"all {len(NEIGHBOURHOOD)} columns of the neighbourhood", lists, NEIGHBOURHOOD, 1),
            ("similarities, ranks, edge probability", graph, SIMILARITY, 1), ("features, d = 256", graph, FEATURES, 1),
            ("distance", lists, ["inverse_distance"], 1), ("walks of 4 and 5 steps", lists, ["walks_4", "walks_5"], 10),
            ("walks of 6 steps", lists, ["walks_6"], 10), ("walks of 8 steps", lists, ["walks_8"], 200),
            ("PageRank, error 1e-4, each pair an edge of its own", lists, PAGERANK, 10)):
        statistics, asked = PairStatistics(names), pairs[::every].contiguous()
        statistics(source, asked[:10])
        wall, cpu, _ = timed(lambda s=statistics, g=source, a=asked: s(g, a))
        table.row(title, len(asked), wall, cpu, base)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
