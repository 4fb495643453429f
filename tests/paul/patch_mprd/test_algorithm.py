"""PatchMPRD's own steps: which lists the judge reads, what is believed, and what the GCN learns from next."""
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import training_view
from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.models import PairClassifier
from mprd_pyg.relations import MPLP
from mprd_pyg.training import Learner, MemoryGraph
from paul import IPFL, LEARNER, PAUL, PatchNet
from paul.patch_mprd import BranchGCN, BranchGCNTraining, PatchMPRD
from paul.surrogate_view import paul_view

SIZE, COUNT, META = (48, 24), 16, 4


def images(count, seed):
    return list(torch.randint(256, (count, 3, *SIZE), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8))


def method(form="pooled", edges="roots", camera_centered=False, **options):
    torch.manual_seed(1)
    judge = BranchGCN(PairClassifier(BranchGCN.feature_size(form, 3, 8), hidden=8), PairSubgraphs(edges), form)
    network = PatchNet("resnet18", 2, weights=None, patches=3, dim=8, localization_width=4)
    table = TrainImages(images(COUNT, 0) + images(META, 1), torch.arange(COUNT + META) % 2,
                        meta=torch.tensor([-1] * COUNT + [0, 0, 1, 1]), num_unlabelled=COUNT)
    learner = Learner(Fabric(accelerator="cpu", devices=1), network, table, paul_view(*SIZE),
                      **LEARNER | {"batch_size": 6})
    memory = FeatureMemory(COUNT, 8, 3, normalize=False)
    connect = MemoryGraph(memory, KNNGraph(k=2, metric="l2"), table, camera_centered)
    paul = PAUL(learner, connect, **{"relation": judge, "ipfl": IPFL(r=1), "epochs": 2, **options})
    gcn = BranchGCNTraining(judge, learner, connect, training_view(*SIZE, perturbed=True), batch_size=8)
    return PatchMPRD(paul, gcn)


def judged(this, x, rows):
    judge = this.paul.relation
    return judge(this.paul.connect(rows, judge.reach, x, judge.joint))


@pytest.mark.parametrize("edges", ["roots", "induced"])
def test_the_judge_sees_what_it_would_see_in_the_whole_graph(edges):
    """The likelihoods of a step are those of whole branch graphs with the live features in them."""
    this = method(edges=edges)
    this.paul.memory.bank.copy_(F.normalize(torch.randn(3, COUNT, 8), dim=2))
    rows, x = torch.tensor([4, 0, 7]), F.normalize(torch.randn(3, 3, 8), dim=2)
    pairs = judged(this, x, rows)
    whole = []
    for m in range(3):
        graph = this.paul.connect.knn(this.paul.memory.bank[m])
        live = this.paul.connect.knn(this.paul.memory.bank[m], rows=rows, queries=x[:, m])
        kept = ~torch.isin(graph.edge_index[1], rows)
        graph.edge_index = torch.cat([graph.edge_index[:, kept], live.edge_index], dim=1)
        whole.append(graph)
    features = this.paul.memory.bank.transpose(0, 1).clone()
    features[rows] = x
    from paul.patch_mprd import BranchLists
    asked = pairs[0].edge_index.flip(0).T
    slow = this.paul.relation.likelihood(features, BranchLists.from_graphs(whole), asked)[0]
    torch.testing.assert_close(pairs[0].likelihood, slow, atol=1e-5, rtol=1e-4)
    assert {tuple(e) for e in pairs[0].edge_index.T.tolist()} == {
        (j, i) for g in whole for j, i in g.edge_index.T.tolist() if i in rows.tolist()}
    for m, part in enumerate(pairs):  # believed in all branches alike, similar in each branch in its own way
        assert torch.equal(part.likelihood, pairs[0].likelihood) and torch.equal(part.believed, part.likelihood > 0.5)
        j, i = part.edge_index
        torch.testing.assert_close(part.edge_attr, (features[j, m] * features[i, m]).sum(1), atol=1e-5, rtol=1e-4)


def test_separate_judges_each_branchs_own_neighbours():
    this = method("separate")
    this.paul.memory.bank.copy_(F.normalize(torch.randn(3, COUNT, 8), dim=2))
    rows, x = torch.tensor([4, 0]), F.normalize(torch.randn(2, 3, 8), dim=2)
    pairs = judged(this, x, rows)
    assert [part.edge_index.shape[1] for part in pairs] == [4, 4, 4]
    assert not torch.equal(pairs[0].edge_index, pairs[1].edge_index)


def test_the_gcn_graph_holds_images_meta_images_and_views():
    this = method(camera_centered=True)
    this.prepare()
    alone = torch.tensor([3, 5])
    features, lists = this.gcn.nodes(this.gcn.graphs(1, alone))
    assert features.shape == (COUNT + META + 2, 24) and lists.num_nodes == COUNT + META + 2
    torch.testing.assert_close(features.norm(dim=1), torch.ones(COUNT + META + 2))
    for part in lists.branches:
        assert (part.ptr.diff() == 2).all()
        assert int(part.neighbour.max()) < COUNT + META  # nobody's neighbour is a view
    again, _ = this.gcn.nodes(this.gcn.graphs(1, alone))
    assert torch.equal(features, again)


def test_images_believed_in_half_of_the_branches_train_the_gcn_next():
    this = method("separate")
    from torch_geometric.data import Data
    edges = torch.tensor([[1, 1, 2, 3, 3, 3], [0, 0, 0, 0, 0, 0]])
    believed = torch.tensor([True, True, True, True, False, False])
    branch = torch.tensor([0, 1, 0, 0, 1, 2])
    this.paul.pairs.judged = [Data(edge_index=edges, edge_attr=torch.ones(6), likelihood=torch.ones(6),
                                   believed=believed, branch=branch)]
    figures = this.end_epoch(1)
    assert this.paul.pairs.believed.gather(torch.tensor([0]))[1].tolist() == [1]  # 2 and 3: one branch of three
    assert figures["pairs/images_per_image"] == 1 / COUNT


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="PatchMPRD's relation is the GCN that it trains"):
        method(relation=MPLP())
    with pytest.raises(ValueError, match="pedal_weight must not be 0"):
        method(pedal_weight=0.0)
