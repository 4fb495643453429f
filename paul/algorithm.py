"""PAUL: embed, remember, connect, relate, compare, patch by patch (Yang et al., CVPR 2019, Sec. 3)."""
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mprd_pyg.relations import KNearest, Relation
from mprd_pyg.training import Learner, MemoryGraph, PairBook, Phase, StepSchedule
from paul.branch_loss import BranchLoss
from paul.branch_relation import BranchRelation, EachBranch
from paul.ipfl import IPFL, FrozenProjection
from paul.patchnet import PatchNet
from paul.pedal import Pedal

#: the learner's options in Sec. 4.2
LEARNER = {"batch_size": 40, "trunk_lr": 1e-4, "new_lr": 1e-4, "weight_decay": 1e-4, "optimizer": "sgd",
           "batchnorm": "train"}


class PAUL:
    """Trains an embedder on unlabelled images: similar patches attract each other, other images repel.

    With a pre-trained :class:`PatchNet` this is PAUL; with one branch (an ``ImageEmbedder``) it is the
    image-level row of Table 3, and with another relation PEDAL's similar patches are that relation's.

    Args:
        learner: the network, whose patch generation is frozen here (Sec. 4.2: "Then we fixed the PGN"), made with the
            options ``LEARNER``; its view makes an image and, for IPFL, its surrogate: ``paul_view``.
        connect: the memories W, never normalised, and the search from live features among them; k = 10 and L2 in
            the paper.
        relation: which patches are similar, in each branch or with all at hand; the k nearest by default, Eq. 2's K.
        pedal: Eq. 2 (its own k is not used: the relation says which patches are similar), or a :class:`BranchLoss`.
        ipfl: Eq. 3.
        pairs: where judged pairs are kept.
        pedal_weight: lambda of Eq. 4; 0 leaves L_c out.
        ipfl_weight: 1 in Eq. 4; 0 leaves L_v out, and the surrogates with it.
        rate: l of Eq. 1, the weight of the new feature.
        projection: compute IPFL in a frozen projection of each branch (the released code).
        centre_rate: compute IPFL against image features smoothed with this weight of the new one (released
            code: 0.1, starting with the feature of the first epoch); None is the paper.
        epochs: T.

    Raises:
        ValueError: weights that are negative or both 0, or what the relation cannot judge.
    """

    def __init__(self, learner: Learner, connect: MemoryGraph, relation: Relation | BranchRelation | None = None,
                 pedal: Pedal | BranchLoss | None = None, ipfl: IPFL | None = None, pairs: PairBook | None = None,
                 pedal_weight: float = 2.0, ipfl_weight: float = 1.0, rate: float = 0.1,
                 projection: FrozenProjection | None = None, centre_rate: float | None = None, epochs: int = 60):
        if min(pedal_weight, ipfl_weight) < 0 or not pedal_weight + ipfl_weight:
            raise ValueError(f"pedal_weight and ipfl_weight must not be negative nor both 0, got "
                             f"{pedal_weight} and {ipfl_weight}")
        ipfl, smallest = ipfl or IPFL(), min(learner.batch_size, learner.images.num_unlabelled)
        if ipfl_weight and smallest <= ipfl.r + 1:
            raise ValueError(f"cyclic ranking needs batches of more than r + 1 = {ipfl.r + 1} images, got {smallest}: "
                             f"raise learner.batch_size or lower ipfl.r")
        relation = relation or KNearest(connect.knn.k)
        self.relation = EachBranch(relation) if isinstance(relation, Relation) else relation
        self.relation.check(learner.images)
        self.learner, self.connect, self.memory = learner, connect, connect.memory
        network, device = learner.network, learner.fabric.device
        self.pairs = pairs or PairBook(learner.images, network.branches)
        self.pedal, self.pedal_weight = pedal or Pedal(), pedal_weight
        self.ipfl, self.ipfl_weight = ipfl, ipfl_weight
        self.rate, self.centre_rate, self.epochs = rate, centre_rate, epochs
        self.projection = (projection or nn.Identity()).to(device)
        learner.schedule = learner.schedule or StepSchedule((50,))
        if isinstance(network, PatchNet):
            network.freeze_patches()
        self.parts: dict[str, Any] = {**learner.parts, "memory": self.memory, "pairs": self.pairs,
                                      "projection": self.projection}
        if centre_rate is not None:
            size = network.branches * (network.dim if projection is None else projection.weight.shape[1])
            self.centres = connect.memory.empty_like(learner.images.num_unlabelled, size, 1)
            self.parts["centres"] = self.centres

    # -- the five verbs --------------------------------------------------------------------------------------

    def training_step(self, images: Tensor, rows: Tensor) -> dict[str, Tensor | float]:
        """One step (Eq. 4): images (B, V, 3, H, W), each with its surrogate, and rows (B,)."""
        x = self.learner(images.transpose(0, 1).flatten(0, 1), rows)                                # embed
        real, surrogate = x[:len(rows)], x[len(rows):]
        self.memory.update(rows, real.detach(), self.rate)                                          # remember
        loss, figures = x.new_zeros(()), {}
        if self.pedal_weight:
            graphs = self.connect(rows, self.relation.reach, real, self.relation.joint)             # connect
            pairs = self.relation(graphs)                                                           # relate
            positives = [part.edge_index[:, part.believed] for part in pairs]
            likelihood = [part.likelihood[part.believed] for part in pairs]
            patch_loss = self.pedal(real, self.memory.bank, rows, positives, likelihood)            # compare
            loss = loss + self.pedal_weight * patch_loss
            believed = self.pairs.add(pairs, graphs)
            figures |= {"pedal": patch_loss.detach(), "positives": believed / (len(rows) * len(pairs))}
        if self.ipfl_weight:
            image_loss = self.compare_images(real, surrogate, rows)                                 # compare
            loss = loss + self.ipfl_weight * image_loss
            figures |= {"ipfl": image_loss.detach(), "triplets": self.ipfl.num_valid / self.ipfl.num_anchors}
        self.learner.step(loss)
        return {"loss": loss.detach(), **figures}

    def compare_images(self, real: Tensor, surrogate: Tensor, rows: Tensor) -> Tensor:
        """IPFL on concatenated patch features (B, M, d)."""
        anchor, positive = (self.projection(part).flatten(1) for part in (real, surrogate))
        if self.centre_rate is None:
            return self.ipfl(anchor, positive)
        mean = (anchor.detach() + positive.detach()) / 2
        self.centres.update(rows, mean.unsqueeze(1), self.centre_rate if self.learner.epoch > 1 else 1.0)
        return self.ipfl(anchor, positive, self.centres.rows(rows)[0])

    # -- what the trainer calls ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Fill the memory (Eq. 1, t = 0)."""
        def remember(rows: Tensor, x: Tensor) -> None:
            self.learner.check_finite(x, rows)
            self.memory.put(rows, x)
            if self.centre_rate is not None:
                self.centres.put(rows, self.projection(x).flatten(1).unsqueeze(1))
        with torch.no_grad():
            self.learner.embed(progress="first features", into=remember)

    def phases(self, epoch: int) -> Iterator[Phase]:
        """One pass over the images."""
        batches = self.learner.batches(epoch, self.ipfl.r + 2 if self.ipfl_weight else 2)
        yield self.learner.phase("paul", epoch, self.training_step, batches)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Report the similar patches, the branches together."""
        rate = {"lr": self.learner.optimizer.param_groups[0]["lr"]}
        return rate | self.pairs.close(epoch) if self.pedal_weight else rate
