"""MPRD's training view on whole batches, on any device: the same steps, ranges and roundings as ``training_view``."""
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mprd_pyg.data.views import IMAGENET_MEAN, IMAGENET_STD, VIEW
from mprd_pyg.random_streams import row_uniform

_GREY = (0.2989, 0.587, 0.114)


class BatchedTrainingView:
    """A :class:`~mprd_pyg.data.views.BatchView`: crop, flip, rotation, jitter, (grayscale, blur,) erasing.

    Numbers are drawn for each row from its own stream, so neither batches nor workers matter. They are other numbers
    than :func:`~mprd_pyg.data.views.training_view` draws, from the same distributions; given the same numbers, the
    pictures agree to a grey level or two.

    Args:
        height: H of the images and of the output.
        width: W.
        device: where it is done.
        perturbed: add random grayscale and Gaussian blur.
        min_area: least area of the crop, at height/width between 2 and 3.
        rotation: largest rotation in degrees.
        jitter: brightness, contrast and saturation factor range.
        erasing: probability of erasing 2 to 20 % of the area.
    """

    batched = True

    def __init__(self, height: int, width: int, device: str | torch.device = "cpu", perturbed: bool = False,
                 min_area: float = 0.64, rotation: float = 10.0, jitter: float = 0.2, erasing: float = 0.5):
        self.height, self.width, self.device, self.perturbed = height, width, torch.device(device), perturbed
        self.min_area, self.rotation, self.jitter, self.erasing = min_area, rotation, jitter, erasing
        # for Normalize: x / 255 - mean, over std
        self.mean = 255 * torch.tensor(IMAGENET_MEAN, device=self.device).view(3, 1, 1)
        self.std = 255 * torch.tensor(IMAGENET_STD, device=self.device).view(3, 1, 1)

    def draw(self, rows: Sequence[int] | Tensor, seed: int) -> dict[str, Tensor]:
        """The random numbers of each row, on the CPU, every one (B, ...)."""
        u = row_uniform(seed, rows, VIEW, 54)
        crop = _boxes(u[:, :22], self.height, self.width, (self.min_area, 1.0), (2.0, 3.0), inside=False)
        erase = _boxes(u[:, 22:44], self.height, self.width, (0.02, 0.2), (0.3, 3.3), inside=True)
        jitter = max(0.0, 1 - self.jitter) + (self.jitter + min(1.0, self.jitter)) * u[:, 44:47]
        return {"crop": crop, "flip": u[:, 47] < 0.5, "angle": (2 * u[:, 48] - 1) * self.rotation, "jitter": jitter,
                "order": _ORDERS[(6 * u[:, 49]).long().clamp_max(5)],
                "grey": u[:, 50] < (0.5 if self.perturbed else 0.0),
                "sigma": torch.where(u[:, 51] < 0.5, 0.1 + 1.9 * u[:, 52], 0.0) * self.perturbed,
                "erase": erase * (u[:, 53] < self.erasing)[:, None]}

    def __call__(self, images: Tensor, rows: Sequence[int] | Tensor, seed: int) -> Tensor:
        """uint8 (B, 3, H, W) -> normalised float32 (B, 3, H, W), on the images' device."""
        p = {name: value.to(images.device, torch.float32 if value.is_floating_point() else None, non_blocking=True)
             for name, value in self.draw(rows, seed).items()}
        x = _geometry(images.float(), p["crop"], p["flip"], p["angle"], self.height, self.width)
        if self.jitter:
            x = _jitter(x, p["jitter"], p["order"])
        if self.perturbed:
            x = torch.where(p["grey"][:, None, None, None], _grey(x).floor_(), x)
            x = torch.where(p["sigma"][:, None, None, None] > 0, _blur(x, p["sigma"].clamp_min(0.1)), x)
        x = x.sub_(self.mean).div_(self.std)
        top, left, height, width = p["erase"].T[:, :, None]
        y, z = (torch.arange(n, device=x.device)[None] for n in (self.height, self.width))
        inside = ((y >= top) & (y < top + height))[:, :, None] & ((z >= left) & (z < left + width))[:, None]
        return x.masked_fill_(inside[:, None], 0.0)


_ORDERS = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


