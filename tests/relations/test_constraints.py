"""Must-links and cannot-links: closure against networkx, contradictions, and what relations and groups make of them."""
import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.graph import KNNGraph
from mprd_pyg.relations import (
    ConnectedComponents,
    Constrained,
    ConstrainedGroups,
    Constraints,
    ContradictionError,
    GroupFinder,
    Groups,
    KNearest,
    KReciprocalJaccard,
    Singletons,
    constrain,
)
from mprd_pyg.relations.constraints import pairs_of

N = 9
PAIRS = st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)).filter(lambda p: p[0] != p[1]), max_size=8)


def constraints(must=(), cannot=(), count=N, **options):
    return Constraints(pairs_of(list(must)), pairs_of(list(cannot)), count, **options)


def components(must):
    graph = nx.Graph(list(must))
    graph.add_nodes_from(range(N))
    return {node: number for number, part in enumerate(nx.connected_components(graph)) for node in part}


@given(PAIRS, PAIRS)
def test_closure_is_that_of_networkx_or_a_contradiction_is_named(must, cannot):
    of = components(must)
    apart = {frozenset((of[a], of[b])) for a, b in cannot}
    everything = torch.tensor(list(itertools.product(range(N), repeat=2))).T
    if any(len(pair) == 1 for pair in apart):
        with pytest.raises(ContradictionError) as caught:
            constraints(must, cannot)
        chain = caught.value.chain
        assert {(chain[0], chain[-1]), (chain[-1], chain[0])} & set(cannot)
        links = {frozenset(pair) for pair in must}
        assert all(frozenset(step) in links for step in zip(chain, chain[1:], strict=False))
        assert len(chain) == 1 + nx.shortest_path_length(nx.Graph(list(must)), chain[0], chain[-1])
        return
    made = constraints(must, cannot)
    assert made.same(everything).tolist() == [of[a] == of[b] for a, b in everything.T.tolist()]
    assert made.different(everything).tolist() == [
        frozenset((of[a], of[b])) in apart for a, b in everything.T.tolist()]


@given(PAIRS, PAIRS, st.integers(1, N - 1))
def test_the_first_rows_know_what_chains_over_the_others_say(must, cannot, count):
    try:
        whole = constraints(must, cannot)
    except ContradictionError:
        return
    part, pairs = whole.first(count), torch.tensor(list(itertools.product(range(count), repeat=2))).T
    assert torch.equal(part.same(pairs), whole.same(pairs)) and part.num_images == count
    assert torch.equal(part.different(pairs), whole.different(pairs))


def test_tracklets_are_must_links():
    made = constraints([(0, 1)], [(5, 8)], same_group=torch.tensor([4, -1, 4, 7, -1, 7, 4, -1, -1]))
    assert made.component[[0, 1, 2, 6]].unique().numel() == 1 and made.component[3] == made.component[5]
    assert made.different(torch.tensor([[3], [8]])).all() and not made.different(torch.tensor([[4], [7]])).any()


def test_rows_outside_are_refused():
    with pytest.raises(ValueError, match="outside 0 ... 8"):
        constraints([(0, N)])


# -- relations --------------------------------------------------------------------------------------------------------

