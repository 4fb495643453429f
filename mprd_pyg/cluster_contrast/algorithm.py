"""Cluster contrast: embed, connect, relate (group), remember groups, compare (Dai et al., ACCV 2022)."""
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from mprd_pyg.cluster_contrast.group_batches import group_batches
from mprd_pyg.cluster_contrast.group_memory import GroupMemory
from mprd_pyg.random_streams import stream
from mprd_pyg.relations import DBSCAN, Groups, KReciprocalJaccard
from mprd_pyg.sharded_rows import ShardedRows
from mprd_pyg.training import Learner, MemoryGraph, PairBook, Phase, StepSchedule, group_figures, once

#: the learner's options in the released code
LEARNER = {"trunk_lr": 3.5e-4, "new_lr": 3.5e-4, "optimizer": "adam"}


def default_groups() -> Groups:
    """DBSCAN (at least 4 neighbours nearer than 0.6) on 1 - the Jaccard similarity of k-reciprocal neighbours."""
    return Groups(KReciprocalJaccard(threshold=0.4, camera_aware=False), DBSCAN(0.6, 4))


class ClusterContrast:
    """Each epoch groups all images, then pulls every image to its group's row and away from the other groups'.

    Args:
        learner: the network, an :class:`ImageEmbedder`; the batches are those of :func:`group_batches`.
        connect: holds the features of all images, as they are when the epoch begins.
        groups: how images are grouped; by default as by :func:`default_groups`. Images without a group sit the epoch
            out.
        pairs: where the pairs within groups are kept.
        groups_per_batch: P.
        images_per_group: Z.
        steps: batches per epoch; None for one pass over the groups.
        momentum: m, the weight of a group's old row.
        temperature: tau.
        epochs: number of epochs; the rate falls to a tenth after every 20.

    Raises:
        ValueError: what the relation behind the groups cannot judge.
    """

    def __init__(self, learner: Learner, connect: MemoryGraph, groups: Groups | None = None,
                 pairs: PairBook | None = None, groups_per_batch: int = 16, images_per_group: int = 16,
                 steps: int | None = None, momentum: float = 0.1, temperature: float = 0.05, epochs: int = 50):
        self.groups = groups or default_groups()
        self.groups.base.check(learner.images)
        self.learner, self.connect, self.epochs = learner, connect, epochs
        self.pairs, self.steps = pairs or PairBook(learner.images), steps
        self.groups_per_batch, self.images_per_group = groups_per_batch, images_per_group
        self.epoch_groups = EpochGroups(momentum, temperature, connect.memory.bank.device)
        learner.schedule = learner.schedule or StepSchedule((20, 40))
        self.parts: dict[str, Any] = {**learner.parts, "memory": connect.memory, "pairs": self.pairs,
                                      "groups": self.epoch_groups}

    def group_images(self) -> dict[str, float]:
        """Embed all images, group them, and make a row for each group."""
        memory, images = self.connect.memory, self.learner.images
        rows = torch.arange(images.num_unlabelled, device=memory.bank.device)
        self.learner.embed(into=memory.put)                                                         # embed
        graph = self.connect(rows, self.groups.reach)[0]                                            # connect
        pairs = self.groups(graph)                                                                  # relate
        self.pairs.add([pairs], [graph])
        self.epoch_groups.begin(memory.bank[0], pairs.group)                                        # remember
        return group_figures(pairs, images)

    def training_step(self, images: Tensor, rows: Tensor) -> dict[str, Tensor | float]:
        """One step on images (B, 3, H, W) of groups, and their rows (B,)."""
        x, group = self.learner(images, rows)[:, 0], self.epoch_groups.label[rows]                  # embed
        loss = self.epoch_groups.memory.loss(x, group)                                              # compare
        self.learner.step(loss)
        self.epoch_groups.memory.update(x.detach(), group)                                          # remember
        return {"loss": loss.detach()}

    def prepare(self) -> None:
        """Nothing to prepare: every epoch begins with features of its own."""

    def phases(self, epoch: int) -> Iterator[Phase]:
        """Group the images, then train on batches of groups."""
        yield once("groups", self.group_images)
        batches = group_batches(self.epoch_groups.label, self.learner.images.camera, self.groups_per_batch,
                                self.images_per_group, self.steps, generator=stream(self.learner.seed, epoch, 0))
        yield self.learner.phase("cnn", epoch, self.training_step, batches)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Report the pairs within groups."""
        return {"lr": self.learner.optimizer.param_groups[0]["lr"], **self.pairs.close(epoch)}


class EpochGroups:
    """The groups of an epoch and their memory, whose size changes from epoch to epoch: a part of a checkpoint."""

    def __init__(self, momentum: float, temperature: float, device: torch.device):
        self.momentum, self.temperature, self.device = momentum, temperature, device
        self.label, self.memory = torch.zeros(0, dtype=torch.long), None

    def begin(self, features: Tensor | ShardedRows, label: Tensor) -> None:
        """Make a row of each group (N,) from features (N, d)."""
        self.label, self.memory = label, GroupMemory(features, label, self.momentum, self.temperature)

    def state_dict(self) -> dict[str, Any]:
        """The labels, and the rows where there are some."""
        return {"label": self.label, "bank": None if self.memory is None else self.memory.bank}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        self.label, bank = state["label"].to(self.device), state["bank"]
        if bank is not None:
            bank = bank.to(self.device)
            self.memory = GroupMemory(bank, torch.arange(len(bank), device=bank.device), self.momentum,
                                      self.temperature)
            self.memory.bank = bank
