"""Groups, confidence, verdict and near-duplicates against what they are defined to be, one image after the other."""
import math

import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.grouping import add_to_groups, find_groups
from mprd_pyg.grouping.group_means import GroupMeans, calibrate_threshold
from mprd_pyg.grouping.image_groups import MEMBER, NEW, SINGLE, describe_groups, judge_all
from mprd_pyg.relations import DBSCAN, ConnectedComponents, Constraints, SameIdentity, SimilarityThreshold


def people(sizes, dim=24, noise=0.35, seed=0):
    """Unit features, images of one individual after each other, and who they are."""
    generator = torch.Generator().manual_seed(seed)
    person = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    centre = F.normalize(torch.randn(len(sizes), dim, generator=generator), dim=1)
    return F.normalize(centre[person] + noise * torch.randn(len(person), dim, generator=generator) / dim ** 0.5,
                       dim=1), person


def slow_description(x, group, threshold):
    """From the definition: (confidence, verdict, own, nearest, nearest similarity) of each image."""
    x, rows = x.double().numpy(), []
    numbers = sorted(set(group.tolist()) - {-1})
    mean = {g: x[group.numpy() == g].sum(0) for g in numbers}
    for i, g in enumerate(group.tolist()):
        own = math.nan
        if g >= 0:
            rest = mean[g] - x[i]
            own = x[i] @ rest / np.linalg.norm(rest)
        others = [(x[i] @ mean[h] / np.linalg.norm(mean[h]), h) for h in numbers if h != g]
        best, nearest = max(others, default=(0.0, -1))
        verdict = MEMBER if g >= 0 else NEW if nearest < 0 or best < threshold else SINGLE
        rows.append((1 / (1 + math.exp(-((own if g >= 0 else threshold) - best) / 0.05)), verdict, own, nearest, best))
    return list(zip(*rows, strict=True))


@given(st.lists(st.integers(0, 4), min_size=2, max_size=20), st.floats(0.1, 0.9), st.integers(0, 99))
@settings(max_examples=60)
def test_confidence_and_verdict_are_as_defined(group, threshold, seed):
    group = 3 * torch.tensor(group) - 3  # -3, 0, 3 ...; groups of one are none
    group[(group < 0) | (torch.bincount(group + 3)[group + 3] < 2)] = -1
    x = F.normalize(torch.randn(len(group), 6, generator=torch.Generator().manual_seed(seed)), dim=1)
    found = describe_groups(x, group, threshold)
    confidence, verdict, own, nearest, similarity = slow_description(x, group, threshold)
    assert found.confidence.tolist() == pytest.approx(confidence, abs=1e-4)
    assert found.verdict.tolist() == list(verdict) and found.nearest.tolist() == list(nearest)
    assert found.similarity.tolist() == pytest.approx(own, abs=1e-5, nan_ok=True)
    assert found.nearest_similarity.tolist() == pytest.approx(similarity, abs=1e-5)
    assert found.uncertain.tolist() == [
        sure < 0.9 or near < threshold for sure, near in zip(found.confidence.tolist(), own, strict=True)]
    numbers = sorted(set(group.tolist()) - {-1})
    unit = {g: F.normalize(x[group == g].sum(0), dim=0) for g in numbers}
    expected = {(a, b) for a in numbers for b in numbers if a < b and float(unit[a] @ unit[b]) >= threshold - 0.15}
    assert set(map(tuple, found.duplicates.tolist())) == expected


@given(st.integers(0, 50), st.floats(0.5, 3))
@settings(max_examples=40)
def test_the_threshold_separates_as_well_as_any(seed, noise):
    x, person = people([4, 3, 5, 1, 2], dim=6, noise=noise, seed=seed)
    found = calibrate_threshold(x, person)
    kept = person != 3
    x, person = x[kept], person[kept]
    own, _, other = GroupMeans.of(x, person).compare(x, person)

    def gain(value):
        return int((own >= value).sum() - (other >= value).sum())
    assert gain(found) == max(gain(value) for value in (*own.tolist(), *other.tolist()))
    assert calibrate_threshold(x, torch.zeros(len(x), dtype=torch.long)) is None


def test_individuals_are_found_and_strangers_are_new():
    x, person = people([11, 12, 13, 14, 12, 1])
    found = find_groups(x, finder=ConnectedComponents())
    assert [found.group[person == p].unique().numel() for p in range(6)] == [1] * 6
    assert found.group[:62].unique().numel() == 5 and found.uncertain.tolist() == [False] * 62 + [True]
    found = find_groups(x, relation=SimilarityThreshold(0.6), finder=ConnectedComponents())
    assert found.verdict.tolist() == [MEMBER] * 62 + [NEW] and found.individuals == 6
    known = torch.where(person < 2, person, -1)  # calibrated on two identities
    assert find_groups(x, person=known).threshold == calibrate_threshold(x, known)
    assert find_groups(x, threshold=0.3).threshold == 0.3


