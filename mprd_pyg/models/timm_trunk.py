"""Trunks of timm, the library of image models: ViT, DINOv2, CLIP's image towers, Swin, ConvNeXt and hundreds more."""
import difflib
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mprd_pyg.data.views import IMAGENET_MEAN, IMAGENET_STD
from mprd_pyg.models.trunk import Trunk


class TimmTrunk(Trunk):
    """A timm model without its head. Transformers give their grid of patch tokens, without the prefix tokens.

    Images come normalised by ImageNet's statistics, as for every trunk; those of the model's own configuration
    are put in their place here.

    Args:
        name: of the model, for messages.
        model: a timm model.

    Shapes: (B, 3, H, W) -> (B, channels, h, w).
    """

    def __init__(self, name: str, model: nn.Module):
        super().__init__()
        if not hasattr(model, "forward_intermediates"):
            raise ValueError(f"timm/{name} gives no feature map: take a model with forward_intermediates")
        model.prune_intermediate_layers(1, prune_norm=False, prune_head=True)
        if hasattr(model, "head"):  # some keep a norm in it
            model.head = nn.Identity()
        self.name, self.model, self.channels = name, model, model.num_features
        self.size: tuple[int, int] | None = None  # the one that is taken, if there is but one
        if hasattr(model, "set_input_size"):
            self.size = tuple(model.pretrained_cfg["input_size"][1:])
        mean, std = (torch.tensor(model.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))
        imagenet_mean, imagenet_std = (torch.tensor(value).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
        self.renormalise = not (torch.equal(mean, imagenet_mean) and torch.equal(std, imagenet_std))
        self.register_buffer("scale", imagenet_std / std, persistent=False)
        self.register_buffer("shift", (imagenet_mean - mean) / std, persistent=False)

    def feature_map(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> (B, channels, h, w)."""
        if self.size is not None and tuple(images.shape[2:]) != self.size:
            raise ValueError(f"timm/{self.name} was made for images of {self.size[0]} x {self.size[1]}, got "
                             f"{images.shape[2]} x {images.shape[3]}: call set_image_size, and give all data the same "
                             f"height and width")
        x = images * self.scale + self.shift if self.renormalise else images
        return self.model.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)[0]

    def set_image_size(self, height: int, width: int) -> None:
        """Resample position embeddings and windows to images of one size, where the model has them.

        Raises:
            ValueError: the size is no whole number of patches, or none that the model can take.
        """
        if self.size is None:
            return
        patch = getattr(getattr(self.model, "patch_embed", None), "patch_size", (1, 1))
        if height % patch[0] or width % patch[1]:
            near = [max(1, round(side / step)) * step for side, step in zip((height, width), patch, strict=True)]
            raise ValueError(f"images of {height} x {width} are no whole number of the {patch[0]} x {patch[1]} patches "
                             f"of timm/{self.name}: set --data.height {near[0]} --data.width {near[1]}")
        try:
            self.model.set_input_size(img_size=(height, width))
        except (AssertionError, RuntimeError, ValueError) as error:
            raise ValueError(f"timm/{self.name} cannot take images of {height} x {width} ({error}): set --data.height "
                             f"and --data.width to a size that it takes") from error
        self.size = height, width
        self.freeze(self.frozen)  # what was resampled is a new parameter

    def layers(self) -> list[list[nn.Parameter]]:
        """As timm groups them for layer-wise learning rates; a final norm belongs to the last block."""
        from timm.models import group_parameters
        if not hasattr(self.model, "group_matcher"):
            raise ValueError(f"timm does not say which layers timm/{self.name} has: leave layer_decay at 1 and "
                             f"frozen_layers at 0")
        return list(group_parameters(self.model, self.model.group_matcher(coarse=False), return_values=True).values())

    def start_checkpointing(self) -> None:
        """By timm's own checkpointing."""
        try:
            self.model.set_grad_checkpointing(True)
        except (AssertionError, AttributeError) as error:
            raise ValueError(f"timm/{self.name} has no gradient_checkpointing: leave it out") from error


def build_timm(name: str, weights: str | None = "imagenet") -> TimmTrunk:
    """Build a trunk of timm.

    Args:
        name: of the model, with or without the tag of its weights: ``vit_small_patch14_dinov2.lvd142m``.
        weights: ``"imagenet"``: those published under the name, whatever they were trained on, downloaded once;
            a file of them (``.safetensors``, or a state dict by ``torch.save``); None: a random start.

    Raises:
        ValueError: timm is not installed, does not know the name, could not download the weights, or they do not fit.
        FileNotFoundError: no such weights file.
    """
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"arch timm/{name} needs the package timm: pip install 'mprd-pyg[timm]'") from error
    try:
        known = timm.is_model(name) and timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:  # a tag that the model does not have
        known = None
    if not known:
        near = difflib.get_close_matches(name, timm.list_models() + timm.list_pretrained(), n=5, cutoff=0.5)
        raise ValueError(f"timm {timm.__version__} has no model {name!r}; "
                         + (f"nearest: {', '.join(near)}" if near else "timm.list_models() lists them"))
    if weights is None:
        return TimmTrunk(name, timm.create_model(name, pretrained=False))
    if weights != "imagenet":
        return TimmTrunk(name, _with_file(name, Path(weights), known.classifier))
    if not known.has_weights:
        raise ValueError(f"timm publishes no weights of {name}: give a file by --network.weights FILE, or null for a "
                         f"random start")
    try:
        with _quiet_hub():
            return TimmTrunk(name, timm.create_model(name, pretrained=True))
    except Exception as error:  # of the connection, by several libraries
        raise ValueError(f"the weights of timm/{name} could not be downloaded ({' '.join(str(error).split())[:120]}): "
                         f"fetch {_address(known)} elsewhere and give the file by --network.weights FILE") from error


def _with_file(name: str, path: Path, classifier: str | tuple[str, ...] | None) -> nn.Module:
    import timm
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}: give timm's file of {name}, 'imagenet' or null")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("state_dict", "model"):  # of a training's checkpoint
            state = state[key] if isinstance(state.get(key), dict) else state
        first = classifier if isinstance(classifier, str) else (classifier or [""])[0]
        overlay: dict[str, Any] = {"state_dict": state}
        if f"{first}.weight" not in state:
            overlay["num_classes"] = 0  # with as many classes as the file has, timm loads strictly
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay)
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{path} does not hold the weights of timm/{name}: {reason}") from error
    model.pretrained_cfg.pop("state_dict", None)  # it would be kept as long as the model
    return model


def _address(known: Any) -> str:
    """Where the file of the weights is."""
    if known.hf_hub_id:
        from huggingface_hub import hf_hub_url
        return hf_hub_url(known.hf_hub_id, known.hf_hub_filename or "model.safetensors")
    return known.url


@contextmanager
def _quiet_hub():
    """Without the hub's lines on each attempt; the error is told by whoever asked."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
