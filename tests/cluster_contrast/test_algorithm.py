"""Cluster contrast as a method: what an epoch and a step do, by hand, and exact resumption."""
import json
import os
import signal

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric

from mprd_pyg.cluster_contrast import LEARNER, ClusterContrast
from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.data.views import plain_view
from mprd_pyg.graph import KNNGraph
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.models import ImageEmbedder
from mprd_pyg.relations import ConnectedComponents, Groups, KNearest, SameIdentity
from mprd_pyg.training import Learner, MemoryGraph, load_checkpoint
from pipelines import cluster_contrast
from pipelines.command_line import cli

N = 12
PERSON = torch.arange(N) // 3


def make(groups=None, **options):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    store = list(torch.randint(256, (N, 3, 32, 16), dtype=torch.uint8, generator=generator))
    images = TrainImages(store, torch.arange(N) % 2, PERSON)
    network = ImageEmbedder("resnet18", 1, weights=None)
    learner = Learner(Fabric(accelerator="cpu", devices=1), network, images, plain_view(), **LEARNER)
    connect = MemoryGraph(FeatureMemory(N, network.dim), KNNGraph(k=2), images)
    groups = groups or Groups(SameIdentity(), ConnectedComponents())
    return ClusterContrast(learner, connect, groups, groups_per_batch=2, images_per_group=2, epochs=2, **options)


def test_an_epoch_begins_with_the_mean_feature_of_each_group():
    method = make()
    relabel, cnn = list(phases(method, 1))
    figures = relabel
    assert figures["groups"] == 4 and figures["pair_f"] == figures["adjusted_rand"] == 1
    x = method.connect.memory.bank[0]
    slow = torch.stack([F.normalize(x[p == PERSON].mean(0), dim=0) for p in range(4)])
    torch.testing.assert_close(method.epoch_groups.memory.bank, slow)
    images, rows = next(iter(cnn.batches(0)))
    assert len(rows) == 4 and cnn.num_steps == 2 and len(PERSON[rows].unique()) == 2
    # two images of a group come from two cameras
    assert (rows % 2).view(2, 2).sum(1).tolist() == [1, 1]


def phases(method, epoch):
    """The grouping's figures, then the training phase."""
    for phase in method.phases(epoch):
        yield phase.step(next(iter(phase.batches(0)))) if phase.name == "groups" else phase


def test_a_step_is_infonce_with_the_groups_rows_and_their_update_comes_after_it():
    """-log softmax(phi x / 0.05) at the own group; phi <- m phi + (1 - m) x, normalised, image by image."""
    method = make()
    _, cnn = phases(method, 1)
    images, rows = next(iter(cnn.batches(0)))
    bank, label = method.epoch_groups.memory.bank.clone(), method.epoch_groups.label
    twin = make().learner.network.train()
    x = twin(images.contiguous(memory_format=torch.channels_last))[:, 0].detach()
    loss = method.training_step(images, rows)["loss"]
    slow = -torch.stack([torch.log_softmax(bank @ x[b] / 0.05, 0)[label[row]] for b, row in enumerate(rows)]).mean()
    assert loss.item() == pytest.approx(slow.item(), rel=1e-4)
    for b, row in enumerate(rows.tolist()):
        bank[label[row]] = F.normalize(0.1 * bank[label[row]] + 0.9 * x[b], dim=0)
    torch.testing.assert_close(method.epoch_groups.memory.bank, bank, atol=1e-5, rtol=1e-4)


def test_images_without_a_group_sit_the_epoch_out():
    method = make(Groups(KNearest(1), ConnectedComponents()), steps=6)
    method.groups.finder = lambda pairs: torch.tensor([0, 0, 0] + [-1] * 6 + [1, 1, 1])
    figures, cnn = phases(method, 1)
    seen = torch.cat([rows for _, rows in cnn.batches(0)])
    assert set(seen.tolist()) <= {0, 1, 2, 9, 10, 11} and cnn.num_steps == 6 and figures["grouped"] == 0.5


def test_a_relation_that_reads_unknown_identities_is_refused():
    images = TrainImages([None] * N)
    learner = Learner(Fabric(accelerator="cpu", devices=1), ImageEmbedder("resnet18", 1, weights=None), images, None)
    connect = MemoryGraph(FeatureMemory(N, 64), KNNGraph(k=2), images)
    with pytest.raises(ValueError, match="SameIdentity reads the training images' identities"):
        ClusterContrast(learner, connect, Groups(SameIdentity(), ConnectedComponents()))


def train(*argv):
    return cli.main(cluster_contrast.make_parser(), cluster_contrast.run, [str(part) for part in argv])


def test_the_command_stops_resumes_and_records_its_groups(pedestrians, tmp_path, monkeypatch):
    options = ["--data.card", "synthetic", "--data.root", pedestrians(identities=(6, 4)), "--data.height", 48,
               "--data.width", 24, "--network.arch", "resnet18", "--network.last_stage", 2, "--network.weights", "null",
               "--pretrain", "false", "--method.epochs", 2, "--method.steps", 4, "--method.groups_per_batch", 3,
               "--method.images_per_group", 2, "--knn.k", 3, "--progress", "false", "--accelerator", "cpu",
               "--groups", "Groups", "--groups.base", "KNearest", "--groups.base.k", 1,
               "--groups.finder", "ConnectedComponents"]
    assert train(*options, "--out", tmp_path / "whole") == 0
    step, taken = ClusterContrast.training_step, [0]

    def counted(self, *batch):
        taken[0] += 1
        if taken[0] == 6:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *batch)
    with monkeypatch.context() as patch:
        patch.setattr(ClusterContrast, "training_step", counted)
        assert train(*options, "--out", tmp_path / "cut") == 130
    assert train("--resume", tmp_path / "cut") == 0
    one, two = (load_checkpoint(tmp_path / name / "checkpoints" / "last.pt")["method"] for name in ("whole", "cut"))
    assert all(torch.equal(value, two["network"][key]) for key, value in one["network"].items())
    assert torch.equal(one["groups"]["bank"], two["groups"]["bank"])
    history = pd.read_csv(tmp_path / "whole" / "logs" / "history.csv")
    assert {"groups/groups", "groups/pair_f", "groups/bcubed_f", "groups/adjusted_rand", "cnn/loss"} <= set(history)
    assert json.loads((tmp_path / "whole" / "results.json").read_text())["pairs"]["count"] > 0
