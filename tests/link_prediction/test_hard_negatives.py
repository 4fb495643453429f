"""HeaRT's negatives against the rule, one node at a time."""
import networkx as nx
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mprd_pyg.link_prediction import LinkGraph, hard_negatives, split_links


@pytest.fixture(scope="module", params=[False, True])
def split(request):
    graph = nx.powerlaw_cluster_graph(60, 3, 0.5, seed=4)
    x = torch.rand(60, 5, generator=torch.Generator().manual_seed(0)) if request.param else None
    return split_links(LinkGraph.from_edges(list(graph.edges), 60, x=x), seed=1)


def slow_ranks(split, kept):
    """Least rank of every node among the scores for the kept node; None for links, and for nodes scored 0 by all."""
    observed, n = split.observed("test"), split.graph.num_nodes
    a = np.zeros((n, n))
    a[tuple(observed.edge_index.numpy())] = 1
    linked = {b if a == kept else a for a, b in split.graph.links.tolist() if kept in (a, b)} | {kept}
    degree = a.sum(0)
    scores = [[sum(1 / degree[c] for c in range(n) if a[kept, c] and a[c, v]) for v in range(n)],
              0.15 * np.linalg.inv(np.eye(n) - 0.85 * a / np.maximum(degree, 1))[:, kept]]
    if split.graph.x is not None:
        scores.append((F.normalize(split.graph.x) @ F.normalize(split.graph.x)[kept]).tolist())
    free = [v for v in range(n) if v not in linked]
    ranks = {}
    for v in free:
        if any(score[v] > 1e-9 for score in scores):
            ranks[v] = min(sum(score[w] > score[v] - 1e-9 for w in free) if score[v] > 1e-9
                           else 1 + sum(score[w] > 1e-9 for w in free) for score in scores)
    return ranks, set(free)


@pytest.mark.parametrize("count", [4, 20, 60])
def test_each_end_gets_the_nodes_believed_most(split, count):
    links = split.links("test")
    found = hard_negatives(split.graph, split.observed("test"), links, count, block=7)
    half = count // 2
    assert found.shape == (len(links), count, 2) and not split.graph.has(found.flatten(0, 1)).any()
    for link, pairs in zip(links.tolist(), found, strict=True):
        for end in (0, 1):
            mine = pairs[half * end:half * (end + 1)]
            assert (mine[:, 0] == link[end]).all()
            others = mine[:, 1].tolist()
            ranks, free = slow_ranks(split, link[end])
            assert len(set(others)) == half and set(others) <= free
            best = sorted(ranks.values())[:half]
            assert sorted(ranks[v] for v in others if v in ranks) == best  # then those that no score knows


def test_repeats_and_small_graphs(split):
    links, observed = split.links("validation"), split.observed("validation")
    one, again, other = (hard_negatives(split.graph, observed, links, 10, seed) for seed in (0, 0, 1))
    assert torch.equal(one, again) and one.shape == other.shape
    most = 60 - 1 - int(torch.bincount(split.graph.links.flatten()).max())
    assert hard_negatives(split.graph, observed, links, 500).shape[1] == 2 * most  # fewer than asked for
    with pytest.raises(ValueError, match="even, got 7"):
        hard_negatives(split.graph, observed, links, 7)
    star = LinkGraph.from_edges([[0, i] for i in range(1, 9)], 9)
    with pytest.raises(ValueError, match="linked with all others"):
        hard_negatives(star, star.observed(star.links), star.links[:1], 2)
