"""One step of MPRD by hand: Eq. 1 and 8 in the order of Alg. 1, Eq. 9, the meta images, the virtual nodes."""
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import plain_view, training_view
from mprd_pyg.graph import KNNGraph, PairSubgraphs
from mprd_pyg.losses import BinomialDeviance
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.models import ImageEmbedder, PairClassifier
from mprd_pyg.mprd import MPRD, GCNRelation, GCNTraining
from mprd_pyg.relations import KNearest, SameIdentity, Singletons
from mprd_pyg.training import Learner, MemoryGraph, PairBook
from mprd_pyg.training.checkpoint import load_parts

N, Z = 20, 6


class Store(list):
    paths = [f"image{i}.jpg" for i in range(N + Z)]


def make(relation=None, gcn=False, fabric=None, person=None, listeners=(), **options):
    torch.manual_seed(0)
    store = Store(torch.randint(256, (3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
                  for i in range(N + Z))
    network = ImageEmbedder("resnet18", 1, weights=None)
    images = TrainImages(store, torch.arange(N + Z) % 3, person, torch.tensor([-1] * N + [7, 7, 7, 9, 9, 9]), N)
    learner = Learner(fabric or Fabric(accelerator="cpu", devices=1), network, images, plain_view(), batch_size=5)
    connect = MemoryGraph(FeatureMemory(N, network.dim), KNNGraph(k=3), images)
    training = None
    if gcn:
        relation = GCNRelation(PairClassifier(network.dim, hidden=8), PairSubgraphs())
        training = GCNTraining(relation, learner, connect, training_view(32, 16, perturbed=True), batch_size=8)
    method = MPRD(learner, connect, relation or KNearest(2), PairBook(images, listeners=listeners), training, epochs=4,
                  **options)
    method.prepare()
    return method


def first_batch(method, epoch):
    *_, cnn = method.phases(epoch)
    return next(iter(cnn.batches(0)))


@pytest.mark.parametrize("memory_update", ["before", "after"])
def test_one_step_is_algorithm_1_with_equations_1_and_8(memory_update):
    """Alg. 1 lines 9-10: M by Eq. 1, P_i by Eq. 7, then Theta <- Theta - beta_1 dL/dTheta (Eq. 8) by SGD."""
    method = make(memory_update=memory_update)
    images, rows = first_batch(method, epoch=3)
    gamma = 1 - 0.5 * 2 / 3  # falls from 1 to 0.5 over 4 epochs
    old = method.memory.bank[0].clone()
    before = [p.detach().clone() for p in method.learner.network.parameters()]

    twin = make(memory_update=memory_update).learner.network.train()
    x = twin(images.contiguous(memory_format=torch.channels_last))[:, 0]
    new = old.clone()
    for b, i in enumerate(rows.tolist()):
        row = gamma * x[b].detach() + (1 - gamma) * old[i]
        new[i] = row / row.norm()
    seen = new if memory_update == "before" else old
    graph = KNNGraph(k=3)(seen[:N], rows=rows, keep_features=True)
    graph.rows = rows
    pairs = KNearest(2)(graph)
    loss = BinomialDeviance()(x, seen[:N], pairs.edge_index[:, pairs.believed], rows)
    loss.backward()

    figures = method.training_step(images, rows)
    assert float(figures["loss"]) == pytest.approx(loss.item(), rel=1e-5) and figures["positives"] == 2
    torch.testing.assert_close(method.memory.bank[0], new)
    rates = {id(p): group["lr"] for group in method.learner.optimizer.param_groups for p in group["params"]}
    assert sorted(set(rates.values())) == [0.01, 0.1]
    for mine, start, other in zip(method.learner.network.parameters(), before, twin.parameters(), strict=True):
        # the first SGD step with Nesterov momentum 0.9 and weight decay 5e-4
        expected = start - rates[id(mine)] * 1.9 * (other.grad + 5e-4 * start)
        torch.testing.assert_close(mine.detach(), expected, atol=1e-6, rtol=1e-4)


def test_equation_9_the_gcn_s_step():
    """Theta_G <- Theta_G - beta_2 dL_G/dTheta_G by SGD with learning rate 0.001; F and M stay as they are."""
    method = make(gcn=True)
    phase = next(method.phases(1))
    batch = next(iter(phase.batches(0)))
    gcn = method.gcn
    before = [p.detach().clone() for p in gcn.classifier.parameters()]
    fixed = {k: v.clone() for k, v in method.learner.network.state_dict().items()}
    loss, _ = gcn.loss(batch[0], batch[1], *batch[2])
    grads = torch.autograd.grad(loss, list(gcn.classifier.parameters()))
    phase.step(batch)
    for p, start, grad in zip(gcn.classifier.parameters(), before, grads, strict=True):
        torch.testing.assert_close(p.detach(), start - 0.001 * 1.9 * (grad + 5e-4 * start), atol=1e-7, rtol=1e-4)
    assert all(torch.equal(v, fixed[k]) for k, v in method.learner.network.state_dict().items())


def test_meta_images_are_never_shown_to_the_cnn_s_loss():
    method = make(gcn=True)
    *_, cnn = method.phases(1)
    seen = torch.cat([rows for _, rows in cnn.batches(0)])
    assert sorted(seen.tolist()) == list(range(N))
    images, rows = first_batch(method, 1)
    assert method.memory.bank.shape[1] == N
    assert torch.isfinite(method.training_step(images, rows)["loss"])


def test_perturbed_views_are_virtual_nodes_with_their_own_neighbours():
    method = make(gcn=True)
    features, lists = method.gcn.nodes(method.gcn.graphs(1, torch.tensor([4, 11])))
    assert len(features) == N + Z + 2 == lists.num_nodes
    for v, i in ((N + Z, 4), (N + Z + 1, 11)):
        mine = lists.neighbour[lists.ptr[v]:lists.ptr[v + 1]]
        nearest = (features[:N + Z] @ features[v]).topk(3).indices
        assert sorted(mine.tolist()) == sorted(nearest.tolist())
        assert not torch.allclose(features[v], features[i])
    assert lists.neighbour.max() < N + Z  # nobody's neighbour


def test_meta_rows_are_looked_at_afresh():
    method = make(gcn=True)
    with torch.no_grad():
        method.learner.network.neck.weight.mul_(2)  # a network that has been trained since
        method.learner.network.neck.bias.add_(1)
    features, _ = method.gcn.nodes(method.gcn.graphs(2, torch.zeros(0, dtype=torch.long)))
    method.learner.network.eval()
    images = torch.stack([plain_view()(method.learner.images.store[i]) for i in range(N, N + Z)])
    with torch.no_grad():
        torch.testing.assert_close(features[N:], method.learner.network(images)[:, 0], atol=1e-5, rtol=1e-4)


def test_the_first_memory_is_one_evaluation_pass():
    method = make()
    method.learner.network.eval()
    images = torch.stack([plain_view()(image) for image in method.learner.images.store])
    with torch.no_grad():
        torch.testing.assert_close(method.memory.bank[0], method.learner.network(images)[:N, 0], atol=1e-5, rtol=1e-4)
        pooled = method.learner.network.pooled(images)
    calibrated = make(calibrate_neck=True)
    normal = (pooled - pooled.mean(0)) / (pooled.var(0) + 1e-5).sqrt()
    torch.testing.assert_close(calibrated.memory.bank[0], F.normalize(normal, dim=1)[:N], atol=1e-4, rtol=1e-3)


def test_believed_pairs_feed_the_next_epoch_and_the_figures():
    records = []
    person = torch.arange(N + Z) % 5
    method = make(relation=SameIdentity(), person=person,
                  listeners=[lambda epoch, pairs: records.append((epoch, pairs))])
    *_, cnn = method.phases(1)
    for batch in cnn.batches(0):
        cnn.step(batch)
    figures = method.end_epoch(1)
    assert figures["pairs/precision"] == figures["pairs/recall"] == 1 and figures["pairs/count"] == N * 3
    assert records[0][0] == 1 and records[0][1].edge_index.shape[1] == N * 3
    assert method.pairs.believed.ptr.diff().tolist() == [3] * N


@pytest.mark.parametrize(("every", "calls"), [(1, [5, 5, 5, 5]), (2, [N, N]), (0, [N])])
def test_pairs_of_all_images_are_judged_every_k_steps(every, calls):
    asked = []

    class Counted(KNearest):
        def __call__(self, graph):
            asked.append(len(graph.rows))
            return super().__call__(graph)

    method = make(relation=Counted(2), relate_every=every)
    *_, cnn = method.phases(1)
    figures = [cnn.step(batch) for batch in cnn.batches(0)]
    assert asked == calls and [step["positives"] for step in figures] == [2] * 4
    assert method.end_epoch(1)["pairs/believed"] == 2 * N
    with pytest.raises(ValueError, match="relate_every is a number of steps"):
        make(relate_every=-1)


def test_what_is_not_finite_names_the_image():
    method = make(relation=Singletons())
    images, rows = first_batch(method, 1)
    images[2] = float("nan")
    method.learner.network.neck.eval()  # a batch statistic would spread the NaN over the batch
    for module in method.learner.network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    with pytest.raises(FloatingPointError, match=f"image{int(rows[2])}.jpg is NaN or infinite .1 of 5"):
        method.training_step(images, rows)


def test_bad_options_are_named():
    for options, match in (({"memory_update": "never"}, "'before' or 'after'"),
                           ({"relation": SameIdentity()}, "SameIdentity reads the training images' identities")):
        with pytest.raises(ValueError, match=match):
            make(**options)
    method, other = make(), make(gcn=True)
    state = {name: part.state_dict() for name, part in method.parts.items()}
    with pytest.raises(ValueError, match="old.pt is of another method .it lacks gcn, gcn_optimizer"):
        load_parts(other.parts, state, "old.pt")
