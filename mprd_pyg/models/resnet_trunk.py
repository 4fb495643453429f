"""ResNet trunks from torchvision, cut after any stage, with the last stride set to 1."""
from pathlib import Path
from pickle import UnpicklingError

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mprd_pyg.models.trunk import Trunk

ARCHITECTURES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


class ResNetTrunk(Trunk):
    """The stem and the stages of a ResNet, as its own state dict names them.

    Args:
        net: torchvision's.
        last_stage: last stage kept.
    """

    def __init__(self, net: torchvision.models.ResNet, last_stage: int):
        super().__init__()
        for name in ["conv1", "bn1", "relu", "maxpool"] + [f"layer{stage}" for stage in range(1, last_stage + 1)]:
            self.add_module(name, getattr(net, name))
        last = getattr(net, f"layer{last_stage}")[-1]
        self.channels = (last.conv3 if hasattr(last, "conv3") else last.conv2).out_channels

    def feature_map(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> (B, channels, h, w)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for block in self._blocks():
            again = self.checkpointing and torch.is_grad_enabled()
            x = checkpoint(block, x, use_reentrant=False) if again else block(x)
        return x

    def layers(self) -> list[list[nn.Parameter]]:
        """The stem, then each residual block."""
        stem = [*self.conv1.parameters(), *self.bn1.parameters()]
        return [stem, *(list(block.parameters()) for block in self._blocks())]

    def start_checkpointing(self) -> None:
        """Nothing to prepare."""

    def _blocks(self) -> list[nn.Module]:
        return [block for stage in list(self.children())[4:] for block in stage]


def build_resnet(arch: str = "resnet50", last_stage: int = 4, last_stride: int = 1,
                 weights: str | None = "imagenet") -> ResNetTrunk:
    """Build a trunk.

    Args:
        arch: one of the torchvision ResNets.
        last_stage: keep the stages up to this one (4 is the whole network).
        last_stride: stride of the whole network's last stage (re-ID uses 1; ResNet's own is 2). A trunk that
            is cut earlier keeps its strides.
        weights: ``"imagenet"`` (torchvision downloads them once), a file of a torchvision state dict (keys of
            stages that were cut away may be missing), or None for a random start.

    Raises:
        ValueError: unknown stage, or weights that do not fit.
        FileNotFoundError: no such weights file.
    """
    if last_stage not in (1, 2, 3, 4) or last_stride not in (1, 2):
        raise ValueError(f"last_stage must be 1 to 4 and last_stride 1 or 2, got {last_stage} and {last_stride}")
    official = torchvision.models.get_model_weights(arch).IMAGENET1K_V1 if weights == "imagenet" else None
    try:
        net = torchvision.models.get_model(arch, weights=official)
    except OSError as error:  # URLError is one
        raise ValueError(f"the ImageNet weights of {arch} could not be downloaded ({error}): fetch {official.url} "
                         f"elsewhere and give the file by --network.weights FILE") from error
    if weights not in (None, "imagenet"):
        _load(net, Path(weights), last_stage)
    if last_stage == 4 and last_stride == 1:
        for module in net.layer4.modules():
            if isinstance(module, nn.Conv2d) and module.stride == (2, 2):
                module.stride = (1, 1)
    return ResNetTrunk(net, last_stage)


def _load(net: nn.Module, path: Path, last_stage: int) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}: give a torchvision state dict, 'imagenet' or null")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        missing, unexpected = net.load_state_dict(state, strict=False)
    except Exception as error:
        reason = "it is damaged, or holds more than tensors" if isinstance(error, UnpicklingError) else \
            " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is not a state dict of this architecture: {reason}") from error
    cut = tuple(["fc."] + [f"layer{stage}." for stage in range(last_stage + 1, 5)])
    missing = [key for key in missing if not key.startswith(cut)]
    if missing or unexpected:
        raise ValueError(f"{path} does not fit: {len(missing)} keys are missing (first {missing[:3]}), "
                         f"{len(unexpected)} are unknown (first {unexpected[:3]})")
