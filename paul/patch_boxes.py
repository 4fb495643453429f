"""Where the patches of a PatchNet lie on its images."""
import torch
from torch import Tensor

from paul.patch_generator import EqualStripes, RandomPatches
from paul.patchnet import PatchNet


@torch.no_grad()
def patch_boxes(network: PatchNet, images: Tensor) -> Tensor:
    """Corners of each image's patches, in the network's evaluation mode.

    A cell of the feature map stands for its share of the image: of h rows, row r is centred at (r + 1/2)/h of the
    height. A sampled patch is drawn through the outermost places where the map is read, so that equal stripes of the
    PGN begin half a cell from the border; :class:`EqualStripes` pools whole rows.

    Args:
        network: on the images' device.
        images: (B, 3, H, W) normalised images.

    Returns:
        (B, M, 4, 2) corners x, y as shares of width and height, from the upper left one clockwise as the patch is
        seen; outside [0, 1] where a patch reaches beyond the image.
    """
    training = network.training
    network.eval()
    try:
        features = network.trunk(images)
        height, width = features.shape[2:]
        if isinstance(network.generator, EqualStripes):
            m = torch.arange(network.branches, device=images.device)
            top = torch.div(m * height, network.branches, rounding_mode="floor")
            bottom = -torch.div(-(m + 1) * height, network.branches, rounding_mode="floor")
            y = torch.stack([top, top, bottom, bottom], 1) / height                        # (M, 4)
            x = y.new_tensor([0, 1, 1, 0]).expand_as(y)
            return torch.stack([x, y], 2).expand(len(images), -1, -1, -1)
        theta = (network.generator.place.expand(len(images), -1, -1, -1)
                 if isinstance(network.generator, RandomPatches) else network.generator.theta(features))
    finally:
        network.train(training)
    corner = theta.new_tensor([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
    place = torch.einsum("bmij,cj->bmci", theta, corner)                                    # (B, M, 4, 2) in [-1, 1]
    size = theta.new_tensor([width, height])
    return ((place + 1) / 2 * (size - 1) + 0.5) / size
