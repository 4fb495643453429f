"""Auto-encoders, alone and cross-fitted."""
from functools import partial

import networkx as nx
import pytest
import torch
import torch.nn.functional as F

from mprd_pyg.link_prediction import CrossFitGAE, LinkGraph, Questions, gae_logits, split_links, train_gae
from mprd_pyg.link_prediction.gae import Encoder


@pytest.fixture(scope="module")
def split():
    """Groups, whose members have like features."""
    graph = nx.planted_partition_graph(6, 12, 0.5, 0.01, seed=2)
    x = F.one_hot(torch.arange(72) // 12).float() + 0.3 * torch.rand(72, 6, generator=torch.Generator().manual_seed(1))
    return split_links(LinkGraph.from_edges(list(graph.edges), 72, x=x), seed=0)


@pytest.mark.parametrize("decoder", ["mlp", "inner_product"])
@pytest.mark.parametrize("features", [True, False])
def test_it_learns_and_keeps_the_best(split, decoder, features):
    questions, seen = Questions(split), []
    graph = split.graph if features else split.graph.without_features()

    def merit(scorer):
        seen.append(questions.merit(scorer))
        return seen[-1]
    model = train_gae(graph, split.links("train"), merit, hidden=16, epochs=100, decoder=decoder)
    scorer = partial(gae_logits, model)
    assert questions.merit(scorer) == max(seen)
    assert questions.figures(questions.ask(scorer), ())["test"]["auc"] > (0.85 if features else 0.7)
    again = train_gae(graph, split.links("train"), questions.merit, hidden=16, epochs=100, decoder=decoder)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_first_layer_is_a_product(split):
    x = split.graph.x.clone()
    x[x < 0.1] = 0
    x[3] = 0  # a node without features
    x[-1] = 0
    encoder = Encoder(x, 72, hidden=5, layers=1, dropout=0.0).eval()
    lone = torch.zeros(2, 0, dtype=torch.long)  # without edges, the layer of the GCN is linear
    conv = encoder.gcn.convs[0]
    expected = F.normalize(x, p=1, dim=1) @ encoder.weight @ conv.lin.weight.T + conv.bias
    assert torch.allclose(encoder(lone), expected, atol=1e-6)


def test_cross_fit_never_sees_a_pairs_own_link(split):
    cross = CrossFitGAE(split, Questions(split).merit, folds=3, hidden=8, epochs=20)
    train, links = cross.train(), split.links("train")
    graph, pairs = split.observed("train"), split.pairs["train"]
    linked = split.label["train"] == 1
    for row in (0, 5, int((~linked).nonzero()[0])):
        fold = int(cross.fold[row])
        rest = split.graph.observed(links[cross.fold[linked] != fold])
        assert torch.allclose(train[row], gae_logits(cross.models[fold], rest, pairs[row:row + 1])[0], atol=1e-5)
    # Asked again in the graph that holds its link, a pair is scored by a model that did not learn it, without it.
    fold = int(cross.fold[0])
    rest = split.graph.observed(links[1:])
    assert torch.allclose(cross(graph, pairs[:1]), gae_logits(cross.models[fold], rest, pairs[:1]), atol=1e-5)
    absent = pairs[~linked][:2]
    expected = torch.stack([gae_logits(model, graph, absent) for model in cross.models]).mean(0)
    assert torch.allclose(cross(graph, absent), expected, atol=1e-5)


def test_bad_options(split):
    with pytest.raises(ValueError, match="'mlp', got 'bilinear'"):
        train_gae(split.graph, split.links("train"), Questions(split).merit, decoder="bilinear")
    with pytest.raises(ValueError, match="at least 2 folds, got 1"):
        CrossFitGAE(split, Questions(split).merit, folds=1)
