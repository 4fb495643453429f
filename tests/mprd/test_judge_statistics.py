"""MPRD's judge beside pair statistics: joined to the GCN, or as controls."""
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import plain_view, training_view
from mprd_pyg.graph import KNNGraph, PairStatistics, PairSubgraphs
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.models import ImageEmbedder, PairClassifier
from mprd_pyg.models.pairs import LogisticPairs
from mprd_pyg.mprd import MPRD, GCNRelation, GCNTraining
from mprd_pyg.mprd.gcn_training import statistics_beside_views
from mprd_pyg.mprd.logistic_judge import COLUMNS
from mprd_pyg.training import Learner, MemoryGraph
from mprd_pyg.training.checkpoint import load_parts

NAMES = ["common_neighbours", "adamic_adar", "edge_probability", "camera_reciprocal_jaccard"]
N, Z = 40, 6


def random_graph(n=60, k=5, seed=0):
    x = F.normalize(torch.randn(n, 7, generator=torch.Generator().manual_seed(seed)), dim=1)
    graph = KNNGraph(k=k)(x, keep_features=True)
    graph.rows, graph.camera_id = torch.arange(n), torch.arange(n) % 3
    return graph


# -- joined to the GCN -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("edges", "head"), [("roots", "max"), ("induced", "max"), ("roots", "dgcnn")])
def test_judged_pair_by_pair_it_is_the_same(edges, head):
    """Shared double stars, batches of any size, or one subgraph and one row of statistics at a time."""
    torch.manual_seed(0)
    graph = random_graph()
    relation = GCNRelation(PairClassifier(7, hidden=8, head=head), PairSubgraphs(edges), statistics=NAMES)
    pairs = graph.edge_index.flip(0).T
    columns = PairStatistics(NAMES)(graph, pairs)
    standardised = relation.standardise.fit(columns)(columns)
    for max_bytes in (1 << 30, 3000):
        relation.max_bytes = max_bytes
        found = relation(graph).likelihood
        for place in range(0, len(pairs), 17):
            batch = PairSubgraphs(edges)(graph, pairs[place:place + 1])
            batch.statistics = standardised[place:place + 1]
            relation.classifier.eval()
            alone = relation.classifier(batch, graph.x).sigmoid()
            torch.testing.assert_close(found[place:place + 1], alone, atol=1e-5, rtol=1e-4)
    changed = relation.standardise.fit(columns * 2 + torch.arange(len(columns)).unsqueeze(1))
    assert changed is relation.standardise and not torch.allclose(relation(graph).likelihood, found)


