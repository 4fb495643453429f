"""Trunks of timm: the same map by every path, the model's own normalisation, weights from a file, clear refusals."""
import sys

import huggingface_hub
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from mprd_pyg.data.views import plain_view
from mprd_pyg.models import ImageEmbedder, StripePool, build_trunk
from mprd_pyg.models.timm_trunk import TimmTrunk
from paul import PatchNet

SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2}
# name -> options that make it small, an image size, the size of its map
MODELS = {
    "test_vit": ({}, (64, 32), (4, 2)),
    "vit_small_patch14_dinov2.lvd142m": (SMALL, (56, 28), (4, 2)),
    "vit_small_patch14_reg4_dinov2.lvd142m": (SMALL, (56, 28), (4, 2)),
    "vit_base_patch16_clip_224.openai": (SMALL, (64, 32), (4, 2)),
    "swin_tiny_patch4_window7_224": ({"embed_dim": 24, "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 2)},
                                     (64, 32), (2, 1)),
    "test_convnext": ({}, (64, 32), (2, 1)),
    "test_efficientnet": ({}, (64, 32), (2, 1)),
}


def model_of(name):
    torch.manual_seed(0)
    return timm.create_model(name, pretrained=False, **MODELS[name][0])


def trunk_of(name):
    trunk = TimmTrunk(name, model_of(name))
    trunk.set_image_size(*MODELS[name][1])
    return trunk.eval()


def images(size, count=3):
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
def test_the_map_is_the_models_own_features(name):
    """Tokens (B, N, C) without prefix, row by row; (B, H, W, C) permuted; (B, C, H, W) as it is."""
    trunk, (_, size, grid) = trunk_of(name), MODELS[name]
    x = images(size)
    with torch.no_grad():
        found, own = trunk(x), trunk.model.forward_features(x * trunk.scale + trunk.shift)
    assert found.shape == (3, trunk.channels, *grid) and trunk.map_size(*size) == grid
    if own.dim() == 3:
        own = own[:, trunk.model.num_prefix_tokens:]
        torch.testing.assert_close(StripePool()(found), own.mean(1))
        upper = own[:, :own.shape[1] // 2].mean(1)
        torch.testing.assert_close(StripePool(2)(found)[:, ::2], upper)
        own = own.unflatten(1, grid).permute(0, 3, 1, 2)
    elif own.shape[3] == trunk.channels and own.shape[1] != trunk.channels:
        own = own.permute(0, 3, 1, 2)
    if name != "test_efficientnet":  # whose own features are a further 1 x 1 convolution of the map
        torch.testing.assert_close(found, own)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_is_used(name):
    trunk = trunk_of(name)
    trunk(images(MODELS[name][1])).square().sum().backward()
    assert not [key for key, parameter in trunk.named_parameters() if parameter.grad is None]


@pytest.mark.parametrize("name", ["test_vit", "vit_base_patch16_clip_224.openai", "vit_small_patch14_dinov2.lvd142m"])
def test_pixels_are_normalised_by_the_models_configuration(name):
    trunk, size = trunk_of(name), MODELS[name][1]
    pixels = torch.randint(256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    cfg = timm.models.get_pretrained_cfg(name)
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (cfg.mean, cfg.std))
    with torch.no_grad():
        own = trunk.model.forward_features(((pixels / 255 - mean) / std)[None])[0, trunk.model.num_prefix_tokens:]
        found = trunk(plain_view()(pixels)[None])[0]
    torch.testing.assert_close(found.flatten(1).T, own, rtol=1e-4, atol=1e-5)
    assert trunk.renormalise == ("dinov2" not in name)


def test_positions_are_resampled_to_the_images_size():
    """DINOv2's grid of 37 x 37 becomes the images'; what was resampled is timm's."""
    trunk, whole = TimmTrunk("dino", model_of("vit_small_patch14_dinov2.lvd142m")), model_of(
        "vit_small_patch14_dinov2.lvd142m")
    trunk.freeze(1)
    trunk.set_image_size(252, 126)
    expected = timm.layers.resample_abs_pos_embed(whole.pos_embed, new_size=(18, 9), old_size=(37, 37))
    torch.testing.assert_close(trunk.model.pos_embed, expected)
    assert trunk.map_size(252, 126) == (18, 9) and not trunk.model.pos_embed.requires_grad


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("with_head", [True, False])
def test_weights_from_a_file(tmp_path, suffix, with_head):
    model = model_of("test_vit")
    state = {key: value for key, value in model.state_dict().items() if with_head or not key.startswith("head.")}
    path = tmp_path / f"model.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save({"state_dict": state}, path)
    trunk = build_trunk("timm/test_vit", weights=str(path))
    assert all(torch.equal(value, state[key.removeprefix("model.")]) for key, value in trunk.state_dict().items())
    assert "state_dict" not in trunk.model.pretrained_cfg

    state.pop("norm.weight")
    torch.save(state, tmp_path / "less.pth")
    for wrong, reason in ((tmp_path / "less.pth", "norm.weight"), (__file__, "")):
        with pytest.raises(ValueError, match=f"does not hold the weights of timm/test_vit: .*{reason}") as error:
            build_trunk("timm/test_vit", weights=str(wrong))
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="does not hold the weights of timm/test_convnext"):
        build_trunk("timm/test_convnext", weights=str(path))
    with pytest.raises(FileNotFoundError, match="no weights file .*none.pth: give timm's file of test_vit"):
        build_trunk("timm/test_vit", weights=str(tmp_path / "none.pth"))


def test_a_missing_download_names_the_file(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"the weights of timm/test_vit could not be downloaded \(.*\): fetch "
                       r"\S+/timm/test_vit.r160_in1k/\S+/model.safetensors elsewhere and give the file by "
                       "--network.weights FILE") as error:
        build_trunk("timm/test_vit")
    assert "\n" not in str(error.value) and not caplog.records
    with pytest.raises(ValueError, match="timm publishes no weights of test_vit4: give a file by --network.weights"):
        build_trunk("timm/test_vit4")


def test_names_that_timm_does_not_know(monkeypatch):
    for name, nearest in (("vit_small_patch14_dinov22", "vit_small_patch14_dinov2"), ("convnext_tini", "convnext_tiny"),
                          ("test_vit.r160_in2k", "test_vit.r160_in1k")):
        with pytest.raises(ValueError, match=f"has no model '{name}'; nearest: .*{nearest}"):
            build_trunk(f"timm/{name}", weights=None)
    with pytest.raises(ValueError, match=r"has no model 'qqqqq'; timm.list_models\(\) lists them"):
        build_trunk("timm/qqqqq", weights=None)
    with pytest.raises(ValueError, match="resnet152, or timm/NAME with a model of timm's, got 'vit'"):
        build_trunk("vit", weights=None)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"timm/test_vit needs the package timm: pip install 'mprd-pyg\[timm\]'"):
        build_trunk("timm/test_vit", weights=None)


