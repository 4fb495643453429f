"""One, two or three hops, by what tells the validation pairs."""
import networkx as nx
import torch

from mprd_pyg.graph import NeighbourLists, PairSubgraphs
from mprd_pyg.link_prediction import LinkGraph, choose_hops, split_links
from mprd_pyg.link_prediction.hops import label_counts


def graph_of(reference):
    return LinkGraph.from_edges(list(nx.convert_node_labels_to_integers(reference).edges), len(reference))


def test_a_hexagonal_grid_needs_two_and_caves_one():
    """The way around a link of a hexagonal grid goes over nodes two hops away."""
    grid = split_links(graph_of(nx.hexagonal_lattice_graph(9, 9)))
    assert choose_hops(grid) == 2
    assert choose_hops(grid, most_edges=5) == 1  # too costly
    caves = split_links(graph_of(nx.relaxed_caveman_graph(20, 8, 0.05, seed=3)))
    assert choose_hops(caves) == 1 == choose_hops(caves)


def test_rings_of_eight_need_three():
    """In a square grid with a node on each edge, the way around a link goes over nodes three hops away."""
    grid, rings = nx.grid_2d_graph(12, 12), nx.Graph()
    for a, b in grid.edges:
        nx.add_path(rings, [a, (a, b), b])
    split = split_links(graph_of(rings))
    assert choose_hops(split) == 3
    assert choose_hops(split, most=2) < 3 and choose_hops(split, margin=1) == 1


def test_counts_by_hand():
    # 0 and 1 share 2; 3 hangs on 0 alone
    lists = NeighbourLists.from_graph(LinkGraph.from_edges([], 4).observed(torch.tensor([[0, 2], [2, 1], [0, 3]])))
    counts = label_counts(PairSubgraphs("induced"), lists, torch.tensor([[0, 1], [0, 1], [2, 3]]), highest=3, chunk=2)
    assert counts[0].expm1().round().tolist() == [1, 2, 1, 0, 6] == counts[1].expm1().round().tolist()
    # of 2 and 3: 0 is shared, 1 hangs on 2
    assert counts[2].expm1().round().tolist() == [1, 2, 1, 0, 6]
