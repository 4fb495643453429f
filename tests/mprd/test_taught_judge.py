"""MPRD's judge taught by a relation's confident pairs, and judging candidates beyond NN_k."""
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import plain_view, training_view
from mprd_pyg.graph import KNNGraph, NeighbourLists, PairSubgraphs
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.models import ImageEmbedder, PairClassifier
from mprd_pyg.mprd import MPRD, GCNRelation, GCNTraining
from mprd_pyg.mprd.pair_sampling import UnlabelledPairs
from mprd_pyg.relations import KReciprocalJaccard
from mprd_pyg.training import Learner, MemoryGraph

N = 30


def people(seed=0):
    """Six images of each of five people, near each other, in two cameras."""
    generator = torch.Generator().manual_seed(seed)
    centre = F.normalize(torch.randn(5, 8, generator=generator), dim=1)
    x = F.normalize(centre.repeat_interleave(6, 0) + 0.25 * torch.randn(N, 8, generator=generator), dim=1)
    graph = KNNGraph(k=3)(x, keep_features=True)
    graph.rows, graph.camera_id = torch.arange(N), torch.arange(N) % 2
    return graph


def teacher(**options):
    return KReciprocalJaccard(**{"threshold": 0.4, "least": 0.05, "k1": 8, "k2": 3, "camera_aware": False} | options)


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_drawn_among_what_the_teacher_believes_and_never_among_what_it_leaves_open(seed):
    graph = people(seed)
    judged = teacher()(graph)
    edges = [{tuple(pair) for pair in judged.edge_index[:, keep].T.tolist()}
             for keep in (judged.believed, torch.ones_like(judged.believed))]
    believed, undecided = (NeighbourLists.from_graph(Data(edge_index=torch.tensor(sorted(e, key=lambda p: p[::-1])).T,
                                                          num_nodes=N)) for e in edges)
    none = NeighbourLists(torch.zeros(N + 1, dtype=torch.long), torch.zeros(0, dtype=torch.long))
    drawer = UnlabelledPairs(believed, N, 0.5, undecided)
    known = (believed.ptr.diff() > 0).nonzero().flatten()
    sample = drawer(known, graph.x, none, torch.full((N,), -1), torch.Generator().manual_seed(seed))
    positive, negative = sample.pairs[sample.label == 1].tolist(), sample.pairs[sample.label == 0].tolist()
    assert positive and negative
    assert all((i, j) in edges[0] or (j, i) in edges[0] for i, j in positive)
    assert not any((j, i) in edges[1] for i, j in negative)  # edges run from the other to the image drawn for


@pytest.mark.parametrize("believe", ["likelihood", "jaccard"])
def test_candidates_take_the_place_of_the_neighbours_and_as_many_are_believed(believe):
    torch.manual_seed(0)
    graph, gcn = people(), PairClassifier(8, hidden=8)
    relation = GCNRelation(gcn, PairSubgraphs(), believe=believe, candidates=teacher())
    wide, answer = teacher()(graph), relation(graph)
    assert relation.whole_graph and torch.equal(answer.edge_index, wide.edge_index)
    assert len(answer.believed) > graph.num_edges  # pairs beyond NN_k
    assert answer.believed.sum() == wide.believed.sum() > 0
    assert answer.likelihood[answer.believed].min() >= answer.likelihood[~answer.believed].max()
    if believe == "likelihood":
        assert torch.equal(answer.likelihood, relation.likelihood(graph, wide.edge_index.flip(0).T))


def test_the_teacher_reads_the_memory_of_the_epoch_and_the_judge_learns_its_pairs():
    torch.manual_seed(0)
    store = [torch.randint(256, (3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
             for i in range(N)]
    network, images = ImageEmbedder("resnet18", 1, weights=None), TrainImages(store, torch.arange(N) % 2)
    learner = Learner(Fabric(accelerator="cpu", devices=1), network, images, plain_view(), batch_size=10)
    connect = MemoryGraph(FeatureMemory(N, network.dim), KNNGraph(k=4), images)
    relation = GCNRelation(PairClassifier(network.dim, hidden=8), PairSubgraphs(), candidates=teacher())
    gcn = GCNTraining(relation, learner, connect, training_view(32, 16, perturbed=True), batch_size=N,
                      optimizer="adam", lr=0.01, teacher=teacher())
    method = MPRD(learner, connect, relation, gcn=gcn, epochs=1)
    method.prepare()
    expected = teacher()(connect(torch.arange(N), 1)[0])
    drawer = gcn.drawer(method.pairs.believed)
    assert torch.equal(drawer.believed.ptr.diff(), torch.bincount(expected.edge_index[1, expected.believed],
                                                                 minlength=N))
    assert torch.equal(drawer.undecided.ptr.diff(), torch.bincount(expected.edge_index[1], minlength=N))
    losses = []
    for epoch in range(8):
        phase = gcn.phase(epoch + 1, method.pairs.believed)
        losses += [float(phase.step(batch)["loss"]) for batch in phase.batches(0)]
    assert sum(losses[-2:]) < sum(losses[:2])
