"""The surrogate positive of an image, and two views of one image side by side."""
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

from mprd_pyg.data.views import IMAGENET_MEAN, IMAGENET_STD, plain_view


def surrogate_view(height: int, width: int, min_area: float = 0.7, max_area: float = 0.95,
                   rotation: float = 10.0, jitter: float = 0.2) -> v2.Transform:
    """The transformations that make a surrogate positive (PAUL, Yang et al., CVPR 2019, Sec. 4.2).

    Contrast, saturation and brightness from 80 % to 120 %, a rotation by up to 10 degrees, and a crop of 70 %
    to 95 % of the image. The paper's "size" is read as the area, as in its released code; the shape is kept,
    and the result is scaled back to the network's input. There is no flip and no erasing.

    Args:
        height: H of the output.
        width: W of the output.
        min_area: least area of the crop, as a share of the image.
        max_area: largest area of the crop.
        rotation: largest rotation in degrees.
        jitter: brightness, contrast and saturation factor range.
    """
    if not 0 < min_area <= max_area <= 1:
        raise ValueError(f"the crop's area is a share of the image: expected 0 < min_area <= max_area <= 1, "
                         f"got {min_area} and {max_area}")
    shape = width / height
    return v2.Compose([
        v2.ColorJitter(jitter, jitter, jitter),
        v2.RandomRotation(rotation, v2.InterpolationMode.BILINEAR),
        v2.RandomResizedCrop((height, width), (min_area, max_area), (shape, shape), antialias=True),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])


class SideBySide:
    """Several views of one image in one tensor: (3, H, W) -> (V, 3, H, W).

    Args:
        views: transforms, each called on the untouched image.
    """

    def __init__(self, *views: Callable[[Tensor], Tensor]):
        self.views = views

    def __call__(self, image: Tensor) -> Tensor:
        """Make them."""
        return torch.stack([view(image) for view in self.views])


def paul_view(height: int, width: int, with_surrogate: bool = True, **surrogate: float) -> SideBySide:
    """The image as it is and, unless IPFL is left out, its surrogate, by the options of :func:`surrogate_view`."""
    return SideBySide(plain_view(), *([surrogate_view(height, width, **surrogate)] if with_surrogate else []))
