"""What every kind of trunk does: layers in order, rates by layer, frozen layers, checkpointed gradients."""
import pytest
import torch
import torchvision
from lightning_fabric import Fabric

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import plain_view
from mprd_pyg.models import ImageEmbedder, layer_groups
from mprd_pyg.training import Learner
from paul import PatchNet

RESNET = {"arch": "resnet18", "last_stage": 2}
KINDS = {"resnet": RESNET, "ViT": {"arch": "timm/test_vit"}, "ConvNeXt": {"arch": "timm/test_convnext"},
         "timm's ResNet": {"arch": "timm/test_resnet"}}
SIZE = (64, 32)


def embedder(kind, **options):
    torch.manual_seed(0)
    network = ImageEmbedder(**KINDS[kind], weights=None, **options)
    network.trunk.set_image_size(*SIZE)
    return network


def images(count=4):
    return torch.randn(count, 3, *SIZE, generator=torch.Generator().manual_seed(1))


def copy_of_state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def backward(network):
    """The gradients of a training step, by name."""
    weight = torch.randn(network.dim, generator=torch.Generator().manual_seed(2))
    (network.train()(images()) @ weight).square().sum().backward()
    return {name: parameter.grad for name, parameter in network.named_parameters()}


def test_a_resnet_is_torchvisions_bit_for_bit_and_keeps_its_names():
    torch.manual_seed(0)
    net = torchvision.models.resnet18()
    torch.manual_seed(0)
    trunk = ImageEmbedder("resnet18", 2, weights=None).trunk
    own = torch.nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2)
    assert torch.equal(trunk(images()), own(images()))
    kept = {name: value for name, value in net.state_dict().items()
            if name.startswith(("conv1.", "bn1.", "layer1.", "layer2."))}
    assert list(kept) == list(trunk.state_dict())
    assert all(torch.equal(value, kept[name]) for name, value in trunk.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_layers_hold_every_parameter_once(kind):
    trunk = embedder(kind).trunk
    listed = [id(parameter) for layer in trunk.layers() for parameter in layer]
    assert len(listed) == len(set(listed)) and set(listed) == {id(parameter) for parameter in trunk.parameters()}


# learning rates with trunk_lr = 0.8 and layer_decay = 0.5, by the beginnings of the parameters' names
RATES = {
    "resnet": {"conv1": 0.05, "bn1": 0.05, "layer1.0": 0.1, "layer1.1": 0.2, "layer2.0": 0.4, "layer2.1": 0.8},
    "ViT": {"model.cls_token": 0.0125, "model.pos_embed": 0.0125, "model.patch_embed": 0.0125,
            "model.blocks.0": 0.025, "model.blocks.1": 0.05, "model.blocks.2": 0.1, "model.blocks.3": 0.2,
            "model.blocks.4": 0.4, "model.blocks.5": 0.8, "model.norm": 0.8}}


@pytest.mark.parametrize("kind", RATES)
def test_rates_by_layer(kind):
    network = embedder(kind)
    learner = learner_of(network, trunk_lr=0.8, new_lr=3.0, layer_decay=0.5)
    groups = learner.optimizer.param_groups
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rate) == len(list(network.parameters()))
    for name, parameter in network.trunk.named_parameters():
        expected, = (value for start, value in RATES[kind].items() if name.startswith(f"{start}.") or name == start)
        assert rate[id(parameter)] == pytest.approx(expected), name
    assert {rate[id(parameter)] for parameter in network.neck.parameters()} == {3.0}
    assert groups[0]["lr"] == 0.8  # the figure that methods report


def learner_of(network, **options):
    store = list(torch.randint(256, (6, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(3)))
    table = TrainImages(store, torch.zeros(6, dtype=torch.long), torch.arange(6) // 2)
    return Learner(Fabric(accelerator="cpu", devices=1), network, table, plain_view(), **options)


def test_equal_rates_are_the_groups_that_older_checkpoints_have():
    for network in (embedder("resnet"), PatchNet(**RESNET, weights=None, patches=2, dim=4, localization_width=4)):
        plain = network.parameter_groups(0.01, 0.1)
        groups = learner_of(network).optimizer.param_groups
        assert [[id(p) for p in group["params"]] for group in groups] == [[id(p) for p in g["params"]] for g in plain]
        assert [id(p) for p in groups[0]["params"]] == [id(p) for p in network.trunk.parameters()]


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_layers_stay_bit_for_bit(kind):
    network = embedder(kind, frozen_layers=2)
    frozen = {id(parameter) for layer in network.trunk.layers()[:2] for parameter in layer}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in frozen}
    owners = {name.rpartition(".")[0] for name in names}
    learner, before = learner_of(network, optimizer="adamw", layer_decay=0.9, weight_decay=0.1), copy_of_state(network)
    learner.embedder.train()
    loss = learner(images(6), torch.arange(6)).square().sum(2).mean() + learner.network.pooled(images()).square().mean()
    learner.step(loss)
    after = network.state_dict()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (name in names)
    for name, value in before.items():
        stays = name in names or ("running" in name and name.rpartition(".")[0] in owners)
        assert torch.equal(value, after[name]) == stays or "num_batches" in name or not bool(value.any()), name
    assert names and not frozen & {id(p) for group in learner.optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("kind", KINDS)
def test_checkpointed_gradients_are_equal(kind):
    plain, saving = embedder(kind), embedder(kind, gradient_checkpointing=True)
    runs = []
    block = next(module for name, module in saving.trunk.named_modules()
                 if name in ("layer1.0", "model.blocks.0", "model.stages.0.blocks.0", "model.layer1.0"))
    block.register_forward_pre_hook(lambda *_: runs.append(1))
    expected, found = backward(plain), backward(saving)
    assert len(runs) == 2  # forward, and again in the backward pass
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-6)
    for name, value in plain.state_dict().items():  # running statistics have seen the batch once
        assert torch.equal(value, saving.state_dict()[name]), name
    with torch.no_grad():
        assert torch.equal(plain.eval()(images()), saving.eval()(images()))


def test_bad_options_are_named():
    for count in (-1, 6):
        with pytest.raises(ValueError, match=f"frozen_layers must be 0 to 5, the layers of this trunk, got {count}"):
            embedder("resnet", frozen_layers=count)
    for decay in (0.0, 1.5):
        with pytest.raises(ValueError, match=f"layer_decay must be above 0 and at most 1, got {decay}"):
            layer_groups(embedder("resnet").trunk, 0.1, decay)
    with pytest.raises(ValueError, match="got 'lion'"):
        learner_of(embedder("resnet"), optimizer="lion")
