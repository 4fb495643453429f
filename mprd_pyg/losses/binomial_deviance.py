"""The loss of MPRD's CNN: binomial deviance between live features and the memory."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mprd_pyg.losses.positives import positive_mask
from mprd_pyg.sharded_rows import Columns, ShardedRows


class BinomialDeviance(nn.Module):
    r"""Binomial deviance over a memory (MPRD, Ji et al., ICCV 2021, Eq. 2 and 3).

    .. math::
        \frac1n \sum_i \Big[ \frac{\delta}{|P_i|} \sum_{j \in P_i} \zeta(\alpha(\lambda_1 - s_{ij}))
        + \frac{1}{|N_i^*|} \sum_{j \in N_i^*} \zeta(\alpha(s_{ij} - \lambda_2)) \Big]

    with :math:`\zeta` the softplus, :math:`s_{ij} = \langle x_i, M_j \rangle`, and :math:`N_i^*` the
    ``int(hard_fraction * |N_i|)`` rows outside :math:`P_i` most similar to the live feature (at least one).

    Args:
        delta: weight of the positive term.
        alpha: slope.
        lambda1: similarity wanted of positives.
        lambda2: similarity allowed to negatives.
        hard_fraction: share of the negatives that is used, 1 % in the paper.
    """

    def __init__(self, delta: float = 5.0, alpha: float = 4.0, lambda1: float = 0.2, lambda2: float = 0.2,
                 hard_fraction: float = 0.01):
        super().__init__()
        if not 0 < hard_fraction <= 1:
            raise ValueError(f"hard_fraction must be in (0, 1], got {hard_fraction}")
        self.delta, self.alpha, self.lambda1, self.lambda2 = delta, alpha, lambda1, lambda2
        self.hard_fraction = hard_fraction

    def forward(self, x: Tensor, bank: Tensor | ShardedRows, positives: Tensor, index: Tensor,
                likelihood: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            x: (B, d) live unit features.
            bank: (N, d) memory, unit rows.
            positives: (2, E) edges j -> i of believed pairs, i (row 1) being among ``index``. P_i always
                contains i as well.
            index: (B,) distinct memory rows of the batch.
            likelihood: (E,) of the pairs; not read.

        Returns:
            scalar, the mean over the batch.
        """
        rows, total = Columns(bank), len(bank)
        similarity = rows.compare(x)
        positive = positive_mask(positives, index, rows)
        count = rows.sum(positive)
        pull = rows.sum(F.softplus(self.alpha * (self.lambda1 - similarity)) * positive) / count
        hard = ((total - count).double() * self.hard_fraction).long().clamp(min=1)
        hard = torch.minimum(hard, total - count)  # none is left where everything is positive
        widest = max(int(self.hard_fraction * total), 1)
        # Positives sink below every negative, so the first `hard` columns are the hardest negatives.
        value = rows.largest(similarity.masked_fill(positive, -torch.inf), min(widest, total))
        used = torch.arange(value.shape[1], device=x.device) < hard.unsqueeze(1)
        value = torch.where(used, value, 0.0)
        push = (F.softplus(self.alpha * (value - self.lambda2)) * used).sum(1) / hard.clamp(min=1)
        return (self.delta * pull + push).mean()

    def extra_repr(self) -> str:
        """Show the constants in ``repr``."""
        return (f"delta={self.delta}, alpha={self.alpha}, lambda1={self.lambda1}, lambda2={self.lambda2}, "
                f"hard_fraction={self.hard_fraction}")
