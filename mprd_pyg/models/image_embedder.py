"""One feature per image: trunk, pooling, BatchNorm, L2 normalisation."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mprd_pyg.models.trunk_by_name import build_trunk


class StripePool(nn.Module):
    """Pool horizontal stripes and concatenate them; more weight on the centre columns if asked.

    ``stripes=1`` with ``center_weight=0`` is global average pooling, the paper's. With a centre weight c, column
    u in [-1, 1] weighs 1 + c (1 - |u|) before the weights are scaled to a mean of 1: people stand in the middle of
    a crop, background at its sides.

    Shapes: (B, C, h, w) -> (B, stripes * C).
    """

    def __init__(self, stripes: int = 1, center_weight: float = 0.0):
        super().__init__()
        if stripes < 1 or center_weight < 0:
            raise ValueError(f"stripes must be at least 1 and center_weight at least 0, "
                             f"got {stripes} and {center_weight}")
        self.stripes, self.center_weight = stripes, center_weight

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        if x.shape[2] < self.stripes:
            raise ValueError(f"a feature map of {x.shape[2]} rows cannot be cut into {self.stripes} stripes: "
                             f"use taller images or fewer stripes")
        if self.center_weight:
            column = torch.linspace(-1, 1, x.shape[3], device=x.device, dtype=x.dtype).abs()
            weight = 1 + self.center_weight * (1 - column)
            x = x * (weight / weight.mean())
        return F.adaptive_avg_pool2d(x, (self.stripes, 1)).flatten(1)

    def extra_repr(self) -> str:
        """Show the options in ``repr``."""
        return f"stripes={self.stripes}, center_weight={self.center_weight}"


class ImageEmbedder(nn.Module):
    """MPRD's network F (Ji et al., ICCV 2021, Sec. 3.1 and 5.2): trunk, pool5, BatchNorm1d, L2.

    Args:
        arch: trunk: a ResNet of torchvision's, or timm/NAME, see :func:`build_trunk`.
        last_stage: last stage kept of torchvision's ResNets; timm's models are whole.
        last_stride: stride of their stage 4.
        weights: ``"imagenet"``, what is published under the trunk's name; a file of it; or None.
        stripes: 1 is the paper's global average pooling; more are pooled apart and concatenated.
        center_weight: extra weight of the centre columns in the pooling; 0 is the paper.
        test_feature: ``"bn"`` gives L2(BN(pool5)) at test time, ``"pool"`` gives L2(pool5).
        frozen_layers: first layers of the trunk that are not trained: the stem, then each block.
        gradient_checkpointing: compute the trunk's activations again in the backward pass, to save memory.

    Shapes: (B, 3, H, W) normalised images -> (B, 1, d) unit features.
    """

    def __init__(self, arch: str = "resnet50", last_stage: int = 4, last_stride: int = 1,
                 weights: str | None = "imagenet", stripes: int = 1, center_weight: float = 0.0,
                 test_feature: str = "bn", frozen_layers: int = 0, gradient_checkpointing: bool = False):
        super().__init__()
        if test_feature not in ("bn", "pool"):
            raise ValueError(f"test_feature must be 'bn' or 'pool', got {test_feature!r}")
        self.trunk = build_trunk(arch, last_stage, last_stride, weights, frozen_layers, gradient_checkpointing)
        self.pool = StripePool(stripes, center_weight)
        self.dim = self.trunk.channels * stripes
        self.branches = 1
        self.neck = nn.BatchNorm1d(self.dim)
        self.test_feature = test_feature

    def pooled(self, images: Tensor) -> Tensor:
        """The feature before the BatchNorm, (B, d)."""
        return self.pool(self.trunk(images))

    def forward(self, images: Tensor) -> Tensor:
        """Embed."""
        return self.head(self.pooled(images))

    def head(self, pooled: Tensor) -> Tensor:
        """From the pooled feature (B, d) to the embedding (B, 1, d)."""
        x = self.neck(pooled) if self.training or self.test_feature == "bn" else pooled
        return F.normalize(x, dim=1).unsqueeze(1)

    @torch.no_grad()
    def calibrate_neck(self, mean: Tensor, variance: Tensor) -> None:
        """Set the BatchNorm's running statistics to those of pooled features, (d,) each."""
        self.neck.running_mean.copy_(mean)
        self.neck.running_var.copy_(variance)

    def parameter_groups(self, trunk_lr: float, new_lr: float) -> list[dict]:
        """Optimiser groups: the trunk's layers that are trained, and new ones."""
        new = [p for name, p in self.named_parameters() if not name.startswith("trunk.")]
        trunk = [p for p in self.trunk.parameters() if p.requires_grad]
        return [{"params": trunk, "lr": trunk_lr}, {"params": new, "lr": new_lr}]
