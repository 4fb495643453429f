"""Any loss on a memory in the place of PEDAL, branch by branch."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mprd_pyg.sharded_rows import ShardedRows, changed


class BranchLoss(nn.Module):
    """The mean over the branches of a loss of :mod:`mprd_pyg.losses` (not in the paper).

    These losses compare unit features, so the live features and PAUL's memory, which is not normalised, are normalised.

    Args:
        loss: called with features (B, d), bank (N, d), positives (2, E), index (B,) and likelihood (E,).
    """

    def __init__(self, loss: nn.Module):
        super().__init__()
        self.loss = loss

    def forward(self, x: Tensor, bank: Tensor | ShardedRows, index: Tensor, positives: list[Tensor],
                likelihood: list[Tensor] | None = None) -> Tensor:
        """Compute the loss from what :class:`paul.Pedal` takes.

        Args:
            x: (B, M, d) live patch features.
            bank: (M, N, d) patch memory.
            index: (B,) distinct memory rows of the batch.
            positives: for each branch the edges (2, E_m) j -> i.
            likelihood: for each branch (E_m,); 1 for all by default.
        """
        likelihood = likelihood or [None] * len(bank)
        with torch.autocast(x.device.type, enabled=False):
            live = F.normalize(x.to(bank.dtype), dim=2)
            memory = changed(bank, lambda rows, at: F.normalize(rows, dim=-1))
            losses = [self.loss(live[:, m], memory[m], positives[m], index, likelihood[m]) for m in range(len(bank))]
        return torch.stack(losses).mean()
