"""Where an image's M patches lie on its feature map: learned, equal stripes, or random."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def stripe_theta(patches: int) -> Tensor:
    """Affine transforms (M, 2, 3) that cut a feature map into M equal horizontal stripes.

    In the grid of ``align_corners=True``, -1 and 1 are the centres of the first and the last of h rows.
    Transform m (from 0) keeps the columns and maps the rows' extent [-1, 1] onto [2m/M - 1, 2(m+1)/M - 1]: in
    rows, stripe m is [m, m+1] (h-1)/M, and its i-th of h samples lies at row (m (h-1) + i)/M exactly.
    Neighbouring stripes share their boundary.
    """
    theta = torch.zeros(patches, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = 1, 1 / patches
    theta[:, 1, 2] = (2 * torch.arange(patches) + 1) / patches - 1
    return theta


def sample_patches(x: Tensor, theta: Tensor) -> Tensor:
    """The patches: maps (B, C, h, w) and transforms (B, M, 2, 3) -> (B, M, C, h, w), zero outside the map."""
    batch, patches = theta.shape[:2]
    tiled = x.repeat_interleave(patches, 0)
    grid = F.affine_grid(theta.flatten(0, 1).to(x.dtype), tiled.shape, align_corners=True)
    return F.grid_sample(tiled, grid, align_corners=True).view(batch, patches, *x.shape[1:])


def pooling_weights(theta: Tensor, height: int, width: int) -> Tensor:
    """What each cell of the map weighs in each patch's average: (B, M, 2, 3) -> (B, M, h*w).

    ``sample_patches`` is linear in the map, so its average over a patch is one product with these weights,
    and M maps of all channels need not be made. Differentiable in ``theta`` as ``grid_sample`` is.
    """
    batch, patches = theta.shape[:2]
    grid = F.affine_grid(theta.flatten(0, 1), (batch * patches, 1, height, width), align_corners=True)
    place = (grid.flatten(1, 2) + 1) / 2 * grid.new_tensor([width - 1, height - 1])  # (BM, hw, 2): x, y
    low = place.detach().floor()
    part = place - low
    weights = grid.new_zeros(batch * patches, height * width)
    for right, below in ((0, 0), (1, 0), (0, 1), (1, 1)):  # the four cells around a sample
        column, row = low[..., 0].long() + right, low[..., 1].long() + below
        value = (part[..., 0] if right else 1 - part[..., 0]) * (part[..., 1] if below else 1 - part[..., 1])
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        cell = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
        weights = weights.scatter_add(1, cell, value * inside)
    return weights.view(batch, patches, height * width) / (height * width)


def pool_patches(x: Tensor, theta: Tensor) -> Tensor:
    """The average of each patch: (B, C, h, w) and (B, M, 2, 3) -> (B, M, C)."""
    with torch.autocast(x.device.type, enabled=False):  # places on the map need more than half precision
        weights = pooling_weights(theta.float() if theta.dtype != torch.float64 else theta, *x.shape[2:])
        return weights.to(x.dtype) @ x.flatten(2).transpose(1, 2)


class PatchGenerator(nn.Module):
    """PGN: a localisation network that predicts M affine patches (PAUL, Yang et al., CVPR 2019, Sec. 3.2).

    One 3x3 convolution with BatchNorm, ReLU and max-pooling, then two fully connected layers. The last one's
    weight is 0 and its bias :func:`stripe_theta`, so that training starts from M equal horizontal stripes.

    Args:
        channels: C of the feature map.
        patches: M.
        width: channels of the convolution (unstated in the paper; its released code has 4096, which at
            C = 2048 makes 75 million weights, three times the ResNet-50).
        hidden: width of the first fully connected layer.

    Shapes: (B, C, h, w) -> (B, M, C), each patch averaged.
    """

    def __init__(self, channels: int, patches: int = 6, width: int = 512, hidden: int = 512):
        super().__init__()
        self.localization = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 6 * patches))
        nn.init.kaiming_normal_(self.localization[0].weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.localization[-1].weight)
        with torch.no_grad():
            self.localization[-1].bias.copy_(stripe_theta(patches).flatten())

    def theta(self, x: Tensor) -> Tensor:
        """The affine transforms, (B, M, 2, 3)."""
        return self.localization(x).unflatten(1, (-1, 2, 3))

    def patches(self, x: Tensor) -> Tensor:
        """The sampled patches (B, M, C, h, w), to look at."""
        return sample_patches(x, self.theta(x))

    def forward(self, x: Tensor) -> Tensor:
        """Pool the predicted patches."""
        return pool_patches(x, self.theta(x))


class EqualStripes(nn.Module):
    """"Equally" of Table 4: M horizontal stripes of whole rows.

    Shapes: (B, C, h, w) -> (B, M, C). Raises ValueError when h < M.
    """

    def __init__(self, patches: int = 6):
        super().__init__()
        self.num = patches

    def forward(self, x: Tensor) -> Tensor:
        """Pool the stripes."""
        if x.shape[2] < self.num:
            raise ValueError(f"a feature map of {x.shape[2]} rows cannot be cut into {self.num} stripes: use "
                             f"taller images, fewer patches, or a trunk with a smaller stride")
        return F.adaptive_avg_pool2d(x, (self.num, 1)).squeeze(3).transpose(1, 2)


class RandomPatches(nn.Module):
    """"Randomly" of Table 4: M patches of a stripe's size at random heights.

    The paper does not say how they are drawn. Here every training image gets new ones at each step, and
    evaluation uses those drawn at construction (a buffer), so that a feature does not depend on its batch.

    Shapes: (B, C, h, w) -> (B, M, C).
    """

    def __init__(self, patches: int = 6):
        super().__init__()
        self.num = patches
        self.register_buffer("place", self._draw(1, torch.device("cpu"))[0])

    def _draw(self, batch: int, device: torch.device) -> Tensor:
        theta = stripe_theta(self.num).to(device).repeat(batch, 1, 1, 1)
        theta[..., 1, 2] = (2 * torch.rand(batch, self.num, device=device) - 1) * (1 - 1 / self.num)
        return theta

    def forward(self, x: Tensor) -> Tensor:
        """Pool random patches."""
        theta = self._draw(len(x), x.device) if self.training else self.place.expand(x.shape[0], -1, -1, -1)
        return pool_patches(x, theta)
