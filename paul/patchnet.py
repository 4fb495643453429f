"""PatchNet: one feature per patch: trunk, patch generation, pooling, 1x1 convolution and BatchNorm."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mprd_pyg.models import build_trunk
from paul.patch_generator import EqualStripes, PatchGenerator, RandomPatches

SCHEMES = ("pgn", "stripes", "random")


class PatchNet(nn.Module):
    """The network of PAUL (Yang et al., CVPR 2019, Sec. 3.1, 3.2 and 4.2); the contract of ``ImageEmbedder``.

    Args:
        arch: trunk: a ResNet of torchvision's, or timm/NAME, see :func:`mprd_pyg.models.build_trunk`.
        last_stage: last stage kept of torchvision's ResNets; timm's models are whole.
        last_stride: stride of their stage 4.
        weights: ``"imagenet"``, what is published under the trunk's name; a file of it; or None.
        patches: M, patches per image and branches.
        dim: d, the feature size of a branch.
        scheme: how patches are generated (Table 4): ``"pgn"`` learned, ``"stripes"`` or ``"random"``.
        localization_width: channels of the PGN's convolution; the released code has 4096.
        localization_lr: learning rate of the PGN relative to that of the other new layers. The paper is silent;
            at 1 the patches left the map within ten steps of pre-training, and nothing was learned.
        normalize_branches: L2-normalise each patch feature, as the released code does on the target (the
            paper is silent, but the scale s of Eq. 2 is meant for unit features).
        frozen_layers: first layers of the trunk that are not trained: the stem, then each block.
        gradient_checkpointing: compute the trunk's activations again in the backward pass, to save memory.

    Shapes: (B, 3, H, W) normalised images -> (B, M, d); flattened they are the concatenated test feature.

    Raises:
        ValueError: unknown scheme or impossible size; in ``forward``, stripes of a map of fewer than M rows.
    """

    def __init__(self, arch: str = "resnet50", last_stage: int = 4, last_stride: int = 1,
                 weights: str | None = "imagenet", patches: int = 6, dim: int = 256, scheme: str = "pgn",
                 localization_width: int = 512, localization_lr: float = 0.001, normalize_branches: bool = True,
                 frozen_layers: int = 0, gradient_checkpointing: bool = False):
        super().__init__()
        if scheme not in SCHEMES:
            raise ValueError(f"scheme must be one of {SCHEMES}, got {scheme!r}")
        if min(patches, dim, localization_width) < 1:
            raise ValueError(f"patches, dim and localization_width must be at least 1, "
                             f"got {patches}, {dim} and {localization_width}")
        self.trunk = build_trunk(arch, last_stage, last_stride, weights, frozen_layers, gradient_checkpointing)
        channels = self.trunk.channels
        self.branches, self.dim, self.scheme = patches, dim, scheme
        self.normalize_branches, self.localization_lr = normalize_branches, localization_lr
        if scheme == "pgn":
            self.generator: nn.Module = PatchGenerator(channels, patches, localization_width)
        else:
            self.generator = EqualStripes(patches) if scheme == "stripes" else RandomPatches(patches)
        # M 1x1 convolutions on pooled vectors are M matrices; no bias, for a BatchNorm follows.
        self.embedding = nn.Parameter(torch.empty(patches, channels, dim).uniform_(-1, 1) * channels ** -0.5)
        self.neck = nn.BatchNorm1d(patches * dim)
        self.patches_frozen = False

    def forward(self, images: Tensor) -> Tensor:
        """Embed."""
        pooled = self.generator(self.trunk(images))                                 # (B, M, C)
        x = torch.bmm(pooled.transpose(0, 1), self.embedding).transpose(0, 1)       # (B, M, d)
        x = self.neck(x.flatten(1)).view(-1, self.branches, self.dim)
        return F.normalize(x, dim=2) if self.normalize_branches else x

    def freeze_patches(self) -> None:
        """Fix the patch generation network: its parameters, and its BatchNorm statistics while training."""
        self.patches_frozen = True
        for parameter in self.generator.parameters():
            parameter.requires_grad_(False)
            parameter.grad = None
        self.train(self.training)

    def train(self, mode: bool = True) -> "PatchNet":
        """Set the mode; a frozen PGN stays in evaluation mode (random patches go on being drawn)."""
        super().train(mode)
        if self.patches_frozen and self.scheme == "pgn":
            self.generator.eval()
        return self

    def parameter_groups(self, trunk_lr: float, new_lr: float) -> list[dict]:
        """Optimiser groups: the trunk's layers that are trained, new ones, and the PGN unless it is frozen."""
        new = [p for name, p in self.named_parameters() if not name.startswith(("trunk.", "generator."))]
        trunk = [p for p in self.trunk.parameters() if p.requires_grad]
        groups = [{"params": trunk, "lr": trunk_lr}, {"params": new, "lr": new_lr}]
        learned = [p for p in self.generator.parameters() if p.requires_grad]
        return groups + ([{"params": learned, "lr": new_lr * self.localization_lr}] if learned else [])
