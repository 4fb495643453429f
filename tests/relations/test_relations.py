"""Every row of MPRD's Table 1 as a relation, on hand-placed points and against slow references."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.graph import KNNGraph
from mprd_pyg.relations import (
    MPLP,
    KNearest,
    SameIdentity,
    SimilarityThreshold,
    Singletons,
    WithMetaLabels,
    believed_graph,
)


def by_angle(*degrees):
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float))
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def graph_of(x, k=3, rows=None, **attributes):
    rows = torch.arange(len(x)) if rows is None else torch.as_tensor(rows)
    graph = KNNGraph(k=k)(x, rows=rows, reach=2, keep_features=True)
    graph.rows = rows
    for name, value in attributes.items():
        graph[name] = torch.as_tensor(value)
    return graph


def believed(pairs):
    return {tuple(edge) for edge in believed_graph(pairs).edge_index.T.tolist()}


#            0  1   2   3   4    5
POINTS = (0, 10, 25, 90, 100, 115)


def test_k_nearest():
    assert believed(KNearest(2)(graph_of(by_angle(*POINTS)))) == {
        (1, 0), (2, 0), (0, 1), (2, 1), (1, 2), (0, 2), (4, 3), (5, 3), (3, 4), (5, 4), (4, 5), (3, 5)}
    some = KNearest(1)(graph_of(by_angle(*POINTS), rows=[4, 2]))  # neighbours' lists are in the graph, not asked for
    assert believed(some) == {(3, 4), (1, 2)} and set(some.edge_index[1].tolist()) == {4, 2}


def test_similarity_threshold():
    # cos 15 = 0.966, cos 25 = 0.906; node 0 has no neighbour limit
    assert believed(SimilarityThreshold(0.95)(graph_of(by_angle(*POINTS), k=1))) == {
        (1, 0), (0, 1), (2, 1), (1, 2), (4, 3), (3, 4), (5, 4), (4, 5)}


def test_singletons_believe_nothing():
    pairs = Singletons()(graph_of(by_angle(*POINTS)))
    assert believed(pairs) == set() and pairs.edge_index.shape[1] == 18


def test_same_identity():
    graph = graph_of(by_angle(*POINTS), rows=[0, 3, 5], person_id=[7, 7, 8, 7, -1, -1])
    assert believed(SameIdentity()(graph)) == {(1, 0), (3, 0), (0, 3), (1, 3)}
    with pytest.raises(ValueError, match="unknown"):
        SameIdentity()(graph_of(by_angle(*POINTS), person_id=[-1] * 6))


def test_meta_labels_replace_the_base_only_where_known():
    graph = graph_of(by_angle(*POINTS), meta_person=[5, -1, -1, 5, -1, -1])
    assert believed(WithMetaLabels(KNearest(1))(graph)) == {(3, 0), (0, 3), (0, 1), (1, 2), (3, 4), (4, 5)}


def slow_mplp(memory, targets, threshold, least):
    """The rule of MLCR (Wang & Zhang, CVPR 2020), one image and one candidate at a time."""
    answer = set()
    for target in targets:
        similarity = memory @ memory[target]
        similarity[target] = 2  # itself first, also among equals
        ranked = similarity.argsort(descending=True)
        above = int((similarity > threshold).sum())
        count = max(above, least)
        last = 1
        for j in range(min(count, len(memory))):
            backward = memory @ memory[ranked[j]]
            backward[ranked[j]] = 2
            position = backward.argsort(descending=True).tolist().index(target)
            if position > count:
                break
            last = max(last, j)
        answer |= {(int(c), int(target)) for c in ranked[:min(last + 1, above)] if c != target}
    return answer


@given(st.integers(5, 40), st.floats(-0.5, 0.95), st.integers(1, 12), st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_mplp_equals_the_slow_rule(n, threshold, least, seed):
    x = F.normalize(torch.randn(n, 3, generator=torch.Generator().manual_seed(seed)), dim=1)
    rows = torch.randperm(n, generator=torch.Generator().manual_seed(seed))[: max(n // 2, 1)]
    graph = graph_of(x, k=2, rows=rows)
    assert believed(MPLP(threshold, least)(graph)) == slow_mplp(graph.x, rows.tolist(), threshold, least)


def test_mplp_needs_consistency():
    # 0 and 1 are near each other; 9 copies crowd around 2, so 2 does not rank 0 within its first three
    x = by_angle(0, 5, 30, *[31 + i / 10 for i in range(9)])
    loose = believed(MPLP(threshold=0.8, least=1)(graph_of(x, rows=[0])))
    assert loose == {(i, 0) for i in range(1, 12)}  # a threshold alone: all 11 others exceed 0.8
    strict = believed(MPLP(threshold=0.86, least=1)(graph_of(x, rows=[0])))  # cos 30 = 0.866: candidates 1 and 2
    assert strict == {(1, 0)}


def test_relations_of_a_row_do_not_depend_on_its_batch():
    x = F.normalize(torch.randn(60, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    for relation in (KNearest(3), SimilarityThreshold(0.7), MPLP(0.7, 5)):
        whole = believed(relation(graph_of(x)))
        parts = [believed(relation(graph_of(x, rows=part))) for part in torch.arange(60).split(7)]
        assert set().union(*parts) == whole
