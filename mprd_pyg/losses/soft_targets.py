"""Cross-entropy over a memory with targets spread over believed pairs and over what they resemble."""
import torch
from torch import Tensor, nn

from mprd_pyg.losses.positives import positive_weights
from mprd_pyg.sharded_rows import Columns, ShardedRows


class SoftTargets(nn.Module):
    r"""Cross-entropy with soft targets over all memory rows.

    .. math::
        \frac1B \sum_i - t_i \cdot \log \operatorname{softmax}(M x_i / \tau), \qquad
        t_i = (1 - \beta) w_i + \beta \sum_{j \in P_i} w_{ij} \operatorname{softmax}(M M_j / \tau)

    with :math:`w_{ij}` the likelihood that j shows the same person, 1 for i itself, normalised over :math:`P_i`. The
    second part is the mean of the neighbours' predictions, weighted by their agreement (after Cho et al., CVPR 2022).
    Targets have no gradient.

    Args:
        temperature: :math:`\tau`.
        predictions: :math:`\beta`, the weight of the neighbours' predictions; 0 spares their products.
    """

    def __init__(self, temperature: float = 0.1, predictions: float = 0.5):
        super().__init__()
        if temperature <= 0 or not 0 <= predictions <= 1:
            raise ValueError(f"temperature must be positive and predictions in [0, 1], got {temperature} and "
                             f"{predictions}")
        self.temperature, self.predictions = temperature, predictions

    def forward(self, x: Tensor, bank: Tensor | ShardedRows, positives: Tensor, index: Tensor,
                likelihood: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            x: (B, d) live unit features.
            bank: (N, d) memory, unit rows.
            positives: (2, E) edges j -> i of believed pairs, i (row 1) being among ``index``.
            index: (B,) distinct memory rows of the batch.
            likelihood: (E,) of the pairs; 1 for all by default.

        Returns:
            scalar, the mean over the batch.
        """
        rows = Columns(bank)
        with torch.no_grad():
            if likelihood is None:
                likelihood = torch.ones(positives.shape[1])
            target = positive_weights(positives, index, rows, likelihood.to(x))
            if self.predictions:
                members = torch.cat([positives[0], index]).unique()
                predicted = rows.softmax(rows.compare(bank[members]) / self.temperature).to(target)
                target = (1 - self.predictions) * target + self.predictions * rows.take(target, members) @ predicted
        return -rows.sum(target * rows.log_softmax(rows.compare(x) / self.temperature)).mean()

    def extra_repr(self) -> str:
        """Show the constants in ``repr``."""
        return f"temperature={self.temperature}, predictions={self.predictions}"
