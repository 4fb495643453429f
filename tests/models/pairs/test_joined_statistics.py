"""Statistics beside what a classifier's last layers read, standardised by the training pairs."""
import torch
from torch_geometric.data import Batch, Data

from mprd_pyg.models.pairs import JoinedStatistics, Standardisation


def test_standardised_by_hand():
    columns = torch.tensor([[0.0, -1.0, 7.0], [3.0, 0.5, 7.0], [8.0, 2.0, 7.0]])
    fitted = Standardisation(3).fit(columns)
    assert fitted.is_count.tolist() == [True, False, True]  # nowhere negative and somewhere above 1
    logs = torch.tensor([1.0, 4.0, 9.0]).log()
    count = (logs - logs.mean()) / logs.std(correction=0)
    plain = (columns[:, 1] - 0.5) / columns[:, 1].std(correction=0)
    torch.testing.assert_close(fitted(columns), torch.stack([count, plain, torch.zeros(3)], dim=1))
    assert fitted(torch.tensor([[1e9, 1e9, 7.0]]))[0].tolist() == [5, 5, 0]  # clipped
    again = Standardisation(3)
    again.load_state_dict(fitted.state_dict())
    assert torch.equal(again(columns), fitted(columns))


class Sums(torch.nn.Module):
    """A classifier of two numbers per pair."""

    def __init__(self):
        super().__init__()
        self.mlp = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))

    def forward(self, batch, features):
        return self.mlp(features[batch.n_id].view(-1, 2)).squeeze(1)


def test_the_last_layers_read_both():
    joined = JoinedStatistics(Sums(), 2)
    batch, x, statistics = Batch.from_data_list([Data(n_id=torch.arange(4))]), torch.randn(4, 1), torch.randn(2, 2)
    batch.statistics = statistics
    read = torch.cat([x.view(2, 2), statistics], dim=1)
    first, second = joined.classifier.mlp[0], joined.classifier.mlp[2]
    expected = torch.relu(read @ first.weight.T + first.bias) @ second.weight.T + second.bias
    torch.testing.assert_close(joined(batch, x), expected.squeeze(1))
