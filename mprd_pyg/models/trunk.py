"""What a network asks of its trunk: the feature map, and its layers in order."""
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Trunk(nn.Module):
    """(B, 3, H, W) images, normalised by ImageNet's statistics -> (B, channels, h, w) feature maps.

    A kind of trunk defines :meth:`feature_map`, :meth:`layers` and :meth:`start_checkpointing`.

    Attributes:
        channels: of the feature map.
        frozen: how many of the first layers are not trained.
    """

    channels: int
    frozen = 0
    checkpointing = False
    _in_forward = False

    def feature_map(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) -> (B, channels, h, w)."""
        raise NotImplementedError

    def layers(self) -> list[list[nn.Parameter]]:
        """All parameters, layer by layer from the image on: the stem, then the blocks."""
        raise NotImplementedError

    def start_checkpointing(self) -> None:
        """Have :meth:`feature_map` keep the activations between blocks only."""
        raise NotImplementedError

    def set_image_size(self, height: int, width: int) -> None:
        """Prepare for images of one size, before weights trained at it are loaded; convolutions take any size."""

    def forward(self, images: Tensor) -> Tensor:
        """The feature map."""
        if not self.checkpointing:
            return self.feature_map(images)
        self._in_forward = True
        try:
            return self.feature_map(images)
        finally:
            self._in_forward = False

    @torch.no_grad()
    def map_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the feature map of an image (H, W).

        Raises:
            ValueError: the trunk cannot take images of this size.
        """
        training = self.training
        self.eval()
        try:
            image = torch.zeros(1, 3, height, width, device=next(self.parameters()).device)
            return tuple(self(image).shape[2:])
        except (AssertionError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"the trunk cannot take images of {height} x {width} ({reason}): set --data.height and "
                             f"--data.width to a size that it takes") from error
        finally:
            self.train(training)

    def freeze(self, count: int) -> None:
        """Train neither the first ``count`` layers nor their BatchNorm statistics."""
        layers = self.layers() if count else []
        if not 0 <= count <= len(layers):
            raise ValueError(f"frozen_layers must be 0 to {len(self.layers())}, the layers of this trunk, got {count}")
        self.frozen = count
        for parameter in chain(*layers[:count]):
            parameter.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Trunk":
        """Set the mode; the BatchNorms of frozen layers stay in evaluation mode."""
        super().train(mode)
        if self.frozen:
            for norm in self._batch_norms():
                if norm.weight is not None and not norm.weight.requires_grad:
                    norm.eval()
        return self

    def checkpoint_gradients(self) -> None:
        """Compute the activations inside blocks again in the backward pass: less memory, more time."""
        self.start_checkpointing()
        self.checkpointing = True
        for norm in self._batch_norms():
            norm.register_forward_pre_hook(partial(self._count_once, norm.momentum))

    def _count_once(self, momentum: float | None, norm: _BatchNorm, _: tuple) -> None:
        # Running statistics see a batch once: not again in the backward pass, which is outside of forward. There is
        # no hook after the norm to put things back, for the backward pass may leave it half-way.
        norm.momentum = momentum if self._in_forward else 0.0
        if norm.training and not self._in_forward:
            norm.num_batches_tracked.sub_(1)

    def _batch_norms(self) -> list[_BatchNorm]:
        return [module for module in self.modules() if isinstance(module, _BatchNorm)]


def layer_groups(trunk: Trunk, lr: float, decay: float) -> list[dict]:
    """Optimiser groups of the trained layers, the last layer first: its rate is ``lr``, that of layer l of L
    lr * decay^(L - l) (Clark et al., ICLR 2020; Bao et al., BEiT, ICLR 2022)."""
    if not 0 < decay <= 1:
        raise ValueError(f"layer_decay must be above 0 and at most 1, got {decay}")
    trained = [[p for p in layer if p.requires_grad] for layer in reversed(trunk.layers())]
    return [{"params": layer, "lr": lr * decay ** depth} for depth, layer in enumerate(trained) if layer]
