"""The feature memory: one row per training image, one bank per branch."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureMemory(nn.Module):
    r"""A bank of features that is smoothed over the epochs.

    With ``normalize=True`` this is Eq. 1 of MPRD (Ji et al., ICCV 2021),
    :math:`M[i] \leftarrow \gamma x_i + (1 - \gamma) M[i]` followed by an L2 normalisation; with
    ``normalize=False`` and a small rate it is Eq. 1 of PAUL (Yang et al., CVPR 2019),
    :math:`w \leftarrow (1 - l) w + l x`.

    Args:
        num_rows: N, one row per image of the training table.
        dim: d, the feature size.
        branches: M, one bank per branch of the embedder.
        normalize: L2-normalise each written row.

    Shapes:
        - ``bank``: (M, N, d), a buffer: it is saved with the model and moves with it.
    """

    bank: Tensor

    def __init__(self, num_rows: int, dim: int, branches: int = 1, normalize: bool = True):
        super().__init__()
        if min(num_rows, dim, branches) < 1:
            raise ValueError(f"a memory needs num_rows, dim and branches of at least 1, "
                             f"got {num_rows}, {dim} and {branches}")
        self.normalize = normalize
        self.register_buffer("bank", torch.zeros(branches, num_rows, dim))

    @torch.no_grad()
    def update(self, index: Tensor, x: Tensor, rate: float) -> None:
        """Write ``rate * x + (1 - rate) * old`` into the rows ``index``.

        Args:
            index: (B,) distinct rows.
            x: (B, M, d) new features.
            rate: weight of the *new* feature, in [0, 1].

        Raises:
            ValueError: for a wrong shape or a rate outside [0, 1].
        """
        branches, _, dim = self.bank.shape
        if tuple(x.shape) != (index.numel(), branches, dim):
            raise ValueError(f"expected features of shape {(index.numel(), branches, dim)} "
                             f"(rows, branches, dim), got {tuple(x.shape)}")
        if not 0.0 <= rate <= 1.0:
            raise ValueError(f"the rate is the weight of the new feature, in [0, 1]; got {rate}")
        new = rate * x.to(self.bank.dtype).transpose(0, 1) + (1.0 - rate) * self.bank[:, index]
        self.bank[:, index] = F.normalize(new, dim=-1) if self.normalize else new

    def extra_repr(self) -> str:
        """Show the sizes in ``repr``."""
        branches, rows, dim = self.bank.shape
        return f"num_rows={rows}, dim={dim}, branches={branches}, normalize={self.normalize}"
