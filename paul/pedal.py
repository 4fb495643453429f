"""PEDAL: pull a patch to its similar patches in the memory, push it from all others."""
import torch
from torch import Tensor, nn

from mprd_pyg.sharded_rows import Columns, ShardedRows


class Pedal(nn.Module):
    r"""Patch-based discriminative feature learning loss (PAUL, Yang et al., CVPR 2019, Eq. 2).

    .. math::
        -\log \frac{\sum_{j \in K_i} e^{-\frac s2 \|x_i - w_j\|^2}}
                   {\sum_{j \ne i} e^{-\frac s2 \|x_i - w_j\|^2}}

    for each branch, averaged over the batch and the branches. :math:`K_i` are the k patches of *other* images
    nearest to the live feature, or the positives given; i itself is in neither sum. (The released code folds
    the one half into its scale: 15 there is 30 here.)

    Computed in log space. The exponent is taken as :math:`s (x \cdot w - \|w\|^2 / 2)`, which differs by
    :math:`s \|x\|^2 / 2`, the same in both sums; there is no root, so a feature equal to its partner is no
    special case.

    Args:
        scale: s; the paper: 30 on Market-1501, 10 on DukeMTMC-reID.
        k: nearest patches taken as similar where no positives are given.
    """

    def __init__(self, scale: float = 30.0, k: int = 10):
        super().__init__()
        if scale <= 0 or k < 1:
            raise ValueError(f"scale must be positive and k at least 1, got {scale} and {k}")
        self.scale, self.k = scale, k

    def forward(self, x: Tensor, bank: Tensor | ShardedRows, index: Tensor, positives: list[Tensor] | None = None,
                likelihood: list[Tensor] | None = None) -> Tensor:
        """Compute the loss.

        Args:
            x: (B, M, d) live patch features.
            bank: (M, N, d) patch memory W.
            index: (B,) memory rows of the batch; distinct where positives are given.
            positives: for each branch the edges (2, E_m) j -> i of similar patches, i (row 1) being among
                ``index``. A patch without any has no Eq. 2 and is left out of the mean.
            likelihood: of the positives; not read.

        Returns:
            scalar, the mean over B and M.

        Raises:
            ValueError: shapes that do not fit, k >= N, or a positive of an image outside the batch.
        """
        self._check(x, bank, index, positives)
        rows = Columns(bank)
        with torch.autocast(x.device.type, enabled=False):  # s times a half-precision product would be noise
            live = rows.spread(x).transpose(0, 1).to(bank.dtype)  # (M, B, d)
            half = torch.linalg.vector_norm(rows.own, dim=2).square().unsqueeze(1) / 2  # (M, 1, n) of the rows at hand
            logit = self.scale * torch.baddbmm(half, live, rows.own.transpose(1, 2), beta=-1)  # (M, B, n)
            index = index.to(bank.device)
            own = torch.cartesian_prod(*(torch.arange(size, device=index.device) for size in logit.shape[:2])).unbind(1)
            rows.put(logit, own, index.repeat(len(bank)), -torch.inf)
            logit = logit - rows.max(logit)  # keeps the small digits
            every = rows.logsumexp(logit)
            if positives is None:
                return (every - rows.largest(logit, self.k).logsumexp(2, keepdim=True)).mean()
            similar = rows.put(self._mask(positives, index, rows), own, index.repeat(len(bank)), False)
            none = ~rows.any(similar)
            # Where there is no positive, all others stand in: the term and its gradient are then exactly 0.
            loss = every - rows.logsumexp(logit.masked_fill(~(similar | none), -torch.inf))
            return loss.sum() / (~none).sum().clamp(min=1)

    def _mask(self, positives: list[Tensor], index: Tensor, rows: Columns) -> Tensor:
        """(M, B, n) bool: which patches are similar to which, among the rows at hand."""
        place = torch.full((rows.total,), -1, device=index.device).scatter_(
            0, index, torch.arange(len(index), device=index.device))
        edges = torch.cat(list(positives), dim=1).to(index.device)
        count = torch.tensor(list(map(Tensor.numel, positives)), device=index.device) // 2
        branch = torch.repeat_interleave(torch.arange(len(positives), device=index.device), count)
        owner = place[edges[1]]
        if bool((owner < 0).any()):
            raise ValueError(f"a positive is of memory row {int(edges[1, owner.argmin()])}, which is not in "
                             f"the batch: row 1 of each edge_index must hold rows of `index`")
        mask = torch.zeros(len(positives), len(index), rows.count, dtype=torch.bool, device=index.device)
        return rows.put(mask, (branch, owner), edges[0], True)

    def _check(self, x: Tensor, bank: Tensor | ShardedRows, index: Tensor, positives: list[Tensor] | None) -> None:
        if x.dim() != 3 or bank.dim() != 3 or (x.shape[1], x.shape[2]) != (bank.shape[0], bank.shape[2]):
            raise ValueError(f"expected features (B, M, d) and a bank (M, N, d), got {tuple(x.shape)} "
                             f"and {tuple(bank.shape)}")
        if tuple(index.shape) != (len(x),):
            raise ValueError(f"expected an index of one memory row per image, {(len(x),)}, "
                             f"got {tuple(index.shape)}")
        rows = bank.shape[1]
        if positives is None and self.k >= rows:
            raise ValueError(f"k={self.k} similar patches were asked for, but an image has only {rows - 1} "
                             f"others in a memory of {rows}: lower k or train on more images")
        if positives is not None and len(positives) != len(bank):
            raise ValueError(f"expected positives of {len(bank)} branches, got {len(positives)}")

    def extra_repr(self) -> str:
        """Show the constants in ``repr``."""
        return f"scale={self.scale}, k={self.k}"
