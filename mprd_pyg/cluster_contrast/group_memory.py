"""The memory of cluster contrast: one row per group."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mprd_pyg.sharded_rows import ShardedRows, group_sums


class GroupMemory(nn.Module):
    r"""One row :math:`\phi_g` per group: its normalised mean feature, smoothed by the features that are seen.

    Cluster contrast (Dai et al., ACCV 2022): the loss is :math:`-\log \operatorname{softmax}(\phi x / \tau)_g`, and
    after it :math:`\phi_g \leftarrow m \phi_g + (1 - m) x`, normalised, image by image.

    Args:
        features: (N, d) unit features of all images, of which the rows are made.
        group: (N,) label 0 ... G - 1 of each image, -1 for none.
        momentum: m, the weight of the old row.
        temperature: :math:`\tau`.

    Shapes:
        - ``bank``: (G, d), a buffer.
    """

    bank: Tensor

    def __init__(self, features: Tensor | ShardedRows, group: Tensor, momentum: float = 0.1, temperature: float = 0.05):
        super().__init__()
        if not 0 <= momentum <= 1 or temperature <= 0:
            raise ValueError(f"momentum must be in [0, 1] and temperature positive, got {momentum} and {temperature}")
        if not bool((group >= 0).any()):
            raise ValueError("no image is in a group: let more pairs form groups")
        self.momentum, self.temperature = momentum, temperature
        with torch.no_grad():
            total = group_sums(features, group, int(group.max()) + 1)
        self.register_buffer("bank", F.normalize(total, dim=1))

    def loss(self, x: Tensor, group: Tensor) -> Tensor:
        """InfoNCE of unit features (B, d) with the rows of their groups (B,)."""
        return F.cross_entropy(x @ self.bank.T / self.temperature, group)

    @torch.no_grad()
    def update(self, x: Tensor, group: Tensor) -> None:
        """Move the rows of the groups (B,) towards features (B, d), those of one group in the order of the batch."""
        order = group.argsort(stable=True)
        size = torch.bincount(group)
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(group), device=group.device) - (size.cumsum(0) - size)[group[order]]
        for turn in range(int(size.max())):  # all groups side by side
            now = rank == turn
            new = self.momentum * self.bank[group[now]] + (1 - self.momentum) * x[now].to(self.bank.dtype)
            self.bank[group[now]] = F.normalize(new, dim=1)

    def extra_repr(self) -> str:
        """Show the sizes in ``repr``."""
        groups, dim = self.bank.shape
        return f"groups={groups}, dim={dim}, momentum={self.momentum}, temperature={self.temperature}"
