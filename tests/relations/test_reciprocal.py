"""Relations that add pairs beyond NN_k: k-reciprocal Jaccard and neighbour-based edge probability."""
import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Data

from mprd_pyg.graph.reciprocal_rows import (
    camera_reciprocal_rows,
    edge_probability,
    jaccard,
    k_reciprocal_rows,
    neighbour_probability_rows,
)
from mprd_pyg.relations import KReciprocalJaccard, NeighbourEdgeProbability, believed_graph
from mprd_pyg.relations.reciprocal import list_lengths


def graph_of(n=90, seed=0, cameras=3, rows=None):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(-(-n // 9), 8, generator=generator).repeat_interleave(9, 0)[:n]
    x = F.normalize(x + 0.6 * torch.randn(n, 8, generator=generator), dim=1)
    rows = torch.arange(n) if rows is None else torch.as_tensor(rows)
    return Data(x=x, camera_id=torch.randint(cameras, (n,), generator=generator), rows=rows, num_nodes=n,
                edge_index=torch.zeros(2, 0, dtype=torch.long), edge_attr=torch.zeros(0))


def as_dict(pairs, field):
    return dict(zip(map(tuple, pairs.edge_index.T.tolist()), pairs[field].tolist(), strict=True))


@pytest.mark.parametrize(("relation", "encode", "compare"), [
    (KReciprocalJaccard(0.3, k_own=5, k_other=9), lambda g: camera_reciprocal_rows(g.x, g.camera_id, 5, 9), jaccard),
    (KReciprocalJaccard(0.4, expand=False, query_own=1, query_other=3),
     lambda g: camera_reciprocal_rows(g.x, g.camera_id, *list_lengths(3), 1, 3, expand=False), jaccard),
    (KReciprocalJaccard(0.3, camera_aware=False, k1=11, k2=4), lambda g: k_reciprocal_rows(g.x, 11, 4), jaccard),
    (NeighbourEdgeProbability(0.5, k=12, scale=0.4), lambda g: neighbour_probability_rows(g.x, 12, 0.4),
     edge_probability)])
def test_pairs_above_the_threshold_are_believed(relation, encode, compare):
    graph, n = graph_of(), 90
    pairs = relation(graph)
    every = torch.cartesian_prod(torch.arange(n), torch.arange(n))
    every = every[every[:, 0] != every[:, 1]]
    likelihood = compare(encode(graph), every)
    expected = {(j, i): value for (i, j), value in zip(every.tolist(), likelihood.tolist(), strict=True)
                if value >= 0.1}
    got = as_dict(pairs, "likelihood")
    assert set(got) == set(expected) and got == pytest.approx(expected, abs=1e-6)
    assert as_dict(pairs, "believed") == {pair: value > relation.threshold for pair, value in expected.items()}
    assert 90 < int(pairs.believed.sum()) < len(expected)
    j, i = pairs.edge_index
    torch.testing.assert_close(pairs.edge_attr, (graph.x[i] * graph.x[j]).sum(1))


@pytest.mark.parametrize("relation", [KReciprocalJaccard(), KReciprocalJaccard(positives=4.0),
                                      NeighbourEdgeProbability(positives=4.0)])
def test_a_batch_gets_the_same_answer_as_all_rows(relation):
    whole = relation(graph_of())
    rows = [80, 3, 17, 41]
    part = relation(graph_of(rows=rows))
    for field in ("likelihood", "believed", "edge_attr"):
        assert as_dict(part, field) == {(j, i): v for (j, i), v in as_dict(whole, field).items() if i in rows}


def test_wanted_positives_per_image():
    for wanted in (1.0, 3.5, 6.0):
        pairs = KReciprocalJaccard(positives=wanted)(graph_of())
        believed = int(pairs.believed.sum())
        assert believed - round(wanted * 90) in (0, 1)  # both directions of a pair tie
        assert pairs.likelihood[pairs.believed].min() >= pairs.likelihood[~pairs.believed].max()
    least = KReciprocalJaccard(positives=1e6, least=0.2)(graph_of())
    assert bool(least.believed.all()) and least.likelihood.min() >= 0.2


def test_without_cameras_the_plain_form_is_used():
    plain = KReciprocalJaccard(camera_aware=False)(graph_of())
    assert as_dict(KReciprocalJaccard()(graph_of(cameras=1)), "likelihood") == as_dict(plain, "likelihood")
    unknown = graph_of()
    del unknown.camera_id
    assert as_dict(KReciprocalJaccard()(unknown), "likelihood") == as_dict(plain, "likelihood")


def test_camera_aware_lists_find_partners_that_the_own_camera_crowds_out():
    # Two persons in two cameras. A camera moves features further than a person does.
    camera, person = torch.tensor([0, 1]).repeat_interleave(8), torch.tensor([0, 1]).repeat_interleave(4).repeat(2)
    x = torch.zeros(16, 18)
    x[torch.arange(16), camera], x[torch.arange(16), 2 + person // 2] = 3.0, 0.0
    x[:, 2] = torch.where(person == 0, 1.0, -1.0)
    x = F.normalize(x + 0.1 * torch.randn(16, 18, generator=torch.Generator().manual_seed(0)), dim=1)
    graph = Data(x=x, camera_id=camera, rows=torch.arange(16), num_nodes=16)
    j, i = believed_graph(KReciprocalJaccard(0.3, k_own=3, k_other=4)(graph)).edge_index
    assert bool((person[i] == person[j]).all()) and bool((camera[i] != camera[j]).any())
    j, i = believed_graph(KReciprocalJaccard(0.3, camera_aware=False, k1=7, k2=4)(graph)).edge_index
    assert bool((camera[i] == camera[j]).all())


def test_the_rule_for_list_lengths():
    assert [list_lengths(c) for c in (2, 4, 6, 8, 15)] == [(6, 6), (4, 12), (4, 16), (4, 20), (4, 29)]


def test_one_image_of_a_kind():
    pairs = KReciprocalJaccard(positives=3.0)(graph_of(n=1))
    assert pairs.edge_index.shape == (2, 0)


def test_bad_options():
    with pytest.raises(ValueError, match="least=0.1 and threshold=0.05"):
        KReciprocalJaccard(0.05)
    with pytest.raises(ValueError, match="positives, the believed pairs per image, must be above 0, got -1"):
        NeighbourEdgeProbability(positives=-1)
