"""Which pairs are asked about: against the definition by hand, and that answers mend groups."""
import itertools

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from mprd_pyg.evaluation import evaluate_groups
from mprd_pyg.relations import ConnectedComponents, ConstrainedGroups, Constraints, correct, informative_pairs
from mprd_pyg.relations.constraints import pairs_of


def judged(likelihood, count, threshold=0.5):
    edges, value = pairs_of(list(likelihood)), torch.tensor(list(likelihood.values()), dtype=torch.double)
    return Data(edge_index=edges, edge_attr=value, likelihood=value, believed=value > threshold, num_nodes=count)


def nothing(count):
    return Constraints(pairs_of([]), pairs_of([]), count)


def blocks(*sizes, inside=0.9):
    """Likelihoods of complete groups of these sizes, one after the other."""
    ends = np.cumsum([0, *sizes]).tolist()
    return {pair: inside for start, end in itertools.pairwise(ends)
            for pair in itertools.combinations(range(start, end), 2)}


def test_the_larger_groups_come_first_and_their_central_images_are_asked():
    likelihood = blocks(4, 3, 3) | {(0, 4): 0.4, (4, 7): 0.4}
    likelihood[0, 1] = likelihood[0, 2] = likelihood[0, 3] = 0.8  # 0 is not the middle of its group
    pairs = judged(likelihood, 10)
    group = ConnectedComponents()(pairs)
    asked = informative_pairs(pairs, group, nothing(10), 5)
    # chance sqrt(mean * max): sqrt(0.4 / 12 * 0.4) and sqrt(0.4 / 9 * 0.4)
    np.testing.assert_allclose(asked.gain, [12 * (0.4 / 12 * 0.4) ** 0.5, 9 * (0.4 / 9 * 0.4) ** 0.5])
    assert asked.joins.all() and asked.pairs.T.tolist() == [[1, 4], [4, 7]]


def test_a_group_of_two_halves_is_asked_whether_it_is_one():
    pairs = judged(blocks(4, 4) | {(0, 4): 0.6, (1, 4): 0.3}, 8)
    asked = informative_pairs(pairs, ConnectedComponents()(pairs), nothing(8), 3)
    mean = 0.9 / 16
    np.testing.assert_allclose(asked.gain, [16 * (1 - mean / 0.3) ** 2])
    assert not asked.joins.any()
    (one, other), = asked.pairs.T.tolist()
    assert one < 4 <= other or other < 4 <= one


def test_what_is_implied_is_not_asked():
    pairs = judged(blocks(3, 3, 3) | {(0, 3): 0.4, (3, 6): 0.4, (0, 6): 0.4}, 9)
    said = Constraints(pairs_of([]), pairs_of([(1, 4)]), 9)
    group = ConstrainedGroups(ConnectedComponents(), said)(pairs)
    asked = informative_pairs(pairs, group, said, 9)
    ends = {frozenset((group[a].item(), group[b].item())) for a, b in asked.pairs.T.tolist()}
    assert frozenset((group[0].item(), group[3].item())) not in ends and len(ends) == 2
    everything = Constraints(pairs_of([(i, i + 1) for i in range(8)]), pairs_of([]), 9)
    one = torch.zeros(9, dtype=torch.long)
    assert informative_pairs(correct(pairs, everything, torch.arange(9)), one, everything, 5).pairs.shape == (2, 0)


def test_nothing_judged_nothing_asked():
    pairs = judged({}, 5)
    assert informative_pairs(pairs, torch.full((5,), -1), nothing(5), 3).pairs.shape == (2, 0)


@pytest.mark.parametrize("seed", range(3))
def test_answers_mend_groups(seed):
    """Twelve people of eight images, each seen in two halves; five false links join them and some halves are apart."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(12), 8)
    half = np.repeat(np.arange(24), 4)
    likelihood = {}
    for i, j in itertools.combinations(range(96), 2):
        same_half, same = half[i] == half[j], person[i] == person[j]
        likelihood[i, j] = rng.uniform(0.6, 1) if same_half else rng.uniform(0.1, 0.45) if same and rng.random() < 0.4 \
            else rng.uniform(0.1, 0.3) if not same and rng.random() < 0.01 else 0
    for i, j in rng.choice(96, (5, 2), replace=False):
        likelihood[min(i, j), max(i, j)] = 0.7
    pairs = judged({pair: value for pair, value in likelihood.items() if value}, 96)
    said: dict[bool, list] = {True: [], False: []}
    quality = []
    for _ in range(31):
        known = Constraints(pairs_of(said[True]), pairs_of(said[False]), 96)
        corrected = correct(pairs, known, torch.arange(96))
        group = ConstrainedGroups(ConnectedComponents(), known)(corrected)
        quality.append(evaluate_groups(group, person).pair_f)
        for a, b in informative_pairs(corrected, group, known).pairs.T.tolist():
            pair = torch.tensor([[a], [b]])
            assert not known.same(pair) and not known.different(pair)
            said[bool(person[a] == person[b])].append((a, b))
    assert quality[-1] > quality[0] + 0.3 and quality[-1] > 0.85
