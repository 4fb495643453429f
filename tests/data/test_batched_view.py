"""The batched view against torchvision: same pictures for the same numbers, numbers of the same distributions."""
import pytest
import torch
from scipy.stats import ks_2samp
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as vision

from mprd_pyg.data.batched_view import BatchedTrainingView
from mprd_pyg.data.styles.colour_statistics import CameraStatistics
from mprd_pyg.data.styles.random_style import StatisticsStyle
from mprd_pyg.data.views import SeededViews, StyledView, load, plain_view

H, W = 48, 24


def photos(n, height=H, width=W):
    """Smooth pictures: noise would make every half-pixel tie of the rotation a large difference."""
    small = torch.rand(n, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    return (vision.resize(small, [height, width], antialias=True) * 255).to(torch.uint8)


def by_torchvision(image, p, i):
    """One image through torchvision's own functions with the numbers of row i."""
    top, left, height, width = p["crop"][i].tolist()
    x = vision.resized_crop(image, top, left, height, width, [H, W], antialias=True)
    x = vision.horizontal_flip(x) if p["flip"][i] else x
    x = vision.rotate(x, float(p["angle"][i]))
    change = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation)
    for what in p["order"][i].tolist():
        x = change[what](x, float(p["jitter"][i, what]))
    if p["grey"][i]:
        x = vision.rgb_to_grayscale(x, 3)
    if p["sigma"][i] > 0:
        x = vision.gaussian_blur(x, [5, 5], [float(p["sigma"][i])] * 2)
    top, left, height, width = p["erase"][i].tolist()
    x = plain_view()(x)
    return vision.erase(x, top, left, height, width, torch.zeros(1)) if height else x


@pytest.mark.parametrize("perturbed", [False, True])
def test_the_pictures_are_torchvisions(perturbed):
    view, images = BatchedTrainingView(H, W, perturbed=perturbed), photos(40)
    p = view.draw(range(40), 3)
    assert p["grey"].any() == (p["sigma"] > 0).any() == perturbed and (p["erase"][:, 2] > 0).any()
    found = view(images, range(40), 3)
    expected = torch.stack([by_torchvision(images[i], p, i) for i in range(40)])
    level = 1 / 255 / 0.229
    apart = (found - expected).abs()
    # jitter cuts to whole levels three times; at the rim of the rotated picture ties of half a pixel may differ
    assert float((apart > 3.5 * level).float().mean()) < 0.01 and float(apart.mean()) < level


def test_the_numbers_have_torchvisions_distributions():
    count = 1000
    p = BatchedTrainingView(H, W, perturbed=True).draw(range(count), 0)
    torch.manual_seed(0)
    image = [torch.zeros(3, H, W)]
    crops = [v2.RandomResizedCrop((H, W), scale=(0.64, 1.0), ratio=(1 / 3, 1 / 2)).make_params(image)
             for _ in range(count)]
    erase = [v2.RandomErasing(1.0, scale=(0.02, 0.2)).make_params(image) for _ in range(count)]
    jitter = [v2.ColorJitter(0.2, 0.2, 0.2).make_params(image) for _ in range(count)]
    pairs = [(p["crop"][:, place], [crop[name] for crop in crops])
             for place, name in enumerate(("top", "left", "height", "width"))]
    drawn = p["erase"][p["erase"][:, 2] > 0]
    pairs += [(drawn[:, place], [box[name] for box in erase]) for place, name in enumerate("ijhw")]
    pairs += [(p["jitter"][:, place], [factors[name] for factors in jitter])
              for place, name in enumerate(("brightness_factor", "contrast_factor", "saturation_factor"))]
    pairs.append((p["angle"], [v2.RandomRotation(10).make_params(image)["angle"] for _ in range(count)]))
    pairs.append((p["sigma"][p["sigma"] > 0], [v2.GaussianBlur(5, (0.1, 2.0)).make_params(image)["sigma"][0]
                                               for _ in range(count)]))
    for ours, theirs in pairs:
        assert ks_2samp(ours.numpy(), torch.tensor(theirs).numpy()).pvalue > 1e-4
    for name, share in (("flip", p["flip"]), ("grey", p["grey"]), ("blur", p["sigma"] > 0),
                        ("erase", p["erase"][:, 2] > 0)):
        assert abs(float(share.float().mean()) - 0.5) < 0.06, name
    orders, times = p["order"].unique(dim=0, return_counts=True)
    assert len(orders) == 6 and times.min() > 115


def test_wide_pictures_take_the_largest_central_crop():
    view = BatchedTrainingView(24, 48)       # no box of height/width 2 to 3 has 64 % of it
    assert view.draw([0, 1], 0)["crop"].tolist() == [[0, 18, 24, 12]] * 2
    crop = v2.RandomResizedCrop(1, scale=(0.64, 1.0), ratio=(1 / 3, 1 / 2)).make_params([torch.zeros(3, 24, 48)])
    assert [crop[name] for name in ("top", "left", "height", "width")] == [0, 18, 24, 12]


def test_a_rows_view_depends_on_seed_and_row_only():
    images = photos(12)
    style = StatisticsStyle(CameraStatistics.estimate(images, torch.arange(12) % 3), torch.arange(12) % 3)
    for view in (BatchedTrainingView(H, W, perturbed=True), StyledView(BatchedTrainingView(H, W), style)):
        views = SeededViews(list(images), view, seed=4)
        whole = next(load(views, [list(range(12))]))[0]
        assert whole.dtype == torch.float32 and whole.shape == (12, 3, H, W)
        for workers in (0, 2):
            part, rows = next(load(views, [[7, 3, 11]], workers))
            assert rows.tolist() == [7, 3, 11]
            torch.testing.assert_close(part, whole[[7, 3, 11]], rtol=0, atol=1e-5)
        torch.testing.assert_close(views[5][0], whole[5], rtol=0, atol=1e-5)
        assert not torch.equal(next(load(SeededViews(list(images), view, seed=5), [[0, 1]]))[0], whole[:2])