@pytest.mark.parametrize("finder", [ConnectedComponents(), DBSCAN(0.6, 2)])
def test_any_relation_makes_groups(finder):
    x, person = people([6, 7, 8])
    found = find_groups(x, relation=SimilarityThreshold(0.6), finder=finder)
    assert all(len(found.group[person == p].unique()) == 1 for p in range(3)) and found.individuals == 3
    with pytest.raises(ValueError, match="SameIdentity reads identities, and groups are found without"):
        find_groups(x, relation=SameIdentity())


def test_constraints_are_met_in_the_groups():
    x, person = people([6, 7, 8])
    found = find_groups(x, constraints=Constraints(torch.tensor([[0], [20]]), torch.tensor([[6], [7]]), len(x))).group
    assert found[0] == found[20] and found[6] != found[7]


def test_adding_is_what_its_definition_says():
    x, person = people([9, 8, 9, 7, 8, 1], seed=3)
    is_old = (person < 3) | (torch.arange(len(x)) == 26)  # three individuals, and one image of the fourth
    old, new = is_old.nonzero().flatten(), torch.cat([(~is_old).nonzero().flatten(), torch.tensor([0, 9])])
    finder, relation = ConnectedComponents(), SimilarityThreshold(0.6)
    before = find_groups(x[old], relation=relation, finder=finder)
    x, person = torch.cat([x[old], x[new]]), torch.cat([person[old], person[new]])
    label = add_to_groups(x, before.group, before.threshold, relation=relation, finder=finder)

    # by the definition, one image after the other; all images are fewer than the context holds
    expected = before.group.tolist()
    mean = {g: F.normalize(x[:len(old)][before.group == g].sum(0), dim=0) for g in set(expected) - {-1}}
    for i in range(len(old), len(x)):
        best, g = max((float(x[i] @ value), g) for g, value in mean.items())
        expected.append(g if best >= before.threshold else -1)
    left = [i for i in range(len(old), len(x)) if expected[i] < 0]
    rows = sorted({j for i in left for j in (x @ x[i]).argsort(descending=True)[:31].tolist()})
    pairs = judge_all(x[rows], None, relation)
    believed = [(rows[a], rows[b]) for (a, b), yes in zip(pairs.edge_index.T.tolist(), pairs.believed, strict=True)
                if yes and expected[rows[a]] < 0 and expected[rows[b]] < 0]
    found = [sorted(those) for those in nx.connected_components(nx.Graph(believed))]
    for number, those in enumerate(sorted(found), start=max(mean) + 1):
        for i in those:
            expected[i] = number
    assert label.tolist() == expected
    # two joined; the old image of the fourth is in a new group with its others, the fifth founded one, the sixth none
    assert label[-2:].tolist() == [label[0], label[9]]
    assert all(len(label[person == p].unique()) == 1 for p in range(6)) and label[person == 5] == -1
    assert len(label[label >= 0].unique()) == 5


def test_what_is_kept_of_the_old_is_as_if_made_anew():
    x, person = people([6, 5, 7, 4, 5, 1], noise=1.2, seed=5)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x = x[order]
    before = find_groups(x[:20], finder=ConnectedComponents(), relation=SimilarityThreshold(0.5))
    label = add_to_groups(x, before.group, before.threshold, finder=ConnectedComponents())
    whole, part = describe_groups(x, label, before.threshold), describe_groups(x, label, before.threshold, before)
    new = torch.arange(len(x)) >= 20
    new[:20] |= label[:20] != before.group  # old images of no group, in a group now
    grew = torch.isin(label, label[new][label[new] >= 0])
    assert bool((new | grew).any()) and not bool((new | grew).all())
    for name in ("confidence", "verdict", "nearest", "nearest_similarity"):
        torch.testing.assert_close(getattr(part, name)[new | grew], getattr(whole, name)[new | grew])
        torch.testing.assert_close(getattr(part, name)[~(new | grew)], getattr(before, name)[~(new | grew)[:20]])
    torch.testing.assert_close(part.duplicates, whole.duplicates)


def test_one_image_and_ill_shaped_input():
    found = find_groups(torch.ones(1, 1))
    assert found.group.tolist() == [-1] and found.verdict.tolist() == [NEW] and found.threshold == 0.5
    with pytest.raises(ValueError, match="at least one image are needed, got"):
        find_groups(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="2 images need as many values of camera, got 3"):
        find_groups(torch.eye(2), torch.zeros(3))
