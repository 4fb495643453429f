"""Patch generation and PatchNet."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.training.checkpoint import load_weights
from paul import PatchNet
from paul.patch_generator import (
    PatchGenerator,
    RandomPatches,
    pool_patches,
    pooling_weights,
    sample_patches,
    stripe_theta,
)


def small_net(**options):
    torch.manual_seed(0)
    return PatchNet("resnet18", 2, weights=None, **{"dim": 8, "localization_width": 4, **options})


@pytest.mark.parametrize("scheme", ["pgn", "stripes", "random"])
@pytest.mark.parametrize("patches", [4, 6, 8])
def test_shapes(scheme, patches):
    net = small_net(scheme=scheme, patches=patches)
    images = torch.randn(3, 3, 64, 24)
    assert (net.branches, net.dim, net.trunk.channels) == (patches, 8, 128)
    for mode in (True, False):
        x = net.train(mode)(images)
        assert x.shape == (3, patches, 8)
        torch.testing.assert_close(x.norm(dim=2), torch.ones(3, patches))
    net.normalize_branches = False
    raw = net(images)
    torch.testing.assert_close(F.normalize(raw, dim=2), x)
    assert (raw.norm(dim=2) - 1).abs().max() > 1e-3


def test_the_defaults_are_the_paper_s():
    net = PatchNet("resnet18", weights=None)
    assert (net.branches, net.dim, net.scheme, net.normalize_branches) == (6, 256, "pgn", True)


@pytest.mark.parametrize("patches", [1, 4, 6, 8])
@pytest.mark.parametrize("height", [1, 5, 6, 24])
def test_the_initial_patches_are_equal_stripes(patches, height):
    """With align_corners, sample i of stripe m is row (m (h-1) + i) / M: M equal parts of the rows [0, h-1]."""
    torch.manual_seed(1)
    generator = PatchGenerator(2, patches, width=4).eval()
    rows = torch.arange(float(height)).view(1, 1, -1, 1).expand(3, -1, -1, 4)
    columns = torch.arange(4.0).view(1, 1, 1, -1).expand(3, -1, height, -1)
    x = torch.cat([rows, columns], dim=1)
    x = x + torch.randn_like(x) * 0  # the bias alone decides, whatever the map holds
    assert torch.equal(generator.theta(torch.randn(3, 2, height, 4)), generator.theta(x))
    m, i = torch.arange(patches).view(-1, 1, 1), torch.arange(height).view(1, -1, 1)
    row = ((m * (height - 1) + i) / patches).expand(-1, -1, 4)
    if height == 1:
        row = torch.zeros_like(row)
    got = generator.patches(x)
    torch.testing.assert_close(got[:, :, 0], row.expand(3, -1, -1, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(got[:, :, 1], torch.arange(4.0).expand(3, patches, height, -1), atol=1e-5, rtol=0)
    # stripe m is rows [m, m+1] (h-1)/M, and its mean the middle row
    if height > 1:
        edge = torch.arange(patches + 1) * (height - 1) / patches
        torch.testing.assert_close(got[0, :, 0, 0, 0], edge[:-1], atol=1e-5, rtol=0)
        torch.testing.assert_close(got[0, :, 0, -1, 0], edge[1:], atol=1e-5, rtol=0)
        middle = (edge[:-1] + edge[1:]) / 2
        torch.testing.assert_close(generator(x)[0, :, 0], middle, atol=1e-5, rtol=0)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.integers(0, 10_000))
@settings(deadline=None, max_examples=30)
def test_pooling_weights_are_the_average_of_grid_sample(height, width, patches, seed):
    """Any affine patch, also one that is rotated or reaches outside the map, and all gradients."""
    generator = torch.Generator().manual_seed(seed)
    theta = torch.randn(2, patches, 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.randn(2, 3, height, width, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, patches, 3, generator=generator, dtype=torch.float64)
    got, expected = pool_patches(x, theta), sample_patches(x, theta).mean((3, 4))
    torch.testing.assert_close(got, expected)
    for ours, theirs in zip(*(torch.autograd.grad((value * weight).sum(), (x, theta)) for value in (got, expected)),
                            strict=True):
        torch.testing.assert_close(ours, theirs)


def test_stripes_are_whole_rows():
    net = small_net(scheme="stripes", patches=3)
    x = torch.arange(6.0).view(1, 1, 6, 1).expand(1, 2, 6, 4)
    assert net.generator(x).tolist() == [[[0.5, 0.5], [2.5, 2.5], [4.5, 4.5]]]
    with pytest.raises(ValueError, match="map of 2 rows cannot be cut into 3 stripes"):
        net(torch.zeros(2, 3, 16, 16))


def test_random_patches_are_new_in_training_and_fixed_in_evaluation():
    torch.manual_seed(3)
    generator = RandomPatches(4)
    x = torch.arange(13.0).view(1, 1, 13, 1).expand(50, 1, 13, 3)
    first, second = generator(x), generator(x)
    assert not torch.equal(first, second) and first[:, 0].unique().numel() > 40
    assert first.min() >= 1.5 - 1e-5 and first.max() <= 10.5 + 1e-5  # a stripe's height, inside the map
    assert first.min() < 2 and first.max() > 10
    generator.eval()
    assert torch.equal(generator(x), generator(x)) and torch.equal(generator(x)[:2], generator(x[:2]))
    assert generator(x)[0].unique().numel() == 4


def test_a_frozen_pgn_stays_bit_identical():
    torch.manual_seed(2)
    net = small_net()
    images = torch.randn(6, 3, 32, 16)

    def steps():
        optimizer = torch.optim.SGD(net.parameter_groups(0.1, 0.1), momentum=0.9, weight_decay=0.1)
        net.train()
        for _ in range(2):
            optimizer.zero_grad()
            net(images).pow(3).sum().backward()
            optimizer.step()

    def pgn():
        return {name: value.clone() for name, value in net.generator.state_dict().items()}

    start = pgn()
    steps()
    moved = pgn()
    assert not torch.equal(moved["localization.8.weight"], start["localization.8.weight"])
    assert not torch.equal(moved["localization.1.running_mean"], start["localization.1.running_mean"])
    trunk = net.trunk.conv1.weight.clone()
    net.freeze_patches()
    steps()
    assert net.training and not net.generator.training and net.neck.training
    assert all(torch.equal(value, moved[name]) for name, value in pgn().items())
    assert not torch.equal(trunk, net.trunk.conv1.weight)


def test_parameter_groups_cover_everything_once():
    net = small_net()
    groups = net.parameter_groups(0.1, 0.2)
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.2, 0.0002])
    given = [p for group in groups for p in group["params"]]
    assert len(given) == len({id(p) for p in given}) == len(list(net.parameters()))
    net.freeze_patches()
    left = {id(p) for group in net.parameter_groups(0.1, 0.2) for p in group["params"]}
    assert left == {id(p) for p in net.parameters()} - {id(p) for p in net.generator.parameters()}


def test_branches_are_apart():
    """A branch's 1x1 convolution and BatchNorm see its own patch only."""
    net = small_net(scheme="stripes", patches=3, normalize_branches=False).train()
    pooled = torch.randn(5, 3, 128)
    x = torch.stack([F.batch_norm(pooled[:, m] @ net.embedding[m], None, None, training=True) for m in range(3)], 1)
    net.trunk, net.generator = torch.nn.Identity(), torch.nn.Identity()
    torch.testing.assert_close(net(pooled), x, atol=1e-5, rtol=1e-5)