def method_of(**judge):
    torch.manual_seed(0)
    store = [torch.randint(256, (3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
             for i in range(N + Z)]
    network = ImageEmbedder("resnet18", 1, weights=None)
    meta = torch.tensor([-1] * N + [7, 7, 7, 9, 9, 9])
    images = TrainImages(store, torch.arange(N + Z) % 3, None, meta, N)
    learner = Learner(Fabric(accelerator="cpu", devices=1), network, images, plain_view(), batch_size=10)
    connect = MemoryGraph(FeatureMemory(N, network.dim), KNNGraph(k=4), images)
    relation = GCNRelation(PairClassifier(network.dim, hidden=8), PairSubgraphs(), **judge)
    training = GCNTraining(relation, learner, connect, training_view(32, 16, perturbed=True), batch_size=10)
    method = MPRD(learner, connect, relation, gcn=training, epochs=2)
    method.prepare()
    return method


def test_training_standardises_by_all_pairs_of_the_epoch_from_any_step_on():
    method = method_of(statistics=NAMES, believe="logistic")
    phase = next(method.phases(1))
    batches = list(phase.batches(0))
    parts = [part for batch in batches for part in batch[2]]
    joined = torch.cat([part.statistics for part in parts])
    graph, = method.gcn.graphs(1, torch.arange(N))
    pairs = torch.cat([part.pairs for part in parts])
    columns = statistics_beside_views(PairStatistics(NAMES), graph, N, pairs)
    torch.testing.assert_close(joined, method.relation.standardise(columns))
    assert joined.abs().max() < 5 and joined.mean(0).abs().max() < 1e-5  # nothing clipped: the mean is exactly theirs
    model = LogisticPairs().fit(columns, torch.cat([part.label for part in parts]))
    torch.testing.assert_close(method.relation.logistic.model.likelihood(columns), model.likelihood(columns))
    again = method_of(statistics=NAMES, believe="logistic")
    late = list(next(again.phases(1)).batches(5))
    assert len(late) == phase.num_steps - 5
    for one, two in zip(batches[5:], late, strict=True):
        assert all(torch.equal(a.statistics, b.statistics) for a, b in zip(one[2], two[2], strict=True))
    for name in ("mean", "scale", "is_count"):
        assert torch.equal(getattr(again.relation.standardise, name), getattr(method.relation.standardise, name))
    before = [p.detach().clone() for p in method.gcn.classifier.parameters()]
    assert torch.isfinite(phase.step(batches[0])["loss"])
    assert any(not torch.equal(p, old) for p, old in zip(method.gcn.classifier.parameters(), before, strict=True))


def test_a_batch_is_judged_by_the_whole_graph():
    """Who lists an image may be any other: the pairs of a batch are judged as among all pairs."""
    method = method_of(statistics=NAMES)
    next(iter(next(method.phases(1)).batches(0)))  # fits the standardisation
    rows = torch.tensor([3, 17, 20])
    graph = method.neighbourhood(rows)
    assert graph.rows.tolist() == [3, 17, 20] and graph.edge_index.shape[1] == 4 * N
    pairs, every = method.relation(graph), method.relation(method.connect(torch.arange(N))[0])
    mine = torch.isin(every.edge_index[1], rows)
    assert torch.equal(pairs.edge_index, every.edge_index[:, mine])
    torch.testing.assert_close(pairs.likelihood, every.likelihood[mine], atol=1e-6, rtol=1e-5)
    assert not method_of(statistics=["similarity", "edge_probability"]).relation.whole_graph
    assert not method_of().relation.whole_graph and method_of(believe="logistic").relation.whole_graph


def test_what_a_checkpoint_holds_judges_alike():
    method, other = (method_of(statistics=NAMES, believe="logistic") for _ in range(2))
    empty = {name: part.state_dict() for name, part in method.parts.items()}
    load_parts(other.parts, empty, "before.pt")  # nothing is fitted yet
    for batch in (phase := next(method.phases(1))).batches(0):
        phase.step(batch)
    load_parts(other.parts, {name: part.state_dict() for name, part in method.parts.items()}, "after.pt")
    graph = method.neighbourhood(torch.arange(10))
    one, two = method.relation(graph), other.relation(graph)
    assert torch.equal(one.likelihood, two.likelihood) and torch.equal(one.believed, two.believed)
    with pytest.raises(ValueError, match="old.pt is of another method .it lacks gcn_statistics"):
        load_parts(other.parts, {k: v for k, v in empty.items() if k != "gcn_statistics"}, "old.pt")


def test_views_are_in_nobody_s_neighbourhood():
    """Pairs of images have the columns of the graph without views; a view reads its own list."""
    images = random_graph(30)
    views = F.normalize(torch.randn(4, 7, generator=torch.Generator().manual_seed(1)), dim=1)
    lists = KNNGraph(k=5)(images.x, queries=views)
    graph = Data(x=torch.cat([images.x, views]), edge_index=torch.cat([images.edge_index, lists.edge_index], dim=1),
                 edge_attr=torch.cat([images.edge_attr, lists.edge_attr]), num_nodes=34,
                 camera_id=torch.cat([images.camera_id, torch.zeros(4, dtype=torch.long)]))
    pairs = torch.tensor([[0, 5], [1, 30], [7, 3], [8, 33]])
    statistics = PairStatistics(NAMES)
    found = statistics_beside_views(statistics, graph, 4, pairs)
    assert torch.equal(found[[0, 2]], statistics(images, pairs[[0, 2]]))
    assert torch.equal(found[[1, 3]], statistics(graph, pairs[[1, 3]]))
    assert torch.equal(statistics_beside_views(statistics, images, 0, pairs[[0, 2]]), found[[0, 2]])


# -- controls ----------------------------------------------------------------------------------------------------------

def two_people():
    """Two people of four images each; images 3 and 4 are nearest to each other, and have no neighbour in common."""
    noise = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    gram = torch.full((8, 8), 0.05, dtype=torch.float64)
    gram[:4, :4] = gram[4:, 4:] = 0.4 + noise / 100
    gram[3, 4] = gram[4, 3] = 0.45
    gram = (gram + gram.T) / 2
    gram.fill_diagonal_(1)
    x = torch.linalg.cholesky(gram).float()
    graph = KNNGraph(k=3)(x, keep_features=True)
    graph.rows, graph.camera_id = torch.arange(8), torch.arange(8) % 2
    return graph


def edge_probability(graph, i, j):
    """The definition without the pair's own edge: shared neighbours c, p proportional to exp(-d^2 / 0.5)."""
    p = []
    for node, other in ((i, j), (j, i)):
        mine = (graph.edge_index[1] == node) & (graph.edge_index[0] != other)
        weight = {int(c): float(((s - 1) * 4).exp()) for c, s in zip(graph.edge_index[0, mine], graph.edge_attr[mine],
                                                                     strict=True)}
        p.append({c: w / sum(weight.values()) for c, w in weight.items()})
    return sum(p[0][c] + p[1][c] for c in p[0].keys() & p[1].keys()) / 2


@pytest.mark.parametrize("believe", ["similarity", "jaccard", "camera_jaccard", "edge_probability", "logistic"])
def test_controls_believe_as_many_pairs_by_their_own_score(believe):
    torch.manual_seed(0)
    graph, gcn = two_people(), PairClassifier(8, hidden=8)
    likelihood = GCNRelation(gcn, PairSubgraphs())(graph).likelihood
    mu = float(likelihood.sort().values[1])  # all pairs but two or more
    relation = GCNRelation(gcn, PairSubgraphs(), mu=mu, believe=believe)
    pairs = graph.edge_index.flip(0).T
    if believe == "logistic":
        relation.logistic.fit(relation.logistic.statistics(graph, pairs), (pairs[:, 0] // 4 == pairs[:, 1] // 4).long())
    answer = relation(graph)
    across = (answer.edge_index // 4).diff(dim=0)[0] != 0
    assert across.sum() == 2 and answer.believed.sum() == (likelihood > mu).sum() <= 22
    assert bool(answer.believed[across].all()) == (believe == "similarity")  # the cosine alone is deceived
    score = answer.edge_attr if believe == "similarity" else answer.likelihood
    assert score[answer.believed].min() >= score[~answer.believed].max()
    if believe == "similarity":
        assert torch.equal(answer.likelihood, likelihood)
    if believe == "edge_probability":
        slow = [edge_probability(graph, int(i), int(j)) for i, j in pairs]
        torch.testing.assert_close(answer.likelihood, torch.tensor(slow), atol=1e-6, rtol=1e-5)


def test_logistic_reads_the_statistics_of_the_judge():
    gcn = PairClassifier(7, hidden=8)
    assert GCNRelation(gcn, PairSubgraphs(), believe="logistic").logistic.statistics.names == COLUMNS
    relation = GCNRelation(gcn, PairSubgraphs(), believe="logistic", statistics=NAMES)
    assert relation.logistic.statistics.names == tuple(NAMES)
    with pytest.raises(ValueError, match="LogisticPairs holds nothing|fit it first"):
        relation.logistic.model.state_dict()


def test_bad_options_are_named():
    for options, match in (({"believe": "cosine"}, "believe must be one of likelihood, similarity, jaccard"),
                           ({"statistics": ["degree"]}, "no statistic 'degree'"),
                           ({"statistics": []}, "names is empty")):
        with pytest.raises(ValueError, match=match):
            GCNRelation(PairClassifier(7, hidden=8), PairSubgraphs(), **options)
