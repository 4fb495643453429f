"""M branch graphs judged together: every form against the plain GCN applied branch by branch."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.graph import KNNGraph, NeighbourLists, PairSubgraphs
from mprd_pyg.models import PairClassifier
from mprd_pyg.mprd import pair_loss
from mprd_pyg.mprd.pair_sampling import PairSample
from mprd_pyg.training import Learner
from paul import PatchNet
from paul.patch_mprd import BranchGCN, BranchGCNTraining, BranchLists

T, M, D = 14, 3, 5
PAIRS = torch.tensor([[0, 1], [2, 9], [13, 4], [5, 6]])


def setting(form, edges="roots"):
    torch.manual_seed(0)
    features = F.normalize(torch.randn(T, M, D), dim=2)
    graphs = KNNGraph(k=3)(features.transpose(0, 1))
    classifier = PairClassifier(BranchGCN.feature_size(form, M, D), hidden=8)
    return features, graphs, BranchGCN(classifier, PairSubgraphs(edges), form, chunk=5)


def one_branch(judge, features, graph, pairs):
    """The plain GCN on one graph, one pair at a time."""
    lists = NeighbourLists.from_graph(graph)
    return torch.cat([judge.classifier(judge.subgraphs(lists, pair.unsqueeze(0)), features) for pair in pairs])


@pytest.mark.parametrize("edges", ["roots", "induced"])
def test_pooled_is_the_mean_of_the_branches_logits(edges):
    features, graphs, judge = setting("pooled", edges)
    slow = torch.stack([one_branch(judge, features[:, m], graphs[m], PAIRS) for m in range(M)])
    separate = BranchGCN(judge.classifier, judge.subgraphs, "separate", chunk=5)
    lists = BranchLists.from_graphs(graphs)
    torch.testing.assert_close(separate.logits(features, lists, PAIRS), slow)
    torch.testing.assert_close(judge.logits(features, lists, PAIRS), slow.mean(0, keepdim=True))
    torch.testing.assert_close(judge.likelihood(features, lists, PAIRS), slow.mean(0, keepdim=True).sigmoid())
    torch.testing.assert_close(separate.likelihood(features, lists, PAIRS), slow.sigmoid())
    assert slow.std(0).min() > 0  # the branches do differ


def test_joint_is_one_graph_of_all_branches_edges():
    features, graphs, judge = setting("joint")
    union = Data(edge_index=torch.cat([graph.edge_index for graph in graphs], dim=1), num_nodes=T)
    slow = one_branch(judge, F.normalize(features.flatten(1), dim=1), union, PAIRS)
    torch.testing.assert_close(judge.logits(features, BranchLists.from_graphs(graphs), PAIRS)[0], slow)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12), min_size=1, max_size=3))
def test_branch_lists_hold_the_union_and_each_branch(branches):
    graphs = [Data(edge_index=torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T, num_nodes=6)
              for edges in branches]
    lists = BranchLists.from_graphs(graphs)
    sets = [[{j for j, i in edges if i == node and j != node} for node in range(6)] for edges in branches]
    flat = lists.side_by_side()
    for node in range(6):
        owner, neighbour = lists.gather(torch.tensor([node]))
        assert neighbour.tolist() == sorted(set().union(*(own[node] for own in sets)))
        for m, own in enumerate(sets):
            found = flat.gather(torch.tensor([6 * m + node]))[1]
            assert found.tolist() == sorted(6 * m + j for j in own[node])


@pytest.mark.parametrize("form", ["separate", "pooled", "joint"])
def test_training_loss_is_equation_10_over_the_form(form):
    features, graphs, judge = setting(form)
    lists = BranchLists.from_graphs(graphs)
    images = TrainImages([None] * T, meta=torch.tensor([-1] * 10 + [0, 0, 1, 1]), num_unlabelled=10)
    network = PatchNet("resnet18", 1, weights=None, patches=M, dim=D, localization_width=2)
    learner = Learner(Fabric(accelerator="cpu", devices=1), network, images, None)
    gcn = BranchGCNTraining(judge, learner, None, None)
    unlabelled = PairSample(PAIRS[:2], torch.tensor([1, 0]), torch.tensor([0, 0]), 1)
    meta = PairSample(torch.tensor([[10, 11], [10, 12], [12, 1]]), torch.tensor([1, 0, 0]), torch.tensor([0, 0, 1]), 2)
    loss, eta = gcn.loss(features.flatten(1), lists, unlabelled, meta)
    assert eta == 1.5
    parts = [[pair_loss(row, part.label, part.owner, part.num_images)
              for row in judge.logits(features, lists, part.pairs)] for part in (unlabelled, meta)]
    slow = torch.stack(parts[0]).mean() + 1.5 * torch.stack(parts[1]).mean()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-5)
    alone, eta = gcn.loss(features.flatten(1), lists, unlabelled, None)
    assert eta == 0 and alone.item() == pytest.approx(torch.stack(parts[0]).mean().item(), rel=1e-5)


def test_no_pairs_and_bad_options():
    features, graphs, judge = setting("separate")
    lists = BranchLists.from_graphs(graphs)
    assert judge.likelihood(features, lists, PAIRS[:0]).shape == (M, 0)
    with pytest.raises(ValueError, match="form must be one of"):
        BranchGCN(judge.classifier, judge.subgraphs, "mean")
    with pytest.raises(ValueError, match="mu is a likelihood"):
        BranchGCN(judge.classifier, judge.subgraphs, mu=1.0)
