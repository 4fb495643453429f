"""Relations and losses over PAUL's branches."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch_geometric.data import Data

from mprd_pyg.graph import KNNGraph
from mprd_pyg.losses import BinomialDeviance, MultiPositiveInfoNCE, SoftTargets
from mprd_pyg.relations import KNearest, SimilarityThreshold
from paul.branch_loss import BranchLoss
from paul.branch_relation import AgreeingBranches, EachBranch


def branch_graphs(branches, n, seed):
    generator, graphs = torch.Generator().manual_seed(seed), []
    for _ in range(branches):
        graph = KNNGraph(k=3)(F.normalize(torch.randn(n, 4, generator=generator), dim=1), keep_features=True)
        graph.rows = torch.arange(0, n, 2)
        graphs.append(graph)
    return graphs


@given(branches=st.integers(1, 5), seed=st.integers(0, 99), share=st.floats(0.05, 1.0))
def test_a_pair_is_believed_in_all_branches_where_enough_branches_believe_it(branches, seed, share):
    graphs = branch_graphs(branches, 12, seed)
    relation = SimilarityThreshold(0.5)
    answers = AgreeingBranches(relation, share)(graphs)
    seen, votes = {}, {}
    for single in EachBranch(relation)(graphs):
        for j, i, similarity, believed in zip(*single.edge_index.tolist(), single.edge_attr.tolist(),
                                              single.believed.tolist(), strict=True):
            seen.setdefault((j, i), []).append(similarity)
            votes[j, i] = votes.get((j, i), 0) + believed
    assert len(answers) == branches
    for answer in answers:
        assert [tuple(pair) for pair in answer.edge_index.T.tolist()] == sorted(seen, key=lambda pair: pair[::-1])
        for j, i, similarity, likelihood, believed in zip(
                *answer.edge_index.tolist(), answer.edge_attr.tolist(), answer.likelihood.tolist(),
                answer.believed.tolist(), strict=True):
            assert similarity == pytest.approx(sum(seen[j, i]) / len(seen[j, i]), abs=1e-6)
            assert likelihood == pytest.approx(votes[j, i] / branches)
            assert believed == (votes[j, i] >= share * branches - 1e-6)


def test_the_share_is_a_share():
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="agreement is a share of the branches"):
            AgreeingBranches(KNearest(3), share)


@pytest.mark.parametrize("loss", [BinomialDeviance(), MultiPositiveInfoNCE(0.1), SoftTargets(0.2)])
def test_any_loss_is_taken_branch_by_branch_on_unit_features(loss):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 3, 5, generator=generator, requires_grad=True)
    bank, index = torch.randn(3, 20, 5, generator=generator), torch.tensor([7, 2, 11, 0])
    pairs = [Data(edge_index=torch.stack([torch.randint(20, (6,), generator=generator),
                                          index[torch.randint(4, (6,), generator=generator)]]),
                  likelihood=torch.rand(6, generator=generator)) for _ in range(3)]
    pairs = [(p.edge_index[:, p.edge_index[0] != p.edge_index[1]], p.likelihood[p.edge_index[0] != p.edge_index[1]])
             for p in pairs]
    found = BranchLoss(loss)(x, bank, index, [edges for edges, _ in pairs], [weight for _, weight in pairs])
    alone = [loss(x[:, m] / x[:, m].norm(dim=1, keepdim=True), bank[m] / bank[m].norm(dim=1, keepdim=True), edges,
                  index, weight) for m, (edges, weight) in enumerate(pairs)]
    torch.testing.assert_close(found, sum(alone) / 3)
    found.backward()
    assert bool((x.grad.flatten(1).norm(dim=1) > 0).all())
