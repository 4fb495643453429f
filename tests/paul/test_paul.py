"""PAUL on tiny images: Eq. 1 and 4 in one step, Table 3's rows, other relations, and exact resumption."""
import os
import signal

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import SeededViews, plain_view
from mprd_pyg.graph import KNNGraph
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.models import ImageEmbedder
from mprd_pyg.models.embedding import embed_in_training_mode
from mprd_pyg.random_streams import stream_seed
from mprd_pyg.relations import MPLP, SameIdentity, SimilarityThreshold, Singletons
from mprd_pyg.training import Learner, MemoryGraph, PairBook, Stopped, Trainer
from mprd_pyg.training.checkpoint import load_parts
from paul import IPFL, LEARNER, PAUL, FrozenProjection, PatchNet, Pedal
from paul.surrogate_view import SideBySide, paul_view, surrogate_view

SIZE, COUNT = (48, 24), 12
PERSON, CAMERA = torch.arange(COUNT) // 3, torch.arange(COUNT) % 2


def images():
    """Three people per colour, in noise."""
    generator = torch.Generator().manual_seed(0)
    colour = torch.randint(256, (4, 3, 1, 1), generator=generator)
    noise = torch.randint(-40, 41, (COUNT, 3, *SIZE), generator=generator)
    return list((colour[PERSON] + noise).clamp(0, 255).to(torch.uint8))


def method(embedder=None, k=2, person=PERSON, camera_centered=False, listeners=(), learner=None, **options):
    torch.manual_seed(1)
    embedder = embedder or PatchNet("resnet18", 2, weights=None, patches=3, dim=8, localization_width=4)
    table = TrainImages(images(), CAMERA, person)
    view = paul_view(*SIZE, with_surrogate=options.get("ipfl_weight", 1.0) > 0)
    learner = Learner(Fabric(accelerator="cpu", devices=1), embedder, table, view,
                      **LEARNER | {"batch_size": 6, "trunk_lr": 0.01, "new_lr": 0.01} | (learner or {}))
    memory = FeatureMemory(COUNT, embedder.dim, embedder.branches, normalize=False)
    connect = MemoryGraph(memory, KNNGraph(k=k, metric="l2"), table, camera_centered)
    pairs = PairBook(table, embedder.branches, listeners)
    return PAUL(learner, connect, pairs=pairs, **{"ipfl": IPFL(r=1), "epochs": 1, **options})


def first_batch(paul, epoch=1):
    paul.prepare()
    phase = next(paul.phases(epoch))
    return phase, next(iter(phase.batches(0)))


def test_one_step_is_equations_1_to_4():
    paul = method()
    phase, (views, rows) = first_batch(paul)
    assert views.shape == (6, 2, 3, *SIZE) and phase.num_steps == 2
    before, network = paul.memory.bank.clone(), paul.learner.network
    state = {name: value.clone() for name, value in network.state_dict().items()}
    x = network(torch.cat([views[:, 0], views[:, 1]])).detach()
    network.load_state_dict(state)  # the forward pass moved the BatchNorm statistics
    figures = phase.step((views, rows))
    # Eq. 1, real images only
    expected = before.clone()
    expected[:, rows] = 0.9 * before[:, rows] + 0.1 * x[:6].transpose(0, 1)
    torch.testing.assert_close(paul.memory.bank, expected, atol=1e-5, rtol=1e-4)
    assert (paul.memory.bank[:, rows].norm(dim=2) < 1 - 1e-6).all()  # never re-normalised
    # Eq. 2 on the k nearest of the updated memory, Eq. 3 on concatenated features, Eq. 4
    pedal = Pedal(30.0, k=2)(x[:6], expected, rows)
    ipfl = IPFL(2.0, r=1)(x[:6].flatten(1), x[6:].flatten(1))
    assert figures["pedal"].item() == pytest.approx(pedal.item(), rel=1e-3)
    assert figures["ipfl"].item() == pytest.approx(ipfl.item(), rel=1e-3)
    assert figures["loss"].item() == pytest.approx((ipfl + 2 * pedal).item(), rel=1e-3)
    assert figures["positives"] == 2 and 0 < figures["triplets"] <= 1
    assert not torch.equal(network.trunk.conv1.weight, state["trunk.conv1.weight"])
    generator = {name: value for name, value in network.state_dict().items() if name.startswith("generator.")}
    assert generator and all(torch.equal(value, state[name]) for name, value in generator.items())