def test_image_sizes_that_do_not_fit():
    trunk = build_trunk("timm/vit_tiny_patch16_224", weights=None)
    with pytest.raises(ValueError, match="images of 250 x 120 are no whole number of the 16 x 16 patches of "
                       "timm/vit_tiny_patch16_224: set --data.height 256 --data.width 128"):
        trunk.set_image_size(250, 120)
    trunk.set_image_size(64, 32)
    with pytest.raises(ValueError, match="was made for images of 64 x 32, got 32 x 32"):
        trunk(images((32, 32)))
    fixed = build_trunk("timm/test_maxvit", weights=None)  # windows that need 224 x 224, or what they divide
    with pytest.raises(ValueError, match="cannot take images of 72 x 40"):
        fixed.set_image_size(72, 40)
        fixed.map_size(72, 40)


def test_networks_of_stripes_and_of_patches_on_tokens():
    torch.manual_seed(0)
    x = images((64, 32))
    stripes = ImageEmbedder("timm/test_vit", weights=None, stripes=2, center_weight=1.0)
    patches = PatchNet("timm/test_vit", weights=None, patches=3, dim=4, localization_width=4)
    for network in (stripes, patches):
        network.trunk.set_image_size(64, 32)
    with torch.no_grad():
        assert stripes(x).shape == (3, 1, 2 * 64)
        tokens = stripes.trunk.model.forward_features(x * stripes.trunk.scale + stripes.trunk.shift)[:, 1:]
        rows = tokens.unflatten(1, (4, 2)).mean(2)  # two columns weigh the same
        by_hand = torch.stack([(rows[:, 0] + rows[:, 1]) / 2, (rows[:, 2] + rows[:, 3]) / 2], 2).flatten(1)
        torch.testing.assert_close(stripes.pooled(x), by_hand)
        assert patches(x).shape == (3, 3, 4)
        torch.testing.assert_close(patches(x).norm(dim=2), torch.ones(3, 3))
        assert F.cosine_similarity(patches(x)[:, 0], patches(x)[:, 2]).max() < 0.999
