"""Trunks and the image embedder."""
import pytest
import torch
import torch.nn.functional as F

from mprd_pyg.models import ImageEmbedder, StripePool, build_trunk


@pytest.mark.parametrize(("arch", "stage", "channels", "stride"), [
    ("resnet18", 3, 256, 16), ("resnet18", 4, 512, 16), ("resnet18", 2, 128, 8), ("resnet50", 4, 2048, 16)])
def test_trunk_shapes(arch, stage, channels, stride):
    trunk = build_trunk(arch, stage, weights=None)
    assert trunk.channels == channels
    assert trunk(torch.zeros(1, 3, 64, 32)).shape == (1, channels, 64 // stride, 32 // stride)


def test_trunk_weights_from_a_file(tmp_path):
    import torchvision
    whole = torchvision.models.resnet18()
    state = {k: v for k, v in whole.state_dict().items() if not k.startswith(("layer4", "fc"))}
    torch.save(state, tmp_path / "stem_to_layer3.pth")
    trunk = build_trunk("resnet18", 3, weights=str(tmp_path / "stem_to_layer3.pth"))
    assert torch.equal(trunk.layer3[1].conv2.weight, whole.layer3[1].conv2.weight)
    with pytest.raises(ValueError, match="keys are missing"):
        build_trunk("resnet18", 4, weights=str(tmp_path / "stem_to_layer3.pth"))
    with pytest.raises(ValueError, match="not a state dict"):
        build_trunk("resnet50", 3, weights=str(tmp_path / "stem_to_layer3.pth"))
    (tmp_path / "damaged.pth").write_bytes(b"\x80\x02cos\nsystem\n.")
    with pytest.raises(ValueError, match="damaged.pth is not .*: it is damaged, or holds more than tensors$"):
        build_trunk("resnet18", 3, weights=str(tmp_path / "damaged.pth"))
    with pytest.raises(FileNotFoundError, match="no weights file"):
        build_trunk("resnet18", 3, weights=str(tmp_path / "none.pth"))


def test_features_are_the_paper_s():
    """L2(BN(pool5)), or L2(pool5) at test time."""
    torch.manual_seed(0)
    net = ImageEmbedder("resnet18", 3, weights=None).eval()
    images = torch.randn(3, 3, 64, 32)
    pooled = net.trunk(images).mean((2, 3))
    net.calibrate_neck(torch.ones(256), torch.full((256,), 2.0))
    bn = (pooled - net.neck.running_mean) / (net.neck.running_var + net.neck.eps).sqrt()
    assert net(images).shape == (3, 1, 256)
    torch.testing.assert_close(net(images)[:, 0], F.normalize(bn, dim=1), atol=1e-5, rtol=1e-4)
    net.test_feature = "pool"
    torch.testing.assert_close(net(images)[:, 0], F.normalize(pooled, dim=1), atol=1e-5, rtol=1e-4)
    net.train()  # the loss always reads BN(pool5)
    bn = net.neck(net.pooled(images))
    torch.testing.assert_close(net(images)[:, 0], F.normalize(bn, dim=1), atol=1e-3, rtol=1e-2)


def test_stripes_and_centre_weight_by_hand():
    x = torch.arange(12.0).reshape(1, 1, 4, 3)
    assert StripePool()(x).tolist() == [[5.5]]
    assert StripePool(2)(x).tolist() == [[2.5, 8.5]]
    # columns weigh 1, 3, 1 before scaling to a mean of 1: 0.6, 1.8, 0.6
    assert StripePool(1, center_weight=2.0)(torch.tensor([[[[1.0, 10.0, 4.0]]]])).item() == pytest.approx(
        (0.6 * 1 + 1.8 * 10 + 0.6 * 4) / 3)
    with pytest.raises(ValueError, match="cut into 6 stripes"):
        StripePool(6)(x)


def test_parameter_groups_cover_everything_once():
    net = ImageEmbedder("resnet18", 3, weights=None)
    groups = net.parameter_groups(0.01, 0.1)
    assert [group["lr"] for group in groups] == [0.01, 0.1]
    assert sum(p.numel() for g in groups for p in g["params"]) == sum(p.numel() for p in net.parameters())
    assert {id(p) for p in groups[1]["params"]} == {id(p) for p in net.neck.parameters()}


def test_bad_options_are_named():
    for wrong, match in ((dict(arch="vgg"), "arch"), (dict(last_stage=5), "last_stage"),
                         (dict(test_feature="x"), "test_feature"), (dict(stripes=0), "stripes")):
        with pytest.raises(ValueError, match=match):
            ImageEmbedder(**{"arch": "resnet18", "weights": None} | wrong)
