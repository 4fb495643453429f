"""Splits: disjoint, complete, seeded; target links are never in sight."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.graph import PairSubgraphs
from mprd_pyg.link_prediction import LinkGraph, split_links
from mprd_pyg.link_prediction.splits import PARTS


def keys(pairs):
    return {tuple(sorted(pair)) for pair in pairs.tolist()}


def edges_of(data):
    return keys(data.edge_index.T)


@st.composite
def graphs(draw):
    n = draw(st.integers(4, 24))
    node = st.integers(0, n - 1)
    return LinkGraph.from_edges(draw(st.lists(st.tuples(node, node), min_size=3, max_size=90)), n)


@given(graphs(), st.floats(0.01, 0.3), st.floats(0.01, 0.2), st.integers(0, 5))
@settings(deadline=None, max_examples=50)
def test_any_graph(graph, test, validation, seed):
    absent = graph.num_nodes * (graph.num_nodes - 1) // 2 - len(graph.links)
    if len(graph.links) < 3 or absent < 3:
        with pytest.raises(ValueError, match="at least 3"):
            split_links(graph, test, validation, seed=seed)
        return
    split = split_links(graph, test, validation, seed=seed)
    links, negatives = {}, {}
    for part in PARTS:
        assert bool((split.pairs[part][:, 0] < split.pairs[part][:, 1]).all())
        links[part] = keys(split.links(part))
        negatives[part] = keys(split.pairs[part][split.label[part] == 0])
        assert links[part] and negatives[part]
        assert len(links[part]) + len(negatives[part]) == len(split.pairs[part])  # none twice
        if absent >= len(graph.links):
            assert len(links[part]) == len(negatives[part])
    everything = keys(graph.links)
    assert set().union(*links.values()) == everything and sum(map(len, links.values())) == len(everything)
    assert not set().union(*negatives.values()) & everything
    assert len(set().union(*negatives.values())) == sum(map(len, negatives.values()))
    assert edges_of(split.observed("train")) == links["train"] == edges_of(split.observed("validation"))
    assert edges_of(split.observed("test")) == links["train"] | links["validation"]
    again = split_links(graph, test, validation, seed=seed)
    assert all(torch.equal(split.pairs[part], again.pairs[part]) for part in PARTS)
    assert split.table().equals(again.table())


def test_hardly_any_pairs_without_a_link():
    """Three absent pairs for 5, 1 and 1 links: one negative each, none twice."""
    graph = LinkGraph.from_edges([[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4]], 5)
    split = split_links(graph, 0.125, 0.125, seed=0)
    assert [int((split.label[part] == 0).sum()) for part in PARTS] == [1, 1, 1]


def ring(n):
    return LinkGraph.from_edges([[i, (i + 1) % n] for i in range(n)], n)


def test_sizes_and_seeds():
    graph = ring(200)
    split = split_links(graph)
    assert {part: len(split.links(part)) for part in PARTS} == {"train": 170, "validation": 10, "test": 20}
    assert not torch.equal(split.pairs["test"], split_links(graph, seed=1).pairs["test"])
    strict = split_links(graph, observe_validation=False)
    assert edges_of(strict.observed("test")) == keys(strict.links("train"))
    table = split.table()
    assert table.groupby("part")["label"].agg(["sum", "count"]).to_dict("index")["test"] == {"sum": 20, "count": 40}
    assert table["source"].tolist() == [str(i) for i in table["i"]]


def test_no_subgraph_shows_its_own_link():
    split = split_links(LinkGraph.from_edges(torch.combinations(torch.arange(9)), 12), seed=2)
    for part in PARTS:
        batch = PairSubgraphs("induced", 2)(split.observed(part), split.pairs[part])
        for one, (i, j) in zip(batch.to_data_list(), split.pairs[part].tolist(), strict=True):
            names = [tuple(sorted((int(one.n_id[a]), int(one.n_id[b])))) for a, b in one.edge_index.T.tolist()]
            assert (i, j) not in names
            hidden = keys(split.links("test")) | (set() if part == "test" else keys(split.links("validation")))
            assert not hidden & set(names)


def test_negatives_are_uniform():
    counts = torch.zeros(12, 12)
    for seed in range(200):
        split = split_links(ring(12), seed=seed)
        for part in PARTS:
            i, j = split.pairs[part][split.label[part] == 0].T
            counts[i, j] += 1
    drawn = counts[counts > 0]
    assert len(drawn) == 66 - 12  # 12 of 54 pairs each time: 44.4 on average, standard deviation 5.9
    assert drawn.min() > 20 and drawn.max() < 70


def test_sparse_graphs_are_sampled_without_listing_all_pairs():
    graph = LinkGraph.from_edges(ring(1000).links, 1_000_000)  # 5e11 pairs would not fit
    split = split_links(graph)
    assert len(keys(torch.cat([split.pairs[part] for part in PARTS]))) == 2000


def test_bad_input():
    with pytest.raises(ValueError, match="0 links between 5 nodes"):
        split_links(LinkGraph.from_edges([], 5))
    with pytest.raises(ValueError, match="0 pairs have none|so 0 pairs"):
        split_links(LinkGraph.from_edges(torch.combinations(torch.arange(6)), 6))
    with pytest.raises(ValueError, match="fractions"):
        split_links(ring(10), test=0.6, validation=0.5)
    with pytest.raises(ValueError, match="leave none to train"):
        split_links(ring(8), test=0.5, validation=0.49)