def test_other_weights_are_refused():
    state = small_net(patches=4).state_dict()
    with pytest.raises(ValueError, match="the source checkpoint is of another model"):
        load_weights(small_net(patches=6), state, "the source checkpoint")
    for options in ({"scheme": "grid"}, {"patches": 0}, {"dim": 0}, {"localization_width": 0}):
        with pytest.raises(ValueError, match="must be"):
            small_net(**options)


def test_weights_of_a_whole_map_sum_to_one():
    weights = pooling_weights(stripe_theta(1).unsqueeze(0), 4, 3)
    torch.testing.assert_close(weights, torch.full((1, 1, 12), 1 / 12))


def test_the_pgn_has_its_own_learning_rate_until_it_is_frozen():
    network = PatchNet("resnet18", 1, weights=None, patches=3, dim=4, localization_width=4)
    trunk, new, generator = network.parameter_groups(0.01, 0.1)
    assert (trunk["lr"], new["lr"], generator["lr"]) == (0.01, 0.1, pytest.approx(0.0001))
    assert {id(p) for p in generator["params"]} == {id(p) for p in network.generator.parameters()}
    assert sum(len(group["params"]) for group in (trunk, new, generator)) == len(list(network.parameters()))
    network.freeze_patches()
    assert len(network.parameter_groups(0.01, 0.1)) == 2


def furthest_move(**options):
    """How far any entry of theta (the map spans -1 to 1) goes in some steps of pre-training on noise."""
    torch.manual_seed(0)
    network = PatchNet("resnet18", 2, weights=None, patches=3, dim=8, localization_width=8, **options)
    optimizer = torch.optim.SGD(network.parameter_groups(0.01, 0.02), momentum=0.9, nesterov=True)
    images, label, classifier = torch.randn(12, 3, 48, 24), torch.arange(12) % 4, torch.randn(3, 4, 8)
    for _ in range(8):
        logit = 16 * torch.einsum("bmd,mcd->bmc", network(images), classifier)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logit.flatten(0, 1), label.repeat_interleave(3)).backward()
        optimizer.step()
    return float((network.generator.theta(network.trunk(images)) - stripe_theta(3)).detach().abs().max())


def test_patches_stay_on_the_map_while_they_are_learned():
    assert 0 < furthest_move() < 0.5
    assert furthest_move(localization_lr=1.0) > 2  # what the default is there to prevent
