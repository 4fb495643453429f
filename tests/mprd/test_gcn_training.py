"""Which pairs train the GCN (Sec. 4.2), and Eq. 10."""
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import nn
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.graph import KNNGraph, NeighbourLists, PairSubgraphs
from mprd_pyg.models import PairClassifier
from mprd_pyg.mprd import GCNRelation, GCNTraining, pair_loss
from mprd_pyg.mprd.pair_sampling import MetaPairs, UnlabelledPairs
from mprd_pyg.training import Learner

N = 30


class Flat(nn.Module):
    """An embedder that is never called."""

    branches, dim = 1, 5

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def parameter_groups(self, trunk_lr, new_lr):
        return [{"params": [self.weight], "lr": trunk_lr}]


def training_of(relation, meta_person, nodes=None, **options):
    """The GCN's training on N unlabelled images and these meta images, on given nodes."""
    meta = torch.cat([torch.full((N,), -1), meta_person])
    images = TrainImages([None] * len(meta), meta=meta, num_unlabelled=N)
    learner = Learner(Fabric(accelerator="cpu", devices=1), Flat(), images, None)
    training = GCNTraining(relation, learner, None, None, **options)
    training.graphs, training.nodes = lambda epoch, alone: [], lambda graphs: nodes
    return training


def believed_lists(edges):
    """P_i without i from {i: [j, ...]}."""
    pairs = [(j, i) for i, js in edges.items() for j in js]
    edge_index = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T
    return NeighbourLists.from_graph(Data(edge_index=edge_index, num_nodes=N))


def setting(num_meta=6, seed=0):
    x = F.normalize(torch.randn(N + num_meta + N, 5, generator=torch.Generator().manual_seed(seed)), dim=1)
    graph = KNNGraph(k=4)(x)
    return x, NeighbourLists.from_graph(graph)


def draw(believed, anchors, seed=0, fraction=0.1):
    x, lists = setting()
    drawer = UnlabelledPairs(believed_lists(believed), N, fraction)
    view_node = torch.arange(N) + N + 6
    sample = drawer(torch.tensor(anchors), x[:N], lists, view_node, torch.Generator().manual_seed(seed))
    return sample, x, lists


def test_the_first_epoch_pairs_images_with_their_views_and_random_others():
    sample, _, _ = draw({}, [3, 8, 20])
    positive = sample.pairs[sample.label == 1]
    assert positive.tolist() == [[3, 3 + N + 6], [8, 8 + N + 6], [20, 20 + N + 6]]
    negative = sample.pairs[sample.label == 0]
    assert negative[:, 0].tolist() == [3, 8, 20] and (negative[:, 0] != negative[:, 1]).all()
    assert (negative[:, 1] < N).all()
    others = {int(draw({}, [3], seed)[0].pairs[1, 1]) for seed in range(300)}
    assert others == set(range(N)) - {3}


def test_later_positives_are_mutual_members_of_p():
    """r_i drawn from P_i, every other r_j of P_i with r_i in NN_k(r_j); the printed rule is a misprint."""
    x, lists = setting()
    nn = {b: lists.neighbour[lists.ptr[b]:lists.ptr[b + 1]].tolist() for b in range(N)}
    listed_by = {a: [b for b in range(N) if a in nn[b]] for a in range(N)}
    anchor = max(range(N), key=lambda a: len(listed_by[a]))
    p = [anchor, *[b for b in range(N) if b != anchor and (b in listed_by[anchor] or b % 3 == 0)]]
    seen = set()
    for seed in range(100):
        sample, _, _ = draw({anchor: p[1:]}, [anchor], seed)
        positive = sample.pairs[sample.label == 1].tolist()
        drawn = {first for first, _ in positive}
        assert len(drawn) <= 1  # one r_i
        seen |= drawn
        for r_i in drawn:
            assert sorted(second for _, second in positive) == sorted(r for r in p if r != r_i and r_i in nn[r])
    assert anchor in seen and len(seen) > 3


def test_later_negatives_are_hard_and_as_many_as_p():
    """|P_i| random members of N*_i, the int(fraction |N_i|) most similar outside P_i (Eq. 3)."""
    edges = {3: [10, 11], 5: [1]}
    drawn = {3: set(), 5: set()}
    for seed in range(60):
        sample, x, _ = draw(edges, [3, 5], seed, fraction=0.2)
        for owner, i in ((0, 3), (1, 5)):
            got = sample.pairs[(sample.label == 0) & (sample.owner == owner)]
            assert (got[:, 0] == i).all() and len(set(got[:, 1].tolist())) == len(got) == 1 + len(edges[i])
            drawn[i] |= set(got[:, 1].tolist())
    for i in (3, 5):
        outside = [j for j in range(N) if j != i and j not in edges[i]]
        hard = sorted(outside, key=lambda j: -float(x[i] @ x[j]))[:int(0.2 * len(outside))]
        assert drawn[i] == set(hard)


def test_the_same_generator_gives_the_same_pairs():
    one, two = draw({3: [4, 5, 6]}, [3, 9], 5)[0], draw({3: [4, 5, 6]}, [3, 9], 5)[0]
    assert torch.equal(one.pairs, two.pairs) and torch.equal(one.label, two.label)


