"""Seconds of a link-prediction run beside SEAL one pair at a time, in one run of this file:

python tests/benchmarks/link_prediction.py [GRAPH FILE, or the number of nodes of a generated graph] [hops]

The baseline is PyG's SEAL example: ``k_hop_subgraph``, SciPy's shortest paths and a ``Data`` for each pair; batches by
PyG's ``DataLoader``, ``GCNConv``, ``SortAggregation`` and ``Conv1d``; on a sample, extrapolated. Process time on one
thread.
"""
import sys
import time
import warnings

import networkx as nx
import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from scipy.sparse.csgraph import shortest_path
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCNConv, SortAggregation
from torch_geometric.utils import k_hop_subgraph, to_scipy_sparse_matrix

from mprd_pyg.graph import NeighbourLists, PairSubgraphs
from mprd_pyg.link_prediction import DGCNN, SEAL, LinkGraph, SubgraphStore, read_graph, split_links


def slow_pair(graph, i, j, hops, label):
    """One pair as in PyG's example: subgraph, target link removed, DRNL by SciPy."""
    nodes, edges, (a, b), _ = k_hop_subgraph([i, j], hops, graph.edge_index, True, graph.num_nodes)
    a, b = int(a), int(b)
    edges = edges[:, ~(((edges[0] == a) & (edges[1] == b)) | ((edges[0] == b) & (edges[1] == a)))]
    adjacency = to_scipy_sparse_matrix(edges, num_nodes=len(nodes)).tocsr()
    distance = []
    for source, removed in ((a, b), (b, a)):
        keep = np.delete(np.arange(len(nodes)), removed)
        path = shortest_path(adjacency[keep][:, keep], directed=False, unweighted=True,
                             indices=source - (source > removed))
        distance.append(torch.from_numpy(np.insert(path, removed, 0)))
    first, second = distance
    d = first + second
    half = d.div(2, rounding_mode="floor")
    z = 1 + torch.minimum(first, second) + half * (half + d % 2 - 1)
    z[torch.isinf(d)] = 0
    z[a] = z[b] = 1
    return Data(z=z.long(), n_id=nodes, edge_index=edges, y=torch.tensor([float(label)]))


class SlowDGCNN(torch.nn.Module):
    """The network of PyG's example, in the widths of ours."""

    def __init__(self, num_labels, sort_k):
        super().__init__()
        self.num_labels = num_labels
        sizes = [num_labels, 32, 32, 32, 1]
        self.convs = torch.nn.ModuleList(GCNConv(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        self.sort = SortAggregation(sort_k)
        self.first, self.second = torch.nn.Conv1d(1, 16, 97, 97), torch.nn.Conv1d(16, 32, 5)
        self.mlp = torch.nn.Sequential(torch.nn.Linear(32 * (sort_k // 2 - 4), 128), torch.nn.ReLU(),
                                       torch.nn.Dropout(0.5), torch.nn.Linear(128, 1))

    def forward(self, batch):
        x, outputs = F.one_hot(batch.z.clamp(max=self.num_labels - 1), self.num_labels).float(), []
        for conv in self.convs:
            x = conv(x, batch.edge_index).tanh()
            outputs.append(x)
        x = F.relu(self.first(self.sort(torch.cat(outputs, 1), batch.batch).unsqueeze(1)))
        return self.mlp(F.relu(self.second(F.max_pool1d(x, 2))).flatten(1)).squeeze(1)


def clock(function):
    """Process seconds, and the result."""
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def row(name, seconds, baseline=None):
    print(f"{name:66s}{seconds:10.2f} s" + ("" if baseline is None else f"{baseline / seconds:9.1f} x"), flush=True)


def main(source="2000", hops="1", sample=200, epochs=50):
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    hops = int(hops)
    graph = read_graph(source) if not source.isdecimal() else LinkGraph.from_edges(
        list(nx.powerlaw_cluster_graph(int(source), 5, 0.5, seed=0).edges), int(source))
    split = split_links(graph)
    total = sum(map(len, split.pairs.values()))
    print(f"{source}: {graph.num_nodes:,} nodes, {len(graph.links):,} links, {total:,} pairs, {hops} hops, "
          f"{epochs} epochs")
    observed, pairs, label = split.observed("train"), split.pairs["train"], split.label["train"]
    subgraphs, lists = PairSubgraphs("induced", hops), NeighbourLists.from_graph(observed)
    rows = torch.randperm(len(pairs))[:sample]

    slow, graphs = clock(lambda: [slow_pair(observed, *pairs[i].tolist(), hops, label[i]) for i in rows.tolist()])
    slow *= total / len(rows)
    row(f"subgraphs, one pair at a time ({len(rows)}, extrapolated)", slow)
    fast, store = clock(lambda: SubgraphStore(subgraphs, lists, pairs))
    fast *= total / len(pairs)
    row("subgraphs, flat", fast, slow)
    for number, one in zip(rows.tolist(), graphs, strict=True):  # the same subgraphs and labels
        mine = store.batch(torch.tensor([number]))
        assert torch.equal(mine.n_id, one.n_id) and torch.equal(mine.z, one.z)
        assert mine.edge_index.shape == one.edge_index.shape

    size, highest = store.sizes_and_labels()
    sort_k = max(10, int(size.kthvalue(int(0.6 * len(size)))[0]))
    network = SlowDGCNN(highest + 1, sort_k)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)

    def slow_epoch():
        for batch in DataLoader(graphs, batch_size=50, shuffle=True):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(network(batch), batch.y).backward()
            optimizer.step()
    slow_epoch()
    slow_train = clock(slow_epoch)[0] * len(pairs) / len(rows) * epochs
    row(f"training, PyG's DataLoader and layers ({len(rows)} pairs, extrapolated)", slow_train)
    method = SEAL(Fabric(accelerator="cpu", devices=1), DGCNN(0, highest + 1, sort_k), store, store)
    steps = [torch.randperm(len(pairs))[:50] for _ in range(12)]
    for step in steps[:4]:
        method.training_step(step)
    fast_train = clock(lambda: [method.training_step(step) for step in steps[4:]])[0] / 8 * len(pairs) / 50 * epochs
    row("training, ours (8 steps, extrapolated)", fast_train, slow_train)
    row("a run: subgraphs and training, one pair at a time", slow + slow_train)
    row("a run: subgraphs and training, ours", fast + fast_train, slow + slow_train)


if __name__ == "__main__":
    main(*sys.argv[1:])
