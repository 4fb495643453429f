"""Must-links and cannot-links: always met, or the contradiction is named; what they do not touch stays."""
import itertools

import networkx as nx
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.grouping import constrain_groups
from mprd_pyg.relations import Constraints, ContradictionError


@st.composite
def problems(draw):
    count = draw(st.integers(2, 14))
    pair = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    group = draw(st.lists(st.integers(-1, 4), min_size=count, max_size=count))
    return group, draw(st.lists(pair, max_size=7)), draw(st.lists(pair, max_size=7)), draw(st.integers(0, 99))


def as_pairs(pairs):
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T


@given(problems())
@settings(max_examples=300)
def test_constraints_are_met_or_the_contradiction_is_named(problem):
    group, must, cannot, seed = problem
    x = F.normalize(torch.randn(len(group), 4, generator=torch.Generator().manual_seed(seed)), dim=1)
    links = nx.Graph(must)
    links.add_nodes_from(range(len(group)))
    sets = list(nx.connected_components(links))
    contradicting = [(a, b) for a, b in cannot if any(a in those and b in those for those in sets)]
    if contradicting:
        with pytest.raises(ContradictionError) as error:
            Constraints(as_pairs(must), as_pairs(cannot), len(group))
        chain = error.value.chain
        assert (chain[0], chain[-1]) in contradicting
        assert all(links.has_edge(a, b) for a, b in itertools.pairwise(chain))
        return
    found = constrain_groups(torch.tensor(group), x, Constraints(as_pairs(must), as_pairs(cannot), len(group))).tolist()
    assert all(found[a] == found[b] >= 0 for a, b in must if a != b)
    assert all(found[a] < 0 or found[a] != found[b] for a, b in cannot)
    assert all(found.count(label) > 1 for label in found if label >= 0)
    touched = {label for one in (*must, *cannot) for label in (group[one[0]], group[one[1]])}
    for label in set(group) - touched - {-1}:
        if group.count(label) > 1:  # a group that no constraint names is as it was
            assert [now == label for now in found] == [was == label for was in group]


def constrained(group, x, must=(), cannot=()):
    return constrain_groups(torch.tensor(group), x, Constraints(as_pairs(must), as_pairs(cannot), len(group)))


def test_a_group_is_split_between_the_nearest_parts():
    angle = torch.tensor([0.0, 0.1, 0.2, 1.0, 1.1, 1.2])
    x = torch.stack([angle.cos(), angle.sin()], dim=1)
    assert constrained([3] * 6, x, cannot=[(0, 5)]).tolist() == [3, 3, 3, 4, 4, 4]
    # an image that is must-linked to the far end goes with it
    found = constrained([3] * 6, x, [(1, 5)], [(0, 5)])
    assert found[1] == found[5] == found[4] and found[0] == found[2] != found[1]


def test_groups_are_joined_and_founded():
    x = F.normalize(torch.randn(7, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    assert constrained([2, 2, 5, 5, -1, -1, -1], x, [(1, 2), (4, 5)]).tolist() == [2, 2, 2, 2, 6, 6, -1]


def test_constraints_of_other_images_are_refused():
    with pytest.raises(ValueError, match="the constraints are of 3 images, the groups of 2"):
        constrain_groups(torch.tensor([0, 0]), torch.eye(2), Constraints(as_pairs([]), as_pairs([]), 3))
