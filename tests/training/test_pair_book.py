"""What an epoch's judged pairs say of their judge."""
import pytest
import torch
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.training import PairBook

PERSON = torch.tensor([4, 4, 7, 7, -1])


def closed(likelihood, person=PERSON):
    book = PairBook(TrainImages([None] * 5, person=person))
    edges = torch.tensor([[1, 2, 3, 0, 4], [0, 0, 2, 3, 1]])  # true, false, true, false, unknown
    likelihood = torch.tensor(likelihood)
    book.add([Data(edge_index=edges, edge_attr=torch.tensor([0.9, 0.8, 0.7, 0.6, 1.0]), likelihood=likelihood,
                   believed=likelihood > 0.5, num_nodes=5)])
    return book.close(1)


def test_auc_of_likelihoods_and_of_the_cosine():
    """Of the true-false pairs of pairs, the share in which the true one is rated higher, ties counting half."""
    figures = closed([0.9, 0.2, 0.3, 0.3, 0.99])
    assert figures["pairs/auc"] == pytest.approx(3.5 / 4)  # 0.9 above both, 0.3 above one and equal to the other
    assert figures["pairs/auc_similarity"] == pytest.approx(3 / 4)


@pytest.mark.parametrize(("likelihood", "person"), [
    ([1.0, 0.0, 1.0, 0.0, 1.0], PERSON), ([0.9, 0.2, 0.3, 0.3, 0.9], torch.full((5,), -1)),
    ([0.9, 0.2, 0.3, 0.3, 0.9], torch.full((5,), 3))])
def test_no_auc_without_likelihoods_or_truth(likelihood, person):
    """Believed or not is no likelihood; identities must be known, and true and false pairs must both be judged."""
    assert "pairs/auc" not in closed(likelihood, person)
