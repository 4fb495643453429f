"""Pre-training with identity labels on a source domain."""
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torchvision.transforms import v2

from mprd_pyg.data.views import SeededViews, load, shuffled_batches, stream, stream_seed
from mprd_pyg.pretraining.hard_triplet import hard_triplet, identity_batches
from mprd_pyg.training.checkpoint import load_weights
from mprd_pyg.training.schedules import StepSchedule
from mprd_pyg.training.trainer import Phase


class SupervisedPretraining:
    """Cross-entropy over identities, the sum of the branches' (PAUL, Yang et al., CVPR 2019, Sec. 4.2).

    Each branch has a linear classifier of its unit feature, with unit weights and a scale.

    Args:
        fabric: device and precision.
        embedder: (B, 3, H, W) -> (B, M, d), with ``dim``, ``branches`` and ``parameter_groups``.
        store: training images, i -> uint8 (3, H, W).
        person_id: (N,) identities.
        view: training augmentation.
        epochs: number of epochs.
        batch_size: images per step.
        trunk_lr: learning rate of the trunk.
        new_lr: learning rate of the new layers.
        schedule: learning-rate multiplier by epoch.
        scale: of the cosine logits.
        smoothing: label smoothing.
        branch_reduction: ``"sum"`` of the branches' cross-entropies (the paper) or their ``"mean"``.
        triplet_weight: weight of the hard triplet loss on concatenated features (PAUL's released code: 0.1).
        triplet_margin: its margin.
        images_per_identity: draw batches of so many images of each identity, as the triplet loss needs; 0 draws
            images freely.
        weight_decay: L2 penalty.
        workers: processes that read images.
        seed: of the order, views and the classifier's start.
    """

    def __init__(self, fabric: Fabric, embedder: nn.Module, store: Sequence[Tensor], person_id: Tensor,
                 view: v2.Transform, epochs: int = 20, batch_size: int = 32, trunk_lr: float = 0.05,
                 new_lr: float = 0.05, schedule: StepSchedule | None = None, scale: float = 16.0,
                 smoothing: float = 0.1, branch_reduction: str = "sum", triplet_weight: float = 0.0,
                 triplet_margin: float = 1.0, images_per_identity: int = 0, weight_decay: float = 5e-4,
                 workers: int = 0, seed: int = 0):
        if branch_reduction not in ("sum", "mean"):
            raise ValueError(f"branch_reduction must be 'sum' or 'mean', got {branch_reduction!r}")
        if triplet_weight and images_per_identity < 2:
            raise ValueError(f"the triplet loss needs positives in the batch: set images_per_identity to at least 2 "
                             f"(got {images_per_identity})")
        if bool((person_id < 0).any()):
            raise ValueError(f"pre-training needs the identity of every image; {int((person_id < 0).sum())} of "
                             f"{len(person_id)} source images have none")
        self.fabric, self.store, self.view, self.epochs = fabric, store, view, epochs
        self.batch_size, self.workers, self.seed, self.scale, self.smoothing = (
            batch_size, workers, seed, scale, smoothing)
        self.branch_weight = embedder.branches if branch_reduction == "sum" else 1
        self.triplet_weight, self.triplet_margin = triplet_weight, triplet_margin
        self.images_per_identity = images_per_identity
        names, label = person_id.unique(return_inverse=True)
        self.label = label.to(fabric.device)
        self.schedule = schedule or StepSchedule((epochs * 2 // 3,))
        generator = stream(seed, 0)
        self.classifier = nn.Parameter(F.normalize(
            torch.randn(embedder.branches, len(names), embedder.dim, generator=generator), dim=-1).to(fabric.device))
        self.network = embedder.to(fabric.device, memory_format=torch.channels_last)
        groups = [*embedder.parameter_groups(trunk_lr, new_lr), {"params": [self.classifier], "lr": new_lr}]
        self.embedder, self.optimizer = fabric.setup(self.network, torch.optim.SGD(
            groups, momentum=0.9, weight_decay=weight_decay, nesterov=True))

    def prepare(self) -> None:
        """Nothing to prepare."""

    def phases(self, epoch: int) -> Iterator[Phase]:
        """One pass over the labelled images."""
        every, generator = torch.arange(len(self.store)), stream(self.seed, epoch)
        if self.images_per_identity:
            batches = identity_batches(self.label.cpu(), self.batch_size, self.images_per_identity, generator)
        else:
            batches = shuffled_batches(every, self.batch_size, generator)

        def begin(start: int):
            self.embedder.train()
            self.schedule.apply(self.optimizer, epoch)
            views = SeededViews(self.store, self.view, stream_seed(self.seed, epoch, 1))
            return load(views, batches[start:], self.workers)
        yield Phase("source", len(batches), begin, self.training_step)

    def training_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """One step: images (B, 3, H, W) and rows (B,)."""
        images, rows = batch
        x = self.embedder(images.to(self.fabric.device, memory_format=torch.channels_last))
        label = self.label[rows.to(self.label.device)]
        logit = self.scale * torch.einsum("bmd,mcd->bmc", x, F.normalize(self.classifier, dim=-1))
        loss = F.cross_entropy(logit.flatten(0, 1), label.repeat_interleave(x.shape[1]),
                               label_smoothing=self.smoothing) * self.branch_weight
        figures = {}
        if self.triplet_weight:
            triplet = hard_triplet(x.flatten(1), label, self.triplet_margin)
            loss, figures = loss + self.triplet_weight * triplet, {"triplet": triplet.detach()}
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()
        hit = logit.mean(1).argmax(1) == label
        return {"loss": loss.detach(), "accuracy": hit.float().mean(), **figures}

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """No further figures."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """All state."""
        return {"embedder": self.network.state_dict(), "classifier": self.classifier.detach(),
                "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        load_weights(self.network, state["embedder"], "the checkpoint's network")
        with torch.no_grad():
            self.classifier.copy_(state["classifier"])
        self.optimizer.load_state_dict(state["optimizer"])
