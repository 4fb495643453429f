"""Pre-training: the sum of the branches' cross-entropies, and the optional hard triplet loss."""
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning_fabric import Fabric
from torch import nn

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.pretraining.hard_triplet import hard_triplet, identity_batches
from mprd_pyg.pretraining.supervised import SupervisedPretraining
from mprd_pyg.training import Learner


class Patches(nn.Module):
    """Two branches of three numbers, straight from the pixels."""

    branches, dim = 2, 3

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(12, 6, generator=torch.Generator().manual_seed(0)))

    def forward(self, images):
        return F.normalize((images.flatten(1)[:, :12] @ self.weight).view(-1, 2, 3), dim=2)

    def parameter_groups(self, trunk_lr, new_lr):
        return [{"params": [self.weight], "lr": trunk_lr}]


def pretraining(**options):
    learner = learner_of(torch.tensor([4, 4, 7, 7, 9, 9]))
    return SupervisedPretraining(learner, smoothing=0.0, **options)


def learner_of(person):
    images = TrainImages([None] * len(person), person=person)
    return Learner(Fabric(accelerator="cpu", devices=1), Patches(), images, None, trunk_lr=0.05, new_lr=0.05)


def one_step(method):
    """The loss of a step and, per image and branch, the logits before it."""
    images, rows = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 5])
    with torch.no_grad():
        x = method.learner.network(images)
        logit = [[16 * F.normalize(method.classifier[0][m], dim=1) @ x[i, m] for m in range(2)] for i in range(4)]
    return float(method.training_step(images, rows)["loss"]), logit, x, [0, 0, 1, 2]


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 1.0), ("mean", 0.5)])
def test_cross_entropies_are_summed_over_branches(reduction, factor):
    """PAUL, Sec. 4.2: one cross-entropy per branch, added up."""
    loss, logit, _, label = one_step(pretraining(branch_reduction=reduction))
    slow = sum(float(-logit[i][m].log_softmax(0)[label[i]]) for i in range(4) for m in range(2)) / 4
    assert loss == pytest.approx(factor * slow, rel=1e-5)


def test_the_triplet_loss_is_added():
    plain, *_ = one_step(pretraining())
    loss, _, x, label = one_step(pretraining(triplet_weight=0.1, images_per_identity=2))
    assert loss == pytest.approx(plain + 0.1 * slow_triplet(x.flatten(1), label, 1.0), rel=1e-5)


def slow_triplet(x, label, margin):
    """The hardest positive and negative of each anchor, in loops."""
    total, count = 0.0, 0
    for a in range(len(x)):
        positive = [float((x[a] - x[p]).norm()) for p in range(len(x)) if p != a and label[p] == label[a]]
        negative = [float((x[a] - x[n]).norm()) for n in range(len(x)) if label[n] != label[a]]
        if positive and negative:
            total, count = total + max(max(positive) - min(negative) + margin, 0.0), count + 1
    return total / max(count, 1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(0, 99))
def test_hard_triplet_equals_the_loops(label, seed):
    x = torch.randn(len(label), 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    assert float(hard_triplet(x, torch.tensor(label), 0.7)) == pytest.approx(slow_triplet(x, label, 0.7), abs=1e-9)


def test_hard_triplet_by_hand_and_with_equal_features():
    x = torch.tensor([[0.0, 0], [3, 4], [0, 1]], requires_grad=True)
    loss = hard_triplet(x, torch.tensor([0, 0, 1]), 1.0)
    # anchors 0: 5 - 1 + 1; 1: 5 - sqrt(18) + 1; the third has no positive
    assert float(loss.detach()) == pytest.approx((5 + 6 - 18 ** 0.5) / 2)
    same = torch.zeros(3, 2, requires_grad=True)
    hard_triplet(same, torch.tensor([0, 0, 1])).backward()
    assert bool(torch.isfinite(same.grad).all())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=30), st.integers(2, 4), st.integers(2, 12))
def test_batches_hold_several_images_of_each_identity(label, per_identity, batch_size):
    label = torch.tensor(label).unique(return_inverse=True)[1]
    if int(torch.bincount(label).max()) < 2:
        with pytest.raises(ValueError, match="no identity has two images"):
            identity_batches(label, batch_size, per_identity, torch.Generator())
        return
    batches = identity_batches(label, batch_size, per_identity, torch.Generator().manual_seed(0))
    rows = [row for batch in batches for row in batch]
    assert len(rows) == len(set(rows))
    for batch in batches:
        assert len(batch) <= max(batch_size, per_identity)
        assert int(torch.bincount(label[batch])[label[batch]].min()) >= 2


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="branch_reduction must be 'sum' or 'mean', got 'max'"):
        pretraining(branch_reduction="max")
    with pytest.raises(ValueError, match="set images_per_identity to at least 2"):
        pretraining(triplet_weight=0.1)
    with pytest.raises(ValueError, match="2 of 6 source images have none"):
        SupervisedPretraining(learner_of(torch.tensor([1, 1, -1, -1, 2, 2])))
