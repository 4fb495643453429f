"""The DGCNN beside PyG's layers, and its gradient beside a dense one."""
import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Data
from torch_geometric.nn import SortAggregation

from mprd_pyg.graph import PairSubgraphs
from mprd_pyg.link_prediction import DGCNN
from mprd_pyg.link_prediction.dgcnn import NeighbourMean, sort_pool
from mprd_pyg.models.pair_classifier import row_normalized


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    edges = torch.randint(40, (2, 150), generator=generator)
    graph = Data(edge_index=torch.cat([edges, edges.flip(0)], dim=1), num_nodes=42)  # 40 and 41 are isolated
    return PairSubgraphs("induced")(graph, torch.tensor([[0, 1], [40, 41], [3, 7], [5, 40], [8, 2]]))


def slow(model, batch, x):
    """One graph at a time, dense, by PyG's SortAggregation and a Conv1d."""
    outputs = []
    conv = torch.nn.Conv1d(1, model.each_node.out_features, model.each_node.in_features,
                           stride=model.each_node.in_features)
    conv.weight.data, conv.bias.data = model.each_node.weight.data.unsqueeze(1), model.each_node.bias.data
    for one in batch.to_data_list():
        z = F.one_hot(one.z.clamp(max=model.num_labels - 1), model.num_labels).float()
        y = torch.cat([z, x[one.n_id]], dim=1) if model.dim else z
        a = torch.eye(one.num_nodes)
        a[one.edge_index[1], one.edge_index[0]] = 1
        layers = []
        for layer in model.layers:
            y = torch.tanh(a @ (y @ layer.weight.T) / a.sum(1, True) + layer.bias)
            layers.append(y)
        kept = SortAggregation(model.sort_k)(torch.cat(layers, dim=1), torch.zeros(one.num_nodes, dtype=torch.long))
        y = F.max_pool1d(F.relu(conv(kept.unsqueeze(1))), 2)
        outputs.append(model.mlp(F.relu(model.along(y)).flatten(1)).squeeze())
    return torch.stack(outputs)


@pytest.mark.parametrize("dim", [0, 3])
def test_equals_the_slow_reference(batch, dim):
    torch.manual_seed(0)
    model = DGCNN(dim, num_labels=4, sort_k=11).eval()
    for layer in model.layers:
        torch.nn.init.normal_(layer.bias)
    x = torch.randn(42, max(dim, 1))
    assert torch.allclose(model(batch, x), slow(model, batch, x), atol=1e-5)
    # a pair's score does not depend on its batch
    assert torch.allclose(model(batch, x)[2:3], model(type(batch).from_data_list([batch[2]]), x), atol=1e-6)


def test_gradient_of_the_neighbour_mean(batch):
    adjacency = row_normalized(batch.edge_index, batch.num_nodes)
    y = torch.randn(batch.num_nodes, 5, requires_grad=True)
    weight = torch.randn(batch.num_nodes, 5)
    (NeighbourMean.apply(y, adjacency) * weight).sum().backward()
    assert torch.allclose(y.grad, adjacency.to_dense().T @ weight, atol=1e-6)


def test_sort_pool_by_hand():
    y = torch.tensor([[1.0, -0.5], [2, 0.5], [3, -0.0], [4, 0.0], [5, -2.0], [6, 7.0]])
    batch, ptr = torch.tensor([0, 0, 0, 0, 2, 2]), torch.tensor([0, 4, 4, 6])
    kept = sort_pool(y, batch, ptr, 3)
    assert kept[..., 0].tolist()[0][0] == 2 and set(kept[0, 1:, 0].tolist()) == {3, 4}
    assert kept[1].eq(0).all() and kept[2, :, 0].tolist() == [6, 5, 0]


def test_equal_keys_keep_their_order():
    y = torch.stack([torch.arange(50.0), torch.ones(50)], dim=1)
    kept = sort_pool(y, torch.zeros(50, dtype=torch.long), torch.tensor([0, 50]), 50)
    assert kept[0, :, 0].tolist() == list(range(50))


def test_small_sort_k_is_refused():
    with pytest.raises(ValueError, match="at least 10"):
        DGCNN(0, 4, sort_k=9)
