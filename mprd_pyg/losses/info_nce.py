"""InfoNCE with several positives over a memory."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mprd_pyg.losses.positives import positive_mask
from mprd_pyg.sharded_rows import Columns, ShardedRows


class MultiPositiveInfoNCE(nn.Module):
    r"""InfoNCE over all memory rows, in which positives do not compete with each other.

    .. math::
        \frac1B \sum_i \frac{1}{|P_i|} \sum_{j \in P_i}
        \log\Big(1 + \sum_{n \notin P_i} \exp\big((s_{in} - s_{ij}) / \tau\big)\Big)

    with :math:`s_{ij} = \langle x_i, M_j \rangle` and i in :math:`P_i`. With :math:`P_i = \{i\}` it is InfoNCE.

    Args:
        temperature: :math:`\tau`.
    """

    def __init__(self, temperature: float = 0.1):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature

    def forward(self, x: Tensor, bank: Tensor | ShardedRows, positives: Tensor, index: Tensor,
                likelihood: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            x: (B, d) live unit features.
            bank: (N, d) memory, unit rows.
            positives: (2, E) edges j -> i of believed pairs, i (row 1) being among ``index``.
            index: (B,) distinct memory rows of the batch.
            likelihood: (E,) of the pairs; not read.

        Returns:
            scalar, the mean over the batch.
        """
        rows = Columns(bank)
        logits = rows.compare(x) / self.temperature
        positive = positive_mask(positives, index, rows)
        # The least number instead of minus infinity: a row without negatives then has loss and gradient zero, not NaN.
        negatives = rows.spread(rows.logsumexp(logits.masked_fill(positive, torch.finfo(logits.dtype).min)))
        return (rows.sum(F.softplus(negatives - logits) * positive) / rows.sum(positive)).mean()

    def extra_repr(self) -> str:
        """Show the temperature in ``repr``."""
        return f"temperature={self.temperature}"
