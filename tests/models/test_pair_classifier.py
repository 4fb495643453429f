"""The GCN: Eq. 5 against a dense reference, Eq. 6 against a slow one, and what a score may depend on."""
import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Batch

from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.models import PairClassifier
from mprd_pyg.mprd import GCNRelation, pair_loss


def example(n=40, k=5, dim=7, edges="roots", seed=0):
    x = F.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=1)
    graph = KNNGraph(k=k)(x, keep_features=True)
    pairs = graph.edge_index.T[::7]
    return x, graph, pairs, PairSubgraphs(edges=edges)(graph, pairs)


@pytest.mark.parametrize("edges", ["roots", "induced"])
def test_layers_equal_dense_equation_5(edges):
    """Eq. 5: Y' = ReLU(D^-1 (A + I) Y Theta), Y the one-hot label beside the feature."""
    x, _, _, batch = example(edges=edges)
    gcn = PairClassifier(7, hidden=6)
    with torch.no_grad():
        gcn.conv1.bias.normal_()
        gcn.conv2.bias.normal_()
    caught = {}
    gcn.head.register_forward_pre_hook(lambda module, args: caught.update(first=args[0], second=args[1]))
    gcn(batch, x)
    for p in (0, 3):
        one, mine = batch[p], batch.batch == p
        a = torch.eye(one.num_nodes)
        a[one.edge_index[1], one.edge_index[0]] = 1
        a = a / a.sum(1, keepdim=True)
        y = torch.cat([F.one_hot(one.z.clamp(max=15), 16).float(), x[one.n_id]], dim=1)
        first = torch.relu(a @ y @ gcn.conv1.lin.weight.T + gcn.conv1.bias)
        second = torch.relu(a @ first @ gcn.conv2.lin.weight.T + gcn.conv2.bias)
        torch.testing.assert_close(caught["first"][mine], first)
        torch.testing.assert_close(caught["second"][mine], second)


@pytest.mark.parametrize("head", ["max", "dgcnn"])
@pytest.mark.parametrize("root_similarity", [False, True])
def test_a_score_depends_on_its_pair_only(head, root_similarity):
    x, graph, pairs, batch = example()
    gcn = PairClassifier(7, hidden=8, head=head, root_similarity=root_similarity).eval()
    together = gcn(batch, x)
    alone = torch.cat([gcn(PairSubgraphs()(graph, pair[None]), x) for pair in pairs])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together, gcn(PairSubgraphs()(graph, pairs.flip(1)), x), atol=1e-5, rtol=1e-4)
    collated = Batch.from_data_list(batch.to_data_list())
    torch.testing.assert_close(together, gcn(collated, x), atol=1e-5, rtol=1e-4)
    assert together.std() > 0


def test_gradients_reach_every_parameter():
    x, _, _, batch = example()
    for head in ("max", "dgcnn"):
        gcn = PairClassifier(7, hidden=8, head=head, root_similarity=True)
        gcn(batch, x).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in gcn.parameters())


def test_root_similarity_is_the_cosine_to_the_roots():
    from mprd_pyg.models.pair_classifier import root_similarity
    x, _, _, batch = example()
    one = batch[2]
    both = x[one.n_id] @ x[one.n_id[one.root_index[0]]].T
    torch.testing.assert_close(root_similarity(batch, x)[batch.batch == 2], both.sort(1, descending=True).values)


def test_pair_loss_is_equation_6():
    """Eq. 6 with log(1 - g) for the printed 1 - log g: means over positives and negatives apart, per image."""
    generator = torch.Generator().manual_seed(0)
    logit = torch.randn(20, generator=generator, dtype=torch.float64)
    label = torch.randint(2, (20,), generator=generator)
    owner = torch.randint(4, (20,), generator=generator)
    g = logit.sigmoid()
    expected = 0.0
    for i in range(5):  # image 4 has no pair at all
        positive = [g[s].log() for s in range(20) if owner[s] == i and label[s] == 1]
        negative = [(1 - g[s]).log() for s in range(20) if owner[s] == i and label[s] == 0]
        expected -= sum(positive) / max(len(positive), 1) + sum(negative) / max(len(negative), 1)
    torch.testing.assert_close(pair_loss(logit, label, owner, 5), expected / 5)


def test_relation_is_equation_7():
    """Eq. 7: among NN_k(i), those with g_ij > mu, whatever the memory budget; and the control of equal count."""
    x, graph, _, _ = example()
    graph.rows = torch.tensor([3, 17, 20])
    gcn = PairClassifier(7, hidden=8)
    scores = GCNRelation(gcn, PairSubgraphs(), mu=0.5, max_bytes=3000)(graph).likelihood
    mu = float(scores.median())
    answer = GCNRelation(gcn, PairSubgraphs(), mu=mu)(graph)
    asked = torch.isin(graph.edge_index[1], graph.rows)
    assert torch.equal(answer.edge_index, graph.edge_index[:, asked])
    for (j, i), g, yes in zip(answer.edge_index.T.tolist(), answer.likelihood, answer.believed, strict=True):
        alone = gcn(PairSubgraphs()(graph, [[i, j]]), x).sigmoid()
        assert alone.item() == pytest.approx(g.item(), abs=1e-5)
        assert yes == (g > mu)
    control = GCNRelation(gcn, PairSubgraphs(), mu=mu, believe="similarity")(graph)
    assert 0 < control.believed.sum() == answer.believed.sum() < len(answer.believed)
    assert control.edge_attr[control.believed].min() >= control.edge_attr[~control.believed].max()


def test_bad_options_are_named():
    for wrong, match in ((dict(head="mean"), "head"), (dict(head="dgcnn", sort_k=3), "sort_k")):
        with pytest.raises(ValueError, match=match):
            PairClassifier(4, **wrong)
    with pytest.raises(ValueError, match="mu"):
        GCNRelation(PairClassifier(4), PairSubgraphs(), mu=1.5)