def test_meta_pairs():
    person = torch.tensor([9, 9, 4, 4, 4, 7, 7])
    meta = MetaPairs(person, first_node=N, cross_negatives=2)
    partners = set()
    for seed in range(60):
        chosen = torch.tensor([0, 3, 6])
        sample = meta(chosen, torch.tensor([1, 2, 5]), torch.Generator().manual_seed(seed))
        assert sample.label.tolist() == [1] * 3 + [0] * 9 and sample.owner.tolist() == [0, 1, 2] * 4
        first = sample.pairs[:, 0] - N
        assert torch.equal(first, chosen.repeat(4))
        other = sample.pairs[:6, 1] - N
        assert (person[first[:3]] == person[other[:3]]).all() and (first[:3] != other[:3]).all()
        assert (person[first[3:6]] != person[other[3:]]).all()
        assert sample.pairs[6:, 1].tolist() == [1, 2, 5, 2, 5, 1]
        partners.add(int(other[1]))
    assert partners == {2, 4}
    with pytest.raises(ValueError, match="two identities"):
        MetaPairs(torch.tensor([1, 1, 1]), 0)


def test_equation_10_and_eta():
    """The gradient is that of L_u plus eta times that of L_m; eta is the ratio of graphs, and falls as P grows."""
    x, lists = setting()
    gcn = PairClassifier(5, hidden=8)
    training = training_of(GCNRelation(gcn, PairSubgraphs()), torch.tensor([0, 0, 1, 1, 2, 2]), batch_size=8)
    etas = []
    for believed in ({}, {i: [(i + d) % N for d in range(1, 9)] for i in range(N)}):
        drawer = UnlabelledPairs(believed_lists(believed), N, 0.5)
        unlabelled, meta = training.draw(torch.arange(4), drawer, x, lists, torch.arange(N) + N + 6,
                                         torch.Generator().manual_seed(0))
        loss, eta = training.loss(x, lists, unlabelled, meta)
        assert eta == len(meta.pairs) / len(unlabelled.pairs)
        got = torch.autograd.grad(loss, list(gcn.parameters()))
        parts = []
        for sample in (unlabelled, meta):
            logit = gcn(PairSubgraphs()(lists, sample.pairs), x)
            parts.append(torch.autograd.grad(pair_loss(logit, sample.label, sample.owner, sample.num_images),
                                             list(gcn.parameters())))
        for mine, u, m in zip(got, *parts, strict=True):
            torch.testing.assert_close(mine, u + eta * m, atol=1e-6, rtol=1e-4)
        etas.append(eta)
    assert etas[0] == 12 / 8 and etas[1] < etas[0]  # meta: 3 graphs per image; unlabelled: 2 at the first epoch


def test_training_separates_what_can_be_separated():
    """Eq. 9: on two clear groups, the GCN's loss falls and its likelihoods tell pairs within from pairs across."""
    torch.manual_seed(0)
    centre = torch.eye(2, 8).repeat_interleave(15, 0) * 3
    x = F.normalize(centre + torch.randn(N, 8), dim=1)
    graph = KNNGraph(k=5)(x, keep_features=True)
    lists = NeighbourLists.from_graph(graph)
    group = torch.arange(N) // 15
    edges = {i: [j for j in range(N) if group[j] == group[i] and j != i] for i in range(N)}
    relation = GCNRelation(PairClassifier(8, hidden=16), PairSubgraphs())
    training = training_of(relation, torch.zeros(0, dtype=torch.long), (x, lists), optimizer="adam", lr=0.01,
                           hard_fraction=0.5)
    for epoch in range(1, 40):
        phase = training.phase(epoch, believed_lists(edges))
        for batch in phase.batches(0):
            phase.step(batch)
    inside, across = [[0, 5], [3, 9], [16, 22]], [[0, 20], [14, 15], [7, 29]]
    assert relation.likelihood(graph, torch.tensor(inside)).min() > 0.6
    assert relation.likelihood(graph, torch.tensor(across)).max() < 0.4


def test_variants_without_one_of_the_parts():
    relation = GCNRelation(PairClassifier(5, hidden=8), PairSubgraphs())
    none, some = torch.zeros(0, dtype=torch.long), torch.tensor([0, 0, 1, 1, 2, 2])
    x, lists = setting()
    for meta, unlabelled, size in ((none, True, 8), (some, False, 8), (some, True, 4)):
        training = training_of(relation, meta, (x, lists), unlabelled_pairs=unlabelled, batch_size=8)
        phase = training.phase(1, believed_lists({i: [(i + 1) % N] for i in range(N)}))
        assert phase.num_steps == -(-N // size)
        _, _, (u, m) = next(iter(phase.batches(0)))
        assert (u is not None) == unlabelled and (m is not None) == (len(meta) > 0)
        assert torch.isfinite(phase.step((x, lists, (u, m)))["loss"])
    with pytest.raises(ValueError, match="meta data"):
        training_of(relation, none, unlabelled_pairs=False)
    with pytest.raises(ValueError, match="optimizer"):
        training_of(relation, some, optimizer="lamb")
