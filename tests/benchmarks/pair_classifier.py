"""Speed of the GCN: python tests/benchmarks/pair_classifier.py [rows] [dim] [k].

From memory bank (rows, dim) and its kNN graph to the likelihoods of all its edges, beside the plain way (features
gathered for every node of every subgraph; on a sample), and one training step of 32 images.
"""
import sys

import torch
from graph_stage import clustered
from measure import Table, timed

from mprd_pyg.graph import KNNGraph, NeighbourLists, PairSubgraphs
from mprd_pyg.models import PairClassifier
from mprd_pyg.mprd import GCNRelation, GCNTraining


def gathered(gcn, batch, features):
    """Likelihoods by the plain way: Y = [one-hot label || feature] for every node, then the layers."""
    x = features[batch.n_id]
    logit = gcn(batch.clone().update({"n_id": torch.arange(len(x))}), x)
    return logit.sigmoid()


@torch.no_grad()
def inference(x, graph):
    pairs = graph.edge_index.flip(0).T.contiguous()
    gcn = PairClassifier(x.shape[1]).eval()
    print(f"likelihoods of {len(pairs):,} pairs, from memory to likelihood\n")
    table = Table("pairs", torch.get_num_threads())
    some = pairs[torch.randperm(len(pairs))[:1024]]
    lists = NeighbourLists.from_graph(graph)
    wall, cpu, plain = timed(lambda: gathered(gcn, PairSubgraphs()(lists, some), x))
    base = table.row("gather d-wide features per node (1,024 pairs)", len(some), wall, cpu)
    for share in (False, True):
        relation = GCNRelation(gcn, PairSubgraphs(), share=share)
        relation.likelihood(graph, some)
        worst = (relation.likelihood(graph, some) - plain).abs().max()
        asked = pairs if share else pairs[::8]
        wall, cpu, _ = timed(lambda r=relation, a=asked: r.likelihood(graph, a), 2)
        name = "leaves' rows shared" if share else f"pair by pair ({len(asked):,} pairs)"
        table.row(f"GCNRelation, memory projected once, {name}; differs by {worst:.0e}", len(asked), wall, cpu, base)
    wall, cpu, _ = timed(lambda: gcn.project(x))
    table.row("the projection alone", len(pairs), wall, cpu)
    a, b = torch.randn(4096, 512), torch.randn(512, 512)
    cpu = timed(lambda: [a @ b for _ in range(5)])[1]
    print(f"\nmatrix products of 4096 x 512 x 512 run at {5 * 2 * 4096 * 512 * 512 / cpu / 1e9:.0f} GFLOP per CPU s")


def training(x, graph):
    count = len(x) - 40
    lists = NeighbourLists.from_graph(graph)
    gcn = GCNTraining(GCNRelation(PairClassifier(x.shape[1]), PairSubgraphs()), count, torch.arange(40) // 8)
    none = NeighbourLists(torch.zeros(count + 1, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    inside = graph.edge_index[:, (graph.edge_index < count).all(0)]
    later = NeighbourLists.from_graph(type(graph)(edge_index=inside, num_nodes=count))
    print("\na training step of 32 images: subgraphs, forward, backward, optimiser\n")
    table = Table("steps", torch.get_num_threads())
    for name, believed in (("first epoch", none), ("later, 8 positives believed", later)):
        phase = gcn.phase(1, believed, lambda epoch, alone: (torch.cat([x, x[alone]]), grown(lists, len(alone))))
        batches = phase.batches(0)
        drawn = [next(batches) for _ in range(6)]
        graphs = sum(len(part.pairs) for part in drawn[0][2])
        phase.step(drawn[0])
        wall, cpu, _ = timed(lambda p=phase, d=drawn: [p.step(batch) for batch in d])
        table.row(f"{name}, {graphs} graphs", len(drawn), wall, cpu)


def grown(lists, more):
    """Lists with ``more`` nodes at the end, each with the neighbours of the node that it is a view of."""
    length = lists.ptr.diff()[:more]
    ptr = torch.cat([lists.ptr, lists.ptr[-1] + length.cumsum(0)])
    return NeighbourLists(ptr, torch.cat([lists.neighbour, lists.neighbour[:int(length.sum())]]))


def main(n=13_000, dim=2048, k=8):
    print(f"N = {n:,}, d = {dim}, k = {k}, 512 wide, {torch.get_num_threads()} threads\n")
    x = clustered(n, dim)
    graph = KNNGraph(k=k)(x, keep_features=True)
    inference(x, graph)
    training(x, graph)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
