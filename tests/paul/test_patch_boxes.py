"""Boxes lie where the patches are read."""
import pytest
import torch

from paul import PatchNet, patch_boxes
from paul.patch_generator import sample_patches


def network(scheme, **options):
    torch.manual_seed(0)
    return PatchNet("resnet18", 2, weights=None, patches=3, dim=4, scheme=scheme, localization_width=4, **options)


def test_equal_stripes_by_hand():
    """A map of 6 x 3 cells: three stripes of two whole rows each."""
    boxes = patch_boxes(network("stripes"), torch.zeros(2, 3, 48, 24))
    assert boxes.shape == (2, 3, 4, 2)
    for m, (top, bottom) in enumerate([(0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1)]):
        corners = torch.tensor([[0, top], [1, top], [1, bottom], [0, bottom]])
        torch.testing.assert_close(boxes[1, m], corners)


def test_stripes_of_an_untrained_pgn_by_hand():
    """Rows are centred at 1/12, 3/12 ... 11/12; stripe m is rows [5m/3, 5(m+1)/3]; columns 1/6 to 5/6."""
    boxes = patch_boxes(network("pgn"), torch.randn(1, 3, 48, 24))[0]
    edges = [(5 * m / 3 + 0.5) / 6 for m in range(4)]
    for m in range(3):
        expected = [[1 / 6, edges[m]], [5 / 6, edges[m]], [5 / 6, edges[m + 1]], [1 / 6, edges[m + 1]]]
        torch.testing.assert_close(boxes[m], torch.tensor(expected))


@pytest.mark.parametrize("scheme", ["pgn", "random"])
def test_corners_are_those_of_the_sampled_patch(scheme):
    """A map that holds its own coordinates, sampled by the network's transforms, has the box's corners at its ends."""
    net, images = network(scheme), torch.randn(2, 3, 48, 24)
    if scheme == "pgn":
        with torch.no_grad():  # turned, moved and sheared, but within the map
            bias = torch.tensor([[0.5, 0.1, 0.1], [-0.05, 0.3, 0.2]]) + 0.05 * torch.randn(3, 2, 3)
            net.generator.localization[-1].bias.copy_(bias.flatten())
    boxes = patch_boxes(net, images)
    net.eval()
    features = net.trunk(images)
    theta = net.generator.theta(features) if scheme == "pgn" else net.generator.place.expand(2, -1, -1, -1)
    y, x = ((torch.arange(n) + 0.5) / n for n in features.shape[2:])
    ramp = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))]).expand(2, -1, -1, -1)
    patches = sample_patches(ramp, theta)                                                   # (B, M, 2, h, w)
    corners = torch.stack([patches[..., 0, 0], patches[..., 0, -1], patches[..., -1, -1], patches[..., -1, 0]], 2)
    torch.testing.assert_close(boxes, corners, atol=1e-5, rtol=0)
    assert net.training is False and network(scheme).training


def test_the_mode_is_put_back():
    net = network("stripes").train()
    patch_boxes(net, torch.zeros(1, 3, 48, 24))
    assert net.training
