"""Pre-training with identity labels on a source domain."""
from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mprd_pyg.data.views import shuffled_batches
from mprd_pyg.pretraining.hard_triplet import hard_triplet, identity_batches
from mprd_pyg.random_streams import stream
from mprd_pyg.training import Learner, Phase, StepSchedule

#: the learner's options that were found to serve small sources
LEARNER = {"trunk_lr": 0.05, "new_lr": 0.05}


class SupervisedPretraining:
    """Cross-entropy over identities, the sum of the branches' (PAUL, Yang et al., CVPR 2019, Sec. 4.2).

    Each branch has a linear classifier of its unit feature, with unit weights and a scale.

    Args:
        learner: the network and its labelled images, all of them with an identity.
        epochs: number of epochs; the rate falls to a tenth after two thirds of them.
        scale: of the cosine logits.
        smoothing: label smoothing.
        branch_reduction: ``"sum"`` of the branches' cross-entropies (the paper) or their ``"mean"``.
        triplet_weight: weight of the hard triplet loss on concatenated features (PAUL's released code: 0.1).
        triplet_margin: its margin.
        images_per_identity: draw batches of so many images of each identity, as the triplet loss needs; 0 draws
            images freely.

    Raises:
        ValueError: an image without an identity, or options that do not go together.
    """

    def __init__(self, learner: Learner, epochs: int = 20, scale: float = 16.0, smoothing: float = 0.1,
                 branch_reduction: Literal["sum", "mean"] = "sum", triplet_weight: float = 0.0,
                 triplet_margin: float = 1.0, images_per_identity: int = 0):
        if branch_reduction not in ("sum", "mean"):
            raise ValueError(f"branch_reduction must be 'sum' or 'mean', got {branch_reduction!r}")
        if triplet_weight and images_per_identity < 2:
            raise ValueError(f"the triplet loss needs positives in the batch: set images_per_identity to at least 2 "
                             f"(got {images_per_identity})")
        person, network, device = learner.images.person.cpu(), learner.network, learner.fabric.device
        if bool((person < 0).any()):
            raise ValueError(f"pre-training needs the identity of every image; {int((person < 0).sum())} of "
                             f"{len(person)} source images have none")
        names, label = person.unique(return_inverse=True)
        self.learner, self.epochs, self.label = learner, epochs, label.to(device)
        self.scale, self.smoothing = scale, smoothing
        self.branch_weight = network.branches if branch_reduction == "sum" else 1
        self.triplet_weight, self.triplet_margin = triplet_weight, triplet_margin
        self.images_per_identity = images_per_identity
        start = torch.randn(network.branches, len(names), network.dim, generator=stream(learner.seed, 0))
        self.classifier = nn.ParameterList([F.normalize(start, dim=-1)]).to(device)
        learner.add_parameters(*self.classifier)
        learner.schedule = learner.schedule or StepSchedule((epochs * 2 // 3,))
        self.parts: dict[str, Any] = {**learner.parts, "classifier": self.classifier}

    def prepare(self) -> None:
        """Nothing to prepare."""

    def phases(self, epoch: int) -> Iterator[Phase]:
        """One pass over the labelled images."""
        generator, size = stream(self.learner.seed, epoch), self.learner.batch_size
        if self.images_per_identity:
            batches = identity_batches(self.label.cpu(), size, self.images_per_identity, generator)
        else:
            batches = shuffled_batches(torch.arange(len(self.label)), size, generator)
        yield self.learner.phase("source", epoch, self.training_step, batches)

    def training_step(self, images: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """One step: images (B, 3, H, W) and rows (B,)."""
        x, label = self.learner(images, rows), self.label[rows]
        logit = self.scale * torch.einsum("bmd,mcd->bmc", x, F.normalize(self.classifier[0], dim=-1))
        loss = F.cross_entropy(logit.flatten(0, 1), label.repeat_interleave(x.shape[1]),
                               label_smoothing=self.smoothing) * self.branch_weight
        figures = {}
        if self.triplet_weight:
            triplet = hard_triplet(x.flatten(1), label, self.triplet_margin)
            loss, figures = loss + self.triplet_weight * triplet, {"triplet": triplet.detach()}
        self.learner.step(loss)
        hit = logit.mean(1).argmax(1) == label
        return {"loss": loss.detach(), "accuracy": hit.float().mean(), **figures}

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """No further figures."""
        return {}
