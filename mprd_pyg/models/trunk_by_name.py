"""The trunk that a name stands for."""
from mprd_pyg.models.resnet_trunk import ARCHITECTURES, build_resnet
from mprd_pyg.models.timm_trunk import build_timm
from mprd_pyg.models.trunk import Trunk


def build_trunk(arch: str = "resnet50", last_stage: int = 4, last_stride: int = 1, weights: str | None = "imagenet",
                frozen_layers: int = 0, gradient_checkpointing: bool = False) -> Trunk:
    """Build a trunk.

    Args:
        arch: one of the torchvision ResNets, or ``timm/NAME``, a model of timm's such as
            ``timm/vit_small_patch14_dinov2.lvd142m``.
        last_stage: of a torchvision ResNet, keep the stages up to this one (4 is the whole network); a model of
            timm's is always whole.
        last_stride: stride of a whole torchvision ResNet's last stage (re-ID uses 1; ResNet's own is 2). A trunk that
            is cut earlier, or is timm's, keeps its strides.
        weights: ``"imagenet"``, the weights that torchvision or timm publish under the name (they are downloaded
            once), a file of them (torchvision's: keys of stages that were cut away may be missing; timm's: also
            ``.safetensors``), or None for a random start.
        frozen_layers: first layers that are not trained; the stem is the first, then each block.
        gradient_checkpointing: compute activations again in the backward pass: less memory, more time.

    Raises:
        ValueError: unknown architecture or stage, weights that do not fit or could not be downloaded, no such layers.
        FileNotFoundError: no such weights file.
    """
    if arch.startswith("timm/"):
        trunk: Trunk = build_timm(arch.removeprefix("timm/"), weights)
    elif arch in ARCHITECTURES:
        trunk = build_resnet(arch, last_stage, last_stride, weights)
    else:
        raise ValueError(f"arch must be one of {', '.join(ARCHITECTURES)}, or timm/NAME with a model of timm's, "
                         f"got {arch!r}")
    trunk.freeze(frozen_layers)
    if gradient_checkpointing:
        trunk.checkpoint_gradients()
    return trunk
