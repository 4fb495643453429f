"""KNNGraph against brute force, hand-placed points and the contract."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

from mprd_pyg.graph import KNNGraph, center_by_group


def by_angle(*degrees):
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float))
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_six_hand_placed_points():
    graph = KNNGraph(k=2)(by_angle(0, 10, 25, 90, 100, 115))
    assert isinstance(graph, Data) and graph.num_nodes == 6
    # node: nearest first;  0: 1 2   1: 0 2   2: 1 0   3: 4 5   4: 3 5   5: 4 3
    assert graph.edge_index.tolist() == [[1, 2, 0, 2, 1, 0, 4, 5, 3, 5, 4, 3], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]]
    expected = torch.tensor([10, 25, 10, 15, 15, 25, 10, 25, 10, 15, 15, 25.0]).deg2rad().cos()
    torch.testing.assert_close(graph.edge_attr, expected)


def test_k_per_node_counts_the_node_itself():
    # MPRD Sec. 5.2: k_i = max(k, #{j: cos > threshold}), i included in the count. cos 53 deg = 0.602.
    points = by_angle(0, 50, 100, 150, 10)
    graph = KNNGraph(k=1, threshold=0.6)(points)
    degree = torch.bincount(graph.edge_index[1], minlength=5).tolist()
    # similar others: 0 {4, 1}, 1 {4, 0, 2}, 2 {1, 3}, 3 {2}, 4 {0, 1}; plus one for the node itself
    assert degree == [3, 4, 3, 2, 3]


@given(st.integers(6, 60), st.integers(1, 5), st.sampled_from([None, -1.0, 0.0, 0.5, 0.9]), st.sampled_from([None, 7]),
       st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_equals_brute_force(n, k, threshold, k_max, seed):
    x = F.normalize(torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)), dim=1)
    knn = KNNGraph(k=k, threshold=threshold, k_max=k_max)
    graph = knn(x)
    capped = 0
    similarity = (x @ x.T).numpy()
    for i in range(n):
        others = [j for j in np.argsort(-similarity[i]) if j != i]
        count = k
        if threshold is not None:
            wanted = max(k, 1 + sum(similarity[i, j] > threshold for j in others))
            count = min(wanted, k_max or n)
            capped += k_max is not None and 1 + sum(similarity[i, j] > threshold for j in others) > k_max
        mine = graph.edge_index[1] == i
        assert graph.edge_index[0, mine].tolist() == others[:count]
        np.testing.assert_allclose(graph.edge_attr[mine], similarity[i, others[:count]], rtol=1e-5, atol=1e-6)
    assert graph.num_capped == capped


def test_l2_similarity_is_the_negative_squared_distance():
    x = torch.tensor([[0.0], [1.0], [3.0]])
    graph = KNNGraph(k=1, metric="l2")(x)
    assert graph.edge_index.tolist() == [[1, 0, 1], [0, 1, 2]]
    assert graph.edge_attr.tolist() == [-1.0, -1.0, -4.0]


def test_rows_and_reach_agree_with_the_whole_graph():
    x = torch.randn(80, 6, generator=torch.Generator().manual_seed(3))
    whole = KNNGraph(k=4)(x)
    rows = torch.tensor([7, 41])
    lists = {i: whole.edge_index[0, whole.edge_index[1] == i].tolist() for i in range(80)}
    expected = set(rows.tolist())
    for reach in (1, 2, 3):
        part = KNNGraph(k=4)(x, rows=rows, reach=reach)
        assert set(part.edge_index[1].tolist()) == expected
        for i in expected:
            assert part.edge_index[0, part.edge_index[1] == i].tolist() == lists[i]
        expected = expected | {j for i in expected for j in lists[i]}


def test_live_queries_stand_in_for_rows_or_become_nodes():
    x = by_angle(0, 10, 20, 90)
    live = by_angle(91)
    moved = KNNGraph(k=2)(x, rows=torch.tensor([0]), queries=live)
    assert moved.edge_index.tolist() == [[3, 2], [0, 0]] and moved.num_nodes == 4  # row 0 never its own neighbour
    virtual = KNNGraph(k=2)(x, queries=live)
    assert virtual.edge_index.tolist() == [[3, 2], [4, 4]] and virtual.num_nodes == 5


def test_one_graph_per_branch():
    bank = torch.randn(3, 20, 5)
    graphs = KNNGraph(k=2)(bank)
    assert len(graphs) == 3
    for graph, features in zip(graphs, bank, strict=True):
        assert torch.equal(graph.edge_index, KNNGraph(k=2)(features).edge_index)


def test_centred_search_finds_neighbours_across_cameras():
    person = torch.randn(10, 16, generator=torch.Generator().manual_seed(0))
    camera = 5 * torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    x = torch.cat([person + camera[0], person + camera[1]])
    group = torch.tensor([3] * 10 + [9] * 10)
    plain, centred = KNNGraph(k=1)(x), KNNGraph(k=1, center_by=group)(x)
    same_camera = group[plain.edge_index[0]] == group[plain.edge_index[1]]
    assert same_camera.all()
    assert torch.equal(centred.edge_index[0], (centred.edge_index[1] + 10) % 20)
    # by hand: subtract each group's mean, renormalise
    by_hand = torch.cat([x[:10] - x[:10].mean(0), x[10:] - x[10:].mean(0)])
    torch.testing.assert_close(center_by_group(x, group), F.normalize(by_hand, dim=1))
    # a live query is centred by the memory's mean of its group
    live = KNNGraph(k=1, center_by=group)(x, rows=torch.tensor([4]), queries=x[4:5])
    assert live.edge_index.tolist() == [[14], [4]]


def test_approximate_index_by_factory_string():
    x = F.normalize(torch.randn(500, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    exact, near = KNNGraph(k=5)(x), KNNGraph(k=5, index="HNSW32")(x)
    keys = [graph.edge_index[1] * 500 + graph.edge_index[0] for graph in (exact, near)]
    assert torch.isin(keys[0], keys[1]).float().mean() > 0.9
    with pytest.raises(ValueError, match="NoSuchIndex"):
        KNNGraph(k=5, index="NoSuchIndex")(x)


def test_bad_input_is_named():
    x = torch.randn(5, 3)
    with pytest.raises(ValueError, match="k=8 .* only 4 others"):
        KNNGraph(k=8)(x)
    x[3, 1] = float("nan")
    with pytest.raises(ValueError, match="first is row 3"):
        KNNGraph(k=2)(x)
    with pytest.raises(ValueError, match="metric"):
        KNNGraph(metric="dot")
    with pytest.raises(ValueError, match="one group per row"):
        KNNGraph(k=2)(torch.randn(5, 3), center_by=torch.zeros(4))
    with pytest.raises(ValueError, match="k_max"):
        KNNGraph(k=8, k_max=4)
