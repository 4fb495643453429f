"""Without cameras, all images are of one: what reads cameras is then the plain form of it."""
import torch
import torch.nn.functional as F
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.graph import KNNGraph
from mprd_pyg.graph.pairs import PairStatistics
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.relations import KReciprocalJaccard
from mprd_pyg.training import MemoryGraph, PairBook


def features(n=60):
    x = torch.randn(-(-n // 6), 8).repeat_interleave(6, 0)[:n]
    return F.normalize(x + 0.5 * torch.randn(n, 8) + 0.7, dim=1)  # a mean that centring would take out


def graph_of(x, camera, centred):
    memory = FeatureMemory(len(x), x.shape[1], 1)
    memory.bank.copy_(x[None])
    images = TrainImages(list(x), camera)
    return MemoryGraph(memory, KNNGraph(k=5), images, camera_centered=centred)(torch.arange(len(x)))[0]


def test_a_camera_centred_search_is_the_plain_one():
    x = features()
    plain, one = graph_of(x, None, False), graph_of(x, torch.full((60,), 4), True)
    assert torch.equal(plain.edge_index, one.edge_index) and torch.equal(plain.x, one.x)
    two = graph_of(x, torch.arange(60) % 2, True)
    assert not torch.equal(plain.edge_index, two.edge_index)


def test_camera_aware_jaccard_is_the_plain_one():
    graph = graph_of(features(), None, False)
    columns = PairStatistics(["reciprocal_jaccard", "camera_reciprocal_jaccard"], k1=12, k2=3)
    pairs = torch.combinations(torch.arange(60))
    plain, aware = columns(graph, pairs).T
    assert torch.equal(plain, aware) and plain.max() > 0.3
    graph.camera_id = torch.arange(60) % 2
    assert not torch.equal(plain, columns(graph, pairs)[:, 1])


def test_the_reciprocal_relation_is_the_plain_one():
    graph = graph_of(features(), None, False)
    plain, aware = KReciprocalJaccard(camera_aware=False)(graph), KReciprocalJaccard()(graph)
    assert torch.equal(plain.edge_index, aware.edge_index) and torch.equal(plain.likelihood, aware.likelihood)
    assert plain.believed.any()


def test_no_figure_across_cameras_is_recorded():
    edges = torch.tensor([[0, 1], [1, 2]])
    pairs = Data(edge_index=edges, edge_attr=torch.ones(2), likelihood=torch.ones(2), believed=torch.ones(2).bool(),
                 num_nodes=4)
    person = torch.tensor([1, 1, 2, 2])
    for camera, there in ((None, False), (torch.tensor([1, 2, 1, 2]), True)):
        book = PairBook(TrainImages([0] * 4, camera, person), 1)
        book.add([pairs])
        assert any("cross_camera" in name for name in book.close(1)) == there