def test_the_step_is_plain_sgd():
    """Momentum 0.9, weight decay 1e-4, learning rate 1e-4 and a tenth of it after epoch 50."""
    paul = method(PatchNet("resnet18", 1, weights=None, dim=4), epochs=60, learner={"trunk_lr": 1e-4, "new_lr": 1e-4})
    assert LEARNER["batch_size"] == 40 and LEARNER["trunk_lr"] == LEARNER["new_lr"] == 1e-4
    assert (paul.epochs, paul.rate, paul.pedal_weight, paul.ipfl_weight) == (60, 0.1, 2.0, 1.0)
    assert all(group["momentum"] == 0.9 and group["weight_decay"] == 1e-4 and not group["nesterov"]
               for group in paul.learner.optimizer.param_groups)
    for epoch, lr in ((1, 1e-4), (50, 1e-4), (51, 1e-5), (60, 1e-5)):
        next(paul.phases(epoch)).batches(0)
        trunk, new, _ = paul.learner.optimizer.param_groups  # the last is the patch generation's, frozen
        assert [trunk["lr"], new["lr"]] == pytest.approx([lr, lr])


def test_neighbours_are_asked_for_with_live_features():
    paul = method()
    paul.memory.bank.copy_(torch.randn(3, COUNT, 8))
    rows, x = torch.tensor([4, 0, 7]), torch.randn(3, 3, 8)
    graphs = paul.connect(rows, live=x)
    assert len(graphs) == 3
    for m, graph in enumerate(graphs):
        for b, i in enumerate(rows.tolist()):
            apart = (x[b, m] - paul.memory.bank[m]).pow(2).sum(1)
            near = [j for j in apart.argsort().tolist() if j != i][:2]
            assert graph.edge_index[0, graph.edge_index[1] == i].tolist() == near
            torch.testing.assert_close(graph.x[i], F.normalize(x[b, m], dim=0))
        torch.testing.assert_close(graph.x[1], F.normalize(paul.memory.bank[m, 1], dim=0))
        assert torch.equal(graph.rows, rows) and torch.equal(graph.person_id, PERSON)
        assert torch.equal(graph.camera_id, CAMERA) and (graph.meta_person == -1).all()


