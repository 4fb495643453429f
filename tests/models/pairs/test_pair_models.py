"""Classifiers of pairs: against scikit-learn itself, calibrated, saved and loaded without pickle."""
import io

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mprd_pyg.graph import PairStatistics
from mprd_pyg.link_prediction import LinkGraph, split_links
from mprd_pyg.models.pairs import BoostedPairs, LogisticPairs, permutation_importance
from mprd_pyg.models.pairs.pair_model import calibrated

MODELS = [LogisticPairs, lambda: LogisticPairs(products=True), BoostedPairs]


def pairs(count, seed=0):
    """Columns of which the first (a count) and the second decide, the third is noise, the fourth is constant."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.poisson(torch.full((count,), 3.0), generator=generator)
    cosine, noise = torch.randn(2, count, generator=generator)
    chance = torch.sigmoid(2 * (counts.log1p() - 1.2) + 2 * cosine)
    label = (torch.rand(count, generator=generator) < chance).long()
    return torch.stack([counts, cosine, noise, torch.full((count,), 0.5)], dim=1), label, chance


@pytest.mark.parametrize("build", MODELS)
def test_likelihoods_are_near_the_true_chances(build):
    features, label, _ = pairs(4000)
    model = build()
    assert model.fit(features, label, pairs(2000, 1)[:2]) is model
    other, other_label, chance = pairs(2000, 2)
    got = model.likelihood(other)
    assert got.shape == (2000,) and bool(((got >= 0) & (got <= 1)).all())
    assert float((got - chance).abs().mean()) < 0.06
    assert roc_auc_score(other_label, got) > roc_auc_score(other_label, chance) - 0.01


def test_logistic_is_a_regression_on_logarithms_of_counts():
    features, label, _ = pairs(500)
    x = features.double().numpy().copy()
    x[:, 0] = np.log1p(x[:, 0])
    z = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    expected = LogisticRegression(C=0.5, max_iter=5000).fit(z.clip(-5, 5), label.numpy()).predict_proba(z.clip(-5, 5))
    got = LogisticPairs(strength=0.5).fit(features, label).likelihood(features)
    np.testing.assert_allclose(got, expected[:, 1], atol=1e-6)


def test_products_tell_what_single_columns_cannot():
    x = torch.randn(600, 2, generator=torch.Generator().manual_seed(0))
    label = (x[:, 0] * x[:, 1] > 0).long()
    plain, products = (LogisticPairs(flag).fit(x, label).likelihood(x) for flag in (False, True))
    assert roc_auc_score(label, products) > 0.95 > 0.7 > roc_auc_score(label, plain)


@pytest.mark.parametrize("leaves", [2, 15])
def test_boosted_trees_are_those_of_scikit_learn(leaves):
    features, label, _ = pairs(700)
    model = BoostedPairs(trees=30, leaves=leaves, share=0.5, seed=3).fit(features, label)
    expected = HistGradientBoostingClassifier(
        learning_rate=0.05, max_iter=30, max_leaf_nodes=leaves, min_samples_leaf=20, l2_regularization=1.0,
        max_features=0.5, early_stopping=False, random_state=3).fit(features.double().numpy(), label.numpy())
    other = pairs(300, 1)[0]
    np.testing.assert_allclose(model.likelihood(other), expected.predict_proba(other.double().numpy())[:, 1],
                               rtol=1e-10)


def test_boosted_keeps_the_trees_that_validation_pairs_want():
    features, label, _ = pairs(300)
    other, other_label, _ = pairs(300, 1)

    def loss(trees):
        p = BoostedPairs(trees, rate=0.3).fit(features, label).likelihood(other)
        return float(-torch.where(other_label == 1, p, 1 - p).log().mean())
    losses = [loss(trees) for trees in range(1, 31)]
    kept = len(BoostedPairs(30, rate=0.3).fit(features, label, (other, other_label)).first)
    assert kept == 1 + int(np.argmin(losses)) and 1 < kept < 30


@pytest.mark.parametrize("build", MODELS)
def test_a_saved_model_gives_the_same_likelihoods(build):
    features, label, _ = pairs(400)
    model, file = build().fit(features, label, pairs(100, 1)[:2]), io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = type(model)()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.likelihood(features), model.likelihood(features))


def test_calibration_finds_the_logistic_curve_and_bounds_separated_scores():
    score = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).double()
    label = (torch.rand(20_000, generator=torch.Generator().manual_seed(1)) < torch.sigmoid(3 * score - 1)).long()
    slope, shift = calibrated(score, label)
    assert abs(slope - 3) < 0.15 and abs(shift + 1) < 0.1
    # Two true pairs at 1 and two others at -1: the fit gives each kind its target, 3 / 4 and 1 / 4.
    slope, shift = calibrated(torch.tensor([1.0, 1, -1, -1]).double(), torch.tensor([1, 1, 0, 0]))
    assert slope == pytest.approx(np.log(3), rel=1e-3) and shift == pytest.approx(0, abs=1e-3)
    # Scores of the wrong order say nothing: every pair is as likely as any.
    assert calibrated(torch.tensor([-1.0, -1, 1, 1]).double(), torch.tensor([1, 1, 0, 0])) == (0.0, 0.0)


def test_links_of_a_random_graph_cannot_be_predicted():
    # Every column of a training link must be blind to the link: what leaks there is learnt, and fails or helps here.
    edges = torch.randint(600, (3600, 2), generator=torch.Generator().manual_seed(0))
    split = split_links(LinkGraph.from_edges(edges, 600), seed=0)
    x = {part: PairStatistics()(split.observed(part), pairs) for part, pairs in split.pairs.items()}
    model = BoostedPairs().fit(x["train"], split.label["train"], (x["validation"], split.label["validation"]))
    learnt, predicted = (roc_auc_score(split.label[part], model.likelihood(x[part])) for part in ("train", "test"))
    assert learnt < 0.75 and 0.42 < predicted < 0.58  # the standard error on 2 x 360 test pairs is 0.022


def test_importance_is_the_auc_lost():
    features, label, _ = pairs(2000)
    model = LogisticPairs().fit(features, label)
    other, other_label, _ = pairs(1000, 1)
    loss = permutation_importance(model, other, other_label)
    assert loss[1] > loss[0] > 0.02 and abs(float(loss[2])) < 0.01 and float(loss[3]) == 0
    assert torch.equal(loss, permutation_importance(model, other, other_label))


@pytest.mark.parametrize(("features", "label", "message"), [
    (torch.zeros(3), torch.tensor([0, 1, 1]), "shape"), (torch.zeros(3, 2), torch.tensor([0, 1]), "one label per pair"),
    (torch.zeros(3, 2), torch.tensor([1, 1, 1]), "both must occur"),
    (torch.zeros(3, 2), torch.tensor([0, 1, 2]), "both must occur"),
    (torch.tensor([[0.0, 1], [float("nan"), 0]]), torch.tensor([0, 1]), "column 0 of pair 1 is nan")])
def test_bad_input_is_named(features, label, message):
    with pytest.raises(ValueError, match=message):
        LogisticPairs().fit(features, label)


def test_a_state_of_another_model_is_refused():
    features, label, _ = pairs(100)
    with pytest.raises(ValueError, match="fit it first"):
        BoostedPairs().state_dict()
    with pytest.raises(ValueError, match="not a state of BoostedPairs"):
        BoostedPairs().load_state_dict(LogisticPairs().fit(features, label).state_dict())


@pytest.mark.parametrize(("model", "change"), [
    (BoostedPairs(trees=3), {"child": lambda x: x * 0}), (BoostedPairs(trees=3), {"child": lambda x: x + 10**9}),
    (BoostedPairs(trees=3), {"feature": lambda x: x + 10**9}), (BoostedPairs(trees=3), {"first": lambda x: x - 10**9}),
    (BoostedPairs(trees=3), {"value": lambda x: x[:-1]}), (BoostedPairs(trees=3), {"value": lambda x: x.float()}),
    (BoostedPairs(trees=3), {"threshold": lambda x: None}), (BoostedPairs(trees=3), {"slope": lambda x: "x"}),
    (LogisticPairs(), {"weight": lambda x: x[:-1]}), (LogisticPairs(), {"mean": lambda x: x[None]}),
    (LogisticPairs(products=True), {"weight": lambda x: x[:2]}), (LogisticPairs(), {"bias": lambda x: torch.ones(3)}),
    (LogisticPairs(), {"is_count": lambda x: 3})])
def test_a_damaged_state_is_refused_and_not_followed_out_of_its_arrays(model, change):
    features, label, _ = pairs(300)
    state = model.fit(features, label).state_dict()
    model.load_state_dict(state)
    model.likelihood(features)
    model.load_state_dict(state | {name: change[name](state[name]) for name in change})
    with pytest.raises(ValueError, match="fit it again"):
        model.likelihood(features)
