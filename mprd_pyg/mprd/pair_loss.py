"""The loss of MPRD's GCN."""
import torch
import torch.nn.functional as F
from torch import Tensor


def pair_loss(logit: Tensor, label: Tensor, owner: Tensor, num_images: int) -> Tensor:
    r"""Binary cross-entropy with means per image and class (MPRD Eq. 6).

    :math:`-\frac{1}{n'} \sum_i \big[\frac{1}{|P_g^i|}\sum \log g_{ij} + \frac{1}{|N_g^i|}\sum \log(1-g_{ij})\big]`;
    the paper prints :math:`1 - \log g` in the second sum, a misprint.

    Args:
        logit: (P,) of g.
        label: (P,) 1 for positives, 0 for negatives.
        owner: (P,) the image i, 0 ... num_images - 1, for which the pair was drawn.
        num_images: n'.
    """
    loss = F.binary_cross_entropy_with_logits(logit, label.to(logit.dtype), reduction="none")
    group = 2 * owner + label.long()
    count = torch.bincount(group, minlength=2 * num_images)
    return (loss / count[group]).sum() / num_images
