"""Batch-hard triplet loss, and the batches of several images per identity that it needs."""
import torch
import torch.nn.functional as F
from torch import Tensor


def hard_triplet(x: Tensor, label: Tensor, margin: float = 1.0) -> Tensor:
    r"""Batch-hard triplet loss (Hermans et al., 2017, Eq. 5), as an option of PAUL's released pre-training.

    :math:`\max(\max_{p} \|x_a - x_p\| - \min_{n} \|x_a - x_n\| + margin, 0)` for each anchor that has both another
    image of its identity and an image of another one in the batch.

    Args:
        x: (B, d) features.
        label: (B,) identities.
        margin: least gap.

    Returns:
        scalar mean over those anchors, 0 where there is none. Equal features give no NaN gradient.
    """
    square = (x.unsqueeze(1) - x.unsqueeze(0)).square().sum(2)
    same = label.unsqueeze(1) == label
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
    furthest = square.masked_fill(~same | itself, -1.0).amax(1)
    nearest = square.masked_fill(same, torch.inf).amin(1)
    valid = (furthest >= 0) & nearest.isfinite()
    root = [part[valid].clamp(min=1e-12).sqrt() for part in (furthest, nearest)]
    return F.relu(root[0] - root[1] + margin).sum() / valid.sum().clamp(min=1)


def identity_batches(label: Tensor, batch_size: int, per_identity: int, generator: torch.Generator) -> list[list[int]]:
    """Shuffle the images into groups of ``per_identity`` of one identity, and those into batches.

    Each image is used once; an identity's last group may be smaller (a single image joins no group), so the batches'
    sizes vary around ``batch_size``.

    Args:
        label: (N,) identities.
        batch_size: images per batch.
        per_identity: images of an identity that go together.
        generator: random state.
    """
    order = torch.randperm(len(label), generator=generator)
    order = order[torch.argsort(label[order], stable=True)]
    groups = [part for own in order.split(torch.bincount(label).tolist()) for part in own.split(per_identity)
              if len(part) > 1]
    if not groups:
        raise ValueError("no identity has two images: the triplet loss cannot be used")
    count = max(1, batch_size // per_identity)
    shuffled = torch.randperm(len(groups), generator=generator).tolist()
    return [torch.cat([groups[g] for g in shuffled[i:i + count]]).tolist() for i in range(0, len(shuffled), count)]
