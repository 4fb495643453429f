"""A relation in a space that its own pairs teach."""
import pytest
import torch
import torch.nn.functional as F
from torch_geometric.data import Data

from mprd_pyg.evaluation import evaluate_pairs
from mprd_pyg.graph.pair_whitening import half_whitened, pair_whitening, principal_components
from mprd_pyg.relations import KNearest, KReciprocalJaccard, Relation, Singletons, Whitened


def graph_of(seed=0, persons=12, images=8, rows=None):
    """Persons differ a little in 12 directions, and the images of each one a lot in 4 others."""
    generator = torch.Generator().manual_seed(seed)
    count = persons * images
    person = torch.arange(persons).repeat_interleave(images)
    own = torch.randn(persons, 12, generator=generator)[person] + 0.15 * torch.randn(count, 12, generator=generator)
    x = F.normalize(torch.cat([own, 4 * torch.randn(count, 4, generator=generator)], dim=1), dim=1)
    rows = torch.arange(count) if rows is None else torch.as_tensor(rows)
    return Data(x=x, camera_id=torch.arange(count) % 2, rows=rows, num_nodes=count,
                edge_index=torch.zeros(2, 0, dtype=torch.long), edge_attr=torch.zeros(0)), person


def test_the_whitening_finds_pairs_that_the_features_hide():
    graph, person = graph_of()
    base = KReciprocalJaccard(0.3, k_own=4, k_other=4)

    def quality(relation):
        pairs = relation(graph)
        report = evaluate_pairs(pairs.edge_index[:, pairs.believed], person, None)
        return report.precision, report.recall
    plain, learned = quality(base), quality(Whitened(base, dims=16))
    print(plain, learned)
    assert plain[0] < 0.6 and plain[1] < 0.4
    assert learned[0] > 0.95 and learned[1] > 0.9


def test_the_rounds_written_out():
    graph, _ = graph_of(3)
    base = KReciprocalJaccard(0.3)
    y, deviation = principal_components(graph.x, 10)
    inner = graph.clone()
    inner.x = half_whitened(y, deviation).float()
    for _ in range(2):
        pairs = base(inner)
        inner.x = F.normalize(y @ pair_whitening(y, pairs.edge_index[:, pairs.believed], 0.2), dim=1).float()
    expected, got = base(inner), Whitened(base, dims=10, rounds=2, ridge=0.2)(graph)
    for field in ("edge_index", "likelihood", "believed"):
        assert torch.equal(got[field], expected[field])
    j, i = got.edge_index
    torch.testing.assert_close(got.edge_attr, (graph.x[i] * graph.x[j]).sum(1))


def test_a_batch_gets_the_same_answer_as_all_rows():
    relation, rows = Whitened(KReciprocalJaccard(0.3), dims=16), [70, 3, 17, 41]
    whole, part = relation(graph_of()[0]), relation(graph_of(rows=rows)[0])
    keep = torch.isin(whole.edge_index[1], torch.tensor(rows))
    assert keep.any()

    def answers(pairs, keep):
        return {tuple(pair): (float(value), bool(believed)) for pair, value, believed in zip(
            pairs.edge_index.T[keep].tolist(), pairs.likelihood[keep], pairs.believed[keep], strict=True)}
    assert answers(part, torch.ones_like(part.believed)) == answers(whole, keep)


class Nobody(Relation):
    """Believes nobody."""

    reach = 0

    def __call__(self, graph):
        return Singletons()(graph)


def test_without_believed_pairs_nothing_is_learned():
    graph, _ = graph_of()
    pairs = Whitened(Nobody(), dims=16)(graph)
    assert pairs.num_edges == 0


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Whitened(KNearest(3)), "KNearest reads the graph's edges"),
    (lambda: Whitened(KReciprocalJaccard(), dims=0), "dims=0"),
    (lambda: Whitened(KReciprocalJaccard(), ridge=0.0), "ridge=0.0")])
def test_bad_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
