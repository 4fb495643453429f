"""IPFL: a triplet of an image, its surrogate, and a negative that cyclic ranking finds in the batch."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@torch.no_grad()
def cyclic_ranking(x: Tensor, r: int, anchors: Tensor | None = None, candidates: int | None = None,
                   count_self: bool = False) -> Tensor:
    """Mine a hard negative of each image in its batch (PAUL, Yang et al., CVPR 2019, Sec. 3.4 and Fig. 4).

    Walk the ranking of x_i by L2 distance; the negative is the first x_j for which x_i is *not* among the r
    nearest others of x_j. With r = 0 that is the nearest other image. Ties go to the lower row.

    Args:
        x: (B, D) features that are ranked.
        r: how many nearest others of x_j count.
        anchors: (A, D) features from which the walk starts, A a multiple of B, the a-th being of image
            a mod B; x itself by default.
        candidates: how far to walk; the whole ranking by default (the released code: 15).
        count_self: x_j takes one of its own r places, as in the released code.

    Returns:
        (A,) row of the mined negative, -1 where there is none.

    Raises:
        ValueError: B <= r + 1: no image could be outside a top-r.
    """
    size = len(x)
    if r < 0 or size <= r + 1:
        raise ValueError(f"cyclic ranking with r={r} needs r >= 0 and a batch of more than r + 1 = {r + 1} "
                         f"images, got {size}: use a larger batch or a smaller r")
    anchors = x if anchors is None else anchors
    image = (torch.arange(len(anchors), device=x.device) % size).unsqueeze(1)  # (A, 1)
    every = torch.arange(size, device=x.device)
    # The faster mode of cdist, by a matrix product, errs on close points and is not symmetric.
    exact = "donot_use_mm_for_euclid_dist"
    order = torch.cdist(x, x, compute_mode=exact).fill_diagonal_(torch.inf).argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, every.expand(size, size))  # [j, i]: place of i for j
    walk = torch.cdist(anchors, x, compute_mode=exact).scatter_(1, image, torch.inf)
    walk = walk.argsort(dim=1, stable=True)  # (A, B), the image itself last
    found = rank[walk, image] >= (r - 1 if count_self else r)
    found &= walk != image
    if candidates is not None:
        found[:, candidates:] = False
    first = found.int().argmax(1, keepdim=True)
    return torch.where(found.any(1), walk.gather(1, first).squeeze(1), -1)


class IPFL(nn.Module):
    r"""Image-level patch feature learning loss (PAUL, Yang et al., CVPR 2019, Eq. 3).

    .. math:: \max(\|x_i - p_i\| - \|x_i - n_i\| + m,\ 0)

    on concatenated patch features, :math:`p_i` the surrogate of the image and :math:`n_i` the negative that
    :func:`cyclic_ranking` mines. An image without a negative is left out of the mean; ``num_valid`` (a
    tensor) counts the triplets of the last call, ``num_anchors`` all that could be.

    The options are the released code's variant, together with ``centres`` in the call and
    :class:`FrozenProjection` before it. (Where that code finds no negative, it takes a distance of 0 to it.)

    Args:
        margin: m.
        r: of the cyclic ranking.
        both_anchors: the surrogate is an anchor too, its positive being the real image.
        candidates: how far the ranking is walked; None for all, 15 in the released code.
        count_self: x_j takes one of its own r places.
    """

    num_valid: Tensor

    def __init__(self, margin: float = 2.0, r: int = 3, both_anchors: bool = False,
                 candidates: int | None = None, count_self: bool = False):
        super().__init__()
        if r < 0 or candidates is not None and candidates < 1:
            raise ValueError(f"r must be at least 0 and candidates at least 1 or None, "
                             f"got {r} and {candidates}")
        self.margin, self.r, self.both_anchors = margin, r, both_anchors
        self.candidates, self.count_self = candidates, count_self
        self.num_valid, self.num_anchors = torch.zeros((), dtype=torch.long), 0

    def forward(self, x: Tensor, surrogate: Tensor, centres: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            x: (B, D) real images.
            surrogate: (B, D) their surrogates.
            centres: (B, D) smoothed features of the images, which then are the positives and the candidates
                (the released code); they get no gradient.

        Returns:
            scalar, the mean over the valid triplets; 0 if there are none.

        Raises:
            ValueError: shapes that differ, or B <= r + 1.
        """
        shapes = [tuple(t.shape) for t in (x, surrogate, x if centres is None else centres)]
        if x.dim() != 2 or len(set(shapes)) > 1:
            raise ValueError(f"expected (B, D) features of the images, their surrogates, and the centres if "
                             f"any, got {shapes[0]}, {shapes[1]} and {shapes[2]}")
        anchors = torch.cat([x, surrogate]) if self.both_anchors else x
        if centres is None:
            pool, positive = x, torch.cat([surrogate, x]) if self.both_anchors else surrogate
        else:
            pool = centres.detach()
            positive = pool.repeat(2 if self.both_anchors else 1, 1)
        negative = cyclic_ranking(pool, self.r, anchors, self.candidates, self.count_self)
        valid = negative >= 0
        # vector_norm's gradient at 0 is 0, so an anchor equal to its partner is harmless.
        near = torch.linalg.vector_norm(anchors - positive, dim=1)
        far = torch.linalg.vector_norm(anchors - pool[negative.clamp(min=0)], dim=1)
        self.num_valid, self.num_anchors = valid.sum(), len(anchors)
        return (F.relu(near - far + self.margin) * valid).sum() / self.num_valid.clamp(min=1)

    def extra_repr(self) -> str:
        """Show the options in ``repr``."""
        return (f"margin={self.margin}, r={self.r}, both_anchors={self.both_anchors}, "
                f"candidates={self.candidates}, count_self={self.count_self}")


class FrozenProjection(nn.Module):
    """A fixed linear map of each branch, in which the released code computes IPFL.

    Its rows are unit vectors that are never trained on the target; they may be loaded from a pre-training.

    Args:
        branches: M.
        dim: d, size of a patch feature.
        out: size of its projection (the released code: 128).

    Shapes: (B, M, d) -> (B, M, out).
    """

    def __init__(self, branches: int = 6, dim: int = 256, out: int = 128):
        super().__init__()
        self.register_buffer("weight", F.normalize(torch.randn(branches, out, dim), dim=2))

    def forward(self, x: Tensor) -> Tensor:
        """Project."""
        return torch.einsum("bmd,mod->bmo", x, self.weight.to(x.dtype))
