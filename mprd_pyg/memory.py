"""The feature memory: one row per training image, one bank per branch."""
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mprd_pyg import processes
from mprd_pyg.sharded_rows import ShardedRows


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
        self._allocate(num_rows, dim, branches)

    def _allocate(self, num_rows: int, dim: int, branches: int) -> None:
        self.register_buffer("bank", torch.zeros(branches, num_rows, dim))

    def empty_like(self, num_rows: int, dim: int | None = None, branches: int | None = None) -> "FeatureMemory":
        """A memory of the same kind on the same device, not normalised, for other rows; by default as wide."""
        own_branches, _, own_dim = self.bank.shape
        return type(self)(num_rows, dim or own_dim, branches or own_branches, normalize=False).to(self.bank.device)

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
        self._write(index, x, rate)

    def put(self, index: Tensor, x: Tensor) -> None:
        """Write features (B, M, d) into the rows ``index`` (B,), whatever was there."""
        self.update(index, x, 1.0)

    def _write(self, index: Tensor, x: Tensor, rate: float) -> None:
        self._smooth(self.bank, index, x, rate)

    def _smooth(self, bank: Tensor, index: Tensor, x: Tensor, rate: float) -> None:
        new = rate * x.to(bank.dtype).transpose(0, 1) + (1.0 - rate) * bank[:, index]
        bank[:, index] = F.normalize(new, dim=-1) if self.normalize else new

    def rows(self, index: Tensor) -> Tensor:
        """The rows (B,) of all branches: (M, B, d)."""
        return torch.stack([branch[index] for branch in self.bank])

    def extra_repr(self) -> str:
        """Show the sizes in ``repr``."""
        branches, rows, dim = self.bank.shape
        return f"num_rows={rows}, dim={dim}, branches={branches}, normalize={self.normalize}"


class ShardedMemory(FeatureMemory):
    """The same memory, of which each process holds its share of the rows.

    ``bank`` stands for the whole, see :class:`ShardedRows`. The saved state is that of :class:`FeatureMemory`, whole on
    rank 0; both kinds load it.
    """

    def _allocate(self, num_rows: int, dim: int, branches: int) -> None:
        own = processes.share(range(num_rows))
        self.own, self.num_rows, self.first = torch.zeros(branches, len(own), dim), num_rows, own.start

    @property
    def bank(self) -> ShardedRows:
        """(M, N, d)."""
        return ShardedRows.share(self.own, self.num_rows)

    def _write(self, index: Tensor, x: Tensor, rate: float) -> None:
        here = (index >= self.first) & (index < self.first + self.own.shape[1])
        self._smooth(self.own, index[here] - self.first, x[here], rate)

    def _apply(self, fn: Any, recurse: bool = True) -> "ShardedMemory":
        self.own = fn(self.own)
        return super()._apply(fn, recurse)

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The whole bank in the host's memory on rank 0, only its shape elsewhere; called by all processes."""
        sizes = [len(part) for part in processes.shares(range(self.num_rows))]
        whole = processes.collect(self.own, sizes)
        return {"bank": torch.empty(self.bank.shape, dtype=self.own.dtype, device="meta") if whole is None else whole}

    def load_state_dict(self, state: dict[str, Tensor], *args: Any, **kwargs: Any) -> None:
        """Take the own rows of what :meth:`state_dict` returned on rank 0, or :class:`FeatureMemory`'s."""
        self.own.copy_(state["bank"][:, self.first:self.first + self.own.shape[1]])