def features(count=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centre = torch.randn(5, 8, generator=generator)
    x = centre[torch.arange(count) % 5] + 0.4 * torch.randn(count, 8, generator=generator)
    return torch.nn.functional.normalize(x, dim=1)


def graph_of(x, rows=None):
    graph = KNNGraph(k=4)(x, keep_features=True)
    rows = torch.arange(len(x)) if rows is None else rows
    return TrainImages(torch.zeros(len(x), 3, 1, 1)).label(graph, rows)


def as_dict(pairs):
    found = {tuple(edge): (bool(b), round(float(g), 5), round(float(s), 4)) for edge, b, g, s in zip(
        pairs.edge_index.T.tolist(), pairs.believed, pairs.likelihood, pairs.edge_attr, strict=True)}
    assert len(found) == pairs.num_edges, "a pair is there twice"
    return found


@pytest.mark.parametrize("base", [KNearest(3), Singletons(), KReciprocalJaccard(k1=6, k2=2)], ids=repr)
@pytest.mark.parametrize("rows", [None, torch.tensor([7, 0, 3])], ids=["all", "batch"])
def test_a_relation_believes_what_is_said_and_judges_the_rest_as_before(base, rows):
    x = features()
    graph = graph_of(x, rows)
    before = as_dict(base(graph))
    said = constraints([(0, 5), (5, 7), (3, 4)], [(7, 12), (3, 8)], len(x))
    after, asked = as_dict(constrain(base, said)(graph)), set(graph.rows.tolist())
    for i, j in itertools.permutations(range(len(x)), 2):
        pair = torch.tensor([[j], [i]])
        if i in asked and said.same(pair):
            assert after.pop((j, i)) == (True, 1.0, round(float(x[i] @ x[j]), 4))
            before.pop((j, i), None)
        elif said.different(pair) and (j, i) in before:
            assert after.pop((j, i))[:2] == (False, 0.0)
            del before[(j, i)]
    assert after == before


def test_what_a_relation_needs_is_still_known():
    base = KReciprocalJaccard()
    made = Constrained(base, constraints())
    assert (made.reach, made.whole_graph, made.needs_meta) == (0, False, False) and "KReciprocalJaccard" in repr(made)
    with pytest.raises(ValueError, match="constraints are of 9 images, and 4 are trained on"):
        made.check(TrainImages(torch.zeros(4, 3, 1, 1)))


def judged_pairs(likelihood, count):
    """From a dict pair -> likelihood; more than 0.5 is believed."""
    edges, value = pairs_of(list(likelihood)), torch.tensor(list(likelihood.values()))
    return Data(edge_index=edges, edge_attr=value, likelihood=value, believed=value > 0.5, num_nodes=count)


def test_a_group_is_parted_at_its_weakest_link():
    """0 - 1 = 2 - 3 = 4, a chain; 0 and 4 are different: it breaks at 1 - 3's 0.6."""
    pairs = judged_pairs({(0, 1): 0.9, (1, 2): 0.8, (2, 3): 0.6, (3, 4): 0.7, (5, 6): 0.9}, 8)
    label = ConstrainedGroups(ConnectedComponents(), constraints([], [(0, 4)], 8))(pairs).tolist()
    assert label == [0, 0, 0, 1, 1, 2, 2, -1] or label == [label[0]] * 3 + [label[3]] * 2 + [label[5]] * 2 + [-1]
    assert len({label[0], label[3], label[5]}) == 3


def test_must_links_join_groups_and_images_without_one():
    pairs = judged_pairs({(0, 1): 0.9, (2, 3): 0.9, (3, 4): 0.2}, 7)
    label = ConstrainedGroups(ConnectedComponents(), constraints([(1, 2), (5, 6)], [], 7))(pairs).tolist()
    assert label[:4] == [label[0]] * 4 and label[4] == -1 and label[5] == label[6] != label[0]


class Given(GroupFinder):
    """The labels it was given."""

    def __init__(self, label):
        self.label = np.array(label)

    def find(self, pairs):
        return self.label.copy()


@given(PAIRS, PAIRS, st.lists(st.integers(-1, 3), min_size=N, max_size=N),
       st.dictionaries(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1)).filter(lambda p: p[0] < p[1]),
                       st.floats(0.01, 1), min_size=1))
def test_groups_obey_whatever_is_said(must, cannot, label, likelihood):
    try:
        said = constraints(must, cannot)
    except ContradictionError:
        return
    found = ConstrainedGroups(Given(label), said)(judged_pairs(likelihood, N))
    everything = torch.tensor(list(itertools.combinations(range(N), 2))).T
    together = (found[everything[0]] == found[everything[1]]) & (found[everything[0]] >= 0)
    assert together[said.same(everything)].all() and not together[said.different(everything)].any()
    # what neither the finder nor a chain of must-links joined stays apart
    links = nx.Graph(list(must))
    links.add_nodes_from(range(N))
    links.add_edges_from((a, b) for a, b in itertools.combinations(range(N), 2) if label[a] == label[b] >= 0)
    joined = {node: n for n, part in enumerate(nx.connected_components(links)) for node in part}
    assert all(joined[a] == joined[b] for a, b in everything.T[together].tolist())
    if not cannot:
        assert together.tolist() == [joined[a] == joined[b] for a, b in everything.T.tolist()]


def test_groups_relation_obeys():
    x = features()
    graph, plain = graph_of(x), Groups(KReciprocalJaccard(k1=6, k2=2), ConnectedComponents())
    group = plain(graph).group
    one = (group == group[0]).nonzero().flatten()
    other = (group != group[0]).nonzero().flatten()
    said = constraints([(0, int(other[0]))], [(0, int(one[-1]))], len(x))
    pairs = constrain(plain, said)(graph)
    assert pairs.group[0] == pairs.group[other[0]] and pairs.group[0] != pairs.group[one[-1]]
    assert not said.different(pairs.edge_index).any() and pairs.believed.all()
