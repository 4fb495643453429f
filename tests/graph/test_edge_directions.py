"""Symmetric and mutual kNN graphs, against sets of pairs and a graph drawn by hand."""
import pytest
import torch
from torch_geometric.data import Data

from mprd_pyg.graph import KNNGraph
from mprd_pyg.graph.edge_directions import with_directions

#: 0 and 1 list each other, 2 lists 0, 1 lists 2 as well
GRAPH = Data(edge_index=torch.tensor([[1, 0, 2, 0], [0, 1, 1, 2]]), edge_attr=torch.tensor([0.9, 0.9, 0.5, 0.5]),
             num_nodes=3, built_by="hand")


def test_a_graph_drawn_by_hand():
    both = with_directions(GRAPH, "symmetric")
    assert both.edge_index.tolist() == [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]
    assert both.edge_attr.tolist() == pytest.approx([0.9, 0.5, 0.9, 0.5, 0.5, 0.5])
    mutual = with_directions(GRAPH, "mutual")
    assert mutual.edge_index.tolist() == [[1, 0], [0, 1]]
    assert (mutual.num_nodes, mutual.built_by) == (3, "hand")
    assert with_directions(GRAPH, "directed") is GRAPH


@pytest.mark.parametrize("directions", ["symmetric", "mutual"])
def test_edges_of_a_knn_graph(directions):
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    graph = KNNGraph(k=4, index="exact")(x)
    given = set(map(tuple, graph.edge_index.T.tolist()))
    expected = {(a, b) for a, b in given | {(b, a) for a, b in given}
                if directions == "symmetric" or {(a, b), (b, a)} <= given}
    found = with_directions(graph, directions)
    edges = list(map(tuple, found.edge_index.T.tolist()))
    assert len(edges) == len(expected) and set(edges) == expected
    keys = [(node, -s, other) for (other, node), s in zip(edges, found.edge_attr.tolist(), strict=True)]
    assert keys == sorted(keys)
    value = dict(zip(map(tuple, graph.edge_index.T.tolist()), graph.edge_attr.tolist(), strict=True))
    assert all(s in (value.get(edge), value.get(edge[::-1]))
               for edge, s in zip(edges, found.edge_attr.tolist(), strict=True))