def _boxes(u: Tensor, height: int, width: int, area: tuple[float, float], shape: tuple[float, float],
           inside: bool) -> Tensor:
    """(B, 4) top, left, height, width: torchvision's ten attempts at a box of random area and height/width.

    ``inside`` is RandomErasing's rule (strictly smaller than the image, else none), otherwise RandomResizedCrop's
    (else the largest central box of an allowed shape).
    """
    target = height * width * (area[0] + (area[1] - area[0]) * u[:, :10])
    ratio = torch.exp(math.log(shape[0]) + math.log(shape[1] / shape[0]) * u[:, 10:20])
    h, w = (target * ratio).sqrt().round(), (target / ratio).sqrt().round()
    fits = (h < height) & (w < width) if inside else (h > 0) & (h <= height) & (w > 0) & (w <= width)
    first = fits.int().argmax(1, keepdim=True)
    h, w = (side.gather(1, first)[:, 0] for side in (h, w))
    top, left = (u[:, 20] * (height - h + 1)).floor(), (u[:, 21] * (width - w + 1)).floor()
    box = torch.stack([top, left, h, w], 1)
    whole_h, whole_w = min(height, round(width * shape[1])), min(width, round(height / shape[0]))
    fallback = [0, 0, 0, 0] if inside else [(height - whole_h) // 2, (width - whole_w) // 2, whole_h, whole_w]
    return torch.where(fits.any(1, keepdim=True), box, box.new_tensor(fallback)).long()


def _geometry(x: Tensor, crop: Tensor, flip: Tensor, angle: Tensor, height: int, width: int) -> Tensor:
    """Crop, resize (bilinear), flip, rotate (nearest, black outside), in one sampling; values rounded."""
    y, z = torch.meshgrid(torch.arange(height, device=x.device) - height / 2 + 0.5,
                          torch.arange(width, device=x.device) - width / 2 + 0.5, indexing="ij")
    cos, sin = (f(angle * math.pi / 180)[:, None, None] for f in (torch.cos, torch.sin))
    column = (cos * z - sin * y + width / 2 - 0.5).round()      # where the rotated pixel was in the resized crop
    row = (sin * z + cos * y + height / 2 - 0.5).round()
    seen = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column = torch.where(flip[:, None, None], width - 1 - column, column)
    top, left, h, w = (part[:, None, None] for part in crop.float().T)
    row = torch.minimum(((row + 0.5) * h / height - 0.5).clamp_min(0), h - 1) + top
    column = torch.minimum(((column + 0.5) * w / width - 0.5).clamp_min(0), w - 1) + left
    grid = torch.stack([2 * column / max(1, width - 1) - 1, 2 * row / max(1, height - 1) - 1], dim=-1)
    sampled = F.grid_sample(x, grid, "bilinear", "border", align_corners=True)
    return sampled.round_().mul_(seen[:, None])


def _jitter(x: Tensor, factor: Tensor, order: Tensor) -> Tensor:
    """Brightness, contrast and saturation (factors (B, 3)) in each row's own order (B, 3), cut to whole levels."""
    for place in range(3):
        what = order[:, place, None, None, None]
        ratio = factor.gather(1, order[:, place, None])[:, :, None, None]
        grey = _grey(x)
        other = torch.where(what == 0, 0.0, torch.where(what == 1, grey.floor().mean((2, 3), keepdim=True), grey))
        x = x.mul_(ratio).add_(other.mul_(1 - ratio)).clamp_(0, 255).floor_()
    return x


def _grey(x: Tensor) -> Tensor:
    """(B, 1, H, W) luminance."""
    return F.conv2d(x, torch.tensor(_GREY, device=x.device).view(1, 3, 1, 1))


def _blur(x: Tensor, sigma: Tensor) -> Tensor:
    """5 x 5 Gaussian blur with each row's own sigma, mirrored at the border; values rounded."""
    place = torch.arange(-2, 3, device=x.device)
    kernel = torch.softmax(-place.square() / (2 * sigma[:, None] ** 2), dim=1)           # (B, 5)
    batch, channels = x.shape[:2]
    kernel = kernel.repeat_interleave(channels, 0)[:, None, None]                        # (B * C, 1, 1, 5)
    x = F.pad(x, (2, 2, 2, 2), mode="reflect").flatten(0, 1)[None]
    x = F.conv2d(F.conv2d(x, kernel, groups=batch * channels), kernel.mT, groups=batch * channels)
    return x.view(batch, channels, *x.shape[2:]).round()