def test_camera_centred_neighbours():
    """A constant difference between cameras changes no neighbour and no ``graph.x``."""
    paul = method(camera_centered=True)
    bank, x, rows = torch.randn(3, COUNT, 8), torch.randn(3, 3, 8), torch.tensor([4, 1, 7])
    paul.memory.bank.copy_(bank)
    first = paul.connect(rows, live=x)
    shift = 5 * torch.randn(2, 8)[CAMERA]
    paul.memory.bank.copy_(bank + shift)
    second = paul.connect(rows, live=x + shift[rows].unsqueeze(1))
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a.edge_index, b.edge_index)
        torch.testing.assert_close(a.x, b.x, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("relation", [SimilarityThreshold(0.5), MPLP(0.5, least=3), SameIdentity(), Singletons()])
def test_any_relation_says_what_is_similar(relation):
    paul = method(relation=relation)
    phase, batch = first_batch(paul)
    figures = phase.step(batch)
    assert torch.isfinite(figures["loss"])
    if isinstance(relation, SameIdentity):
        assert figures["positives"] == 2  # three images of each person
        assert paul.end_epoch(1)["pairs/precision"] == 1
    if isinstance(relation, Singletons):
        assert figures["positives"] == 0 and figures["pedal"] == 0


def test_rows_of_table_3():
    """L_c alone makes no surrogates; L_v alone needs no neighbours; an image embedder is the image-level row."""
    only_c = method(ipfl_weight=0.0)
    phase, (views, rows) = first_batch(only_c)
    assert views.shape[1] == 1 and set(phase.step((views, rows))) == {"loss", "pedal", "positives"}
    only_v = method(pedal_weight=0.0)
    phase, batch = first_batch(only_v)
    figures = phase.step(batch)
    assert set(figures) == {"loss", "ipfl", "triplets"} and figures["loss"] == figures["ipfl"]
    assert set(only_v.end_epoch(1)) == {"lr"}
    image = method(ImageEmbedder("resnet18", 2, weights=None), ipfl_weight=0.0)
    phase, batch = first_batch(image)
    assert torch.isfinite(phase.step(batch)["loss"]) and image.memory.bank.shape == (1, COUNT, 128)


def test_first_features():
    """In training mode: mixed full batches, order of the table, and nothing left behind; or in evaluation mode."""
    torch.manual_seed(0)
    net = PatchNet("resnet18", 1, weights=None, patches=2, dim=4, scheme="stripes")
    state = {name: value.clone() for name, value in net.state_dict().items()}
    x = embed_in_training_mode(net.eval(), images(), batch_size=80)
    assert not net.training and all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    every = torch.stack([plain_view()(image) for image in images()])
    with torch.no_grad():
        torch.testing.assert_close(x, net.train()(every), atol=1e-5, rtol=1e-4)
    assert embed_in_training_mode(net, images(), batch_size=5).shape == (COUNT, 2, 4)
    paul = method(learner={"batchnorm": "eval"})
    paul.prepare()
    with torch.no_grad():
        slow = paul.learner.network.eval()(every).transpose(0, 1)
    torch.testing.assert_close(paul.memory.bank, slow, atol=1e-5, rtol=1e-4)


def test_the_released_code_s_centres():
    """The mean of both views, projected: taken as it is in the first epoch, smoothed at 0.1 afterwards."""
    projection = FrozenProjection(3, 8, 5)
    released = IPFL(2.0, r=1, both_anchors=True, candidates=15, count_self=True)
    paul = method(projection=projection, centre_rate=0.1, ipfl=released)
    paul.prepare()
    rows, real, surrogate = torch.tensor([3, 0, 5]), torch.randn(3, 3, 8), torch.randn(3, 3, 8)
    mean = projection((real + surrogate) / 2).flatten(1)
    for epoch, expected in ((1, mean), (2, 0.9 * mean + 0.1 * 2 * mean)):
        paul.learner.epoch = epoch
        loss = paul.compare_images(epoch * real, epoch * surrogate, rows)
        torch.testing.assert_close(paul.centres.bank[0, rows], expected, atol=1e-5, rtol=1e-4)
        parts = [projection(epoch * part).flatten(1) for part in (real, surrogate)]
        assert loss.item() == pytest.approx(released(*parts, expected).item(), rel=1e-4)
    assert paul.ipfl.num_anchors == 6
    other = method(projection=FrozenProjection(3, 8, 5), centre_rate=0.1)
    load_parts(other.parts, {name: part.state_dict() for name, part in paul.parts.items()}, "last.pt")
    assert torch.equal(other.projection.weight, projection.weight)
    assert torch.equal(other.centres.bank, paul.centres.bank)
    with pytest.raises(ValueError, match="last.pt is of another method .it lacks centres"):
        load_parts(other.parts, {name: part.state_dict() for name, part in method().parts.items()}, "last.pt")


class StopsAt:
    """A step that asks for a stop, as Ctrl-C would."""

    def __init__(self, paul, number):
        self.step, self.left = paul.training_step, number

    def __call__(self, images, rows):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return self.step(images, rows)


@pytest.mark.parametrize("options", [{}, {"projection": FrozenProjection(3, 8, 5), "centre_rate": 0.1}],
                         ids=["paper", "released"])
@pytest.mark.parametrize("scheme", ["pgn", "random"])
def test_one_epoch_and_resumption_bit_for_bit(tmp_path, scheme, options):
    def build(**more):
        torch.manual_seed(7)
        net = PatchNet("resnet18", 2, weights=None, patches=3, dim=8, localization_width=4, scheme=scheme)
        return method(net, learner={"batch_size": 4}, **options, **more)

    def trainer(folder):
        return Trainer(Fabric(accelerator="cpu", devices=1), tmp_path / folder, progress=False)

    recorded = []
    whole = build(listeners=[lambda epoch, pairs: recorded.append((epoch, pairs))])
    torch.manual_seed(2)
    history = trainer("whole").fit(whole)
    cut = build()
    cut.training_step = StopsAt(cut, 2)
    torch.manual_seed(2)
    with pytest.raises(Stopped, match="step 2"):
        trainer("cut").fit(cut)
    again = build()
    torch.manual_seed(99)
    resumed = trainer("cut").fit(again, resume=True)
    without_time = [{k: v for k, v in record.items() if k not in ("seconds", "memory/peak_mb")}
                    for record in (*history, *resumed)]
    assert without_time[0] == without_time[1]
    ours, theirs = (dict(part.learner.network.state_dict()) | {"bank": part.memory.bank} for part in (whole, again))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert torch.isfinite(ours["bank"]).all() and whole.learner.network.patches_frozen
    epoch, pairs = recorded[0]
    assert epoch == 1 and pairs.edge_index.shape == (2, COUNT * 2 * 3)  # k = 2 in 3 branches
    assert pairs.branch.bincount().tolist() == [COUNT * 2] * 3
    assert history[0]["pairs/believed"] == COUNT * 6 and history[0]["pairs/count"] <= COUNT * 6
    assert {"paul/loss", "paul/pedal", "paul/ipfl", "paul/triplets", "lr"} <= set(history[0])


def test_bad_input():
    with pytest.raises(ValueError, match=r"batches of more than r . 1 = 4 images, got 4: raise learner.batch_size"):
        method(learner={"batch_size": 4}, ipfl=IPFL(r=3))
    with pytest.raises(ValueError, match="12 training images are fewer than k . 1 = 13"):
        method(k=12)
    with pytest.raises(ValueError, match="nor both 0"):
        method(pedal_weight=0.0, ipfl_weight=0.0)
    with pytest.raises(ValueError, match="batchnorm must be"):
        method(learner={"batchnorm": "none"})
    with pytest.raises(ValueError, match="SameIdentity reads the training images' identities, which are unknown"):
        method(relation=SameIdentity(), person=None)
    short = PatchNet("resnet18", 3, weights=None, patches=6, dim=4, scheme="stripes")
    with pytest.raises(ValueError, match="map of 3 rows cannot be cut into 6 stripes"):
        method(short).prepare()
    broken = method()
    with torch.no_grad():
        broken.learner.network.embedding[0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="the feature of row 0 is NaN or infinite"):
        broken.prepare()


def test_surrogate_view():
    """A crop of 70 to 95 % of the area, rotation and colours; not the image itself, and drawn from its seed."""
    view = surrogate_view(*SIZE)
    image = images()[0]
    drawn = torch.stack([SeededViews([image], view, stream_seed(seed))[0][0] for seed in range(30)])
    assert drawn.shape == (30, 3, *SIZE) and len({tuple(v.flatten()[:50].tolist()) for v in drawn}) == 30
    assert torch.equal(drawn[4], SeededViews([image], view, stream_seed(4))[0][0])
    # a ramp of columns without rotation and jitter: the width seen is the square root of the area
    ramp = torch.arange(240, dtype=torch.uint8).repeat(3, 480, 1)
    crop = surrogate_view(480, 240, rotation=0.0, jitter=0.0)
    shares = []
    for seed in range(40):
        torch.manual_seed(seed)
        part = crop(ramp)[0] * 0.229 + 0.485
        shares.append(((part.max() - part.min()) * 255 / 239) ** 2)
    assert 0.69 < min(shares) < 0.75 and 0.9 < max(shares) < 0.96
    with pytest.raises(ValueError, match="share of the image"):
        surrogate_view(*SIZE, max_area=1.5)
    both = SideBySide(plain_view(), view)(image)
    assert both.shape == (2, 3, *SIZE) and torch.equal(both[0], plain_view()(image))
