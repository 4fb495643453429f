"""MPRD: embed, remember, connect, relate, compare (Ji et al., ICCV 2021, Alg. 1)."""
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.losses import BinomialDeviance
from mprd_pyg.memory import ShardedMemory
from mprd_pyg.mprd.gcn_training import GCNTraining
from mprd_pyg.relations import Relation
from mprd_pyg.training import Learner, LinearSchedule, MemoryGraph, PairBook, Phase, StepSchedule, group_figures


class MPRD:
    """Trains an embedder on unlabelled images with the pairs that a relation believes.

    With a :class:`GCNRelation` and its training this is MPRD; with another relation it is a row of Table 1.

    Args:
        learner: the network F, an :class:`ImageEmbedder` in the paper.
        connect: the memory M and its neighbour search.
        relation: which pairs are positives.
        pairs: where judged pairs are kept.
        gcn: trains the relation's GCN; None for a relation without one.
        loss: Eq. 2.
        gamma: weight of the new feature in Eq. 1, by epoch; 1 to 0.5 by default.
        epochs: T.
        memory_update: ``"before"`` the loss as in Alg. 1, or ``"after"``.
        calibrate_neck: set the new BatchNorm's statistics to those of the training images at the start.
        relate_every: 1 judges the pairs of each batch's images, as in Alg. 1. With k > 1 the pairs of all images are
            judged every k steps, and with 0 once, at the epoch's first step, for relations that look at the whole
            graph.

    Raises:
        ValueError: an unknown option, or a relation that reads identities where all are unknown.
    """

    def __init__(self, learner: Learner, connect: MemoryGraph, relation: Relation, pairs: PairBook | None = None,
                 gcn: GCNTraining | None = None, loss: torch.nn.Module | None = None,
                 gamma: LinearSchedule | None = None, epochs: int = 40,
                 memory_update: Literal["before", "after"] = "before", calibrate_neck: bool = False,
                 relate_every: int = 1):
        if memory_update not in ("before", "after"):
            raise ValueError(f"memory_update must be 'before' or 'after', got {memory_update!r}")
        if relate_every < 0:
            raise ValueError(f"relate_every is a number of steps, or 0 for once per epoch, got {relate_every}")
        relation.check(learner.images)
        self.learner, self.connect, self.relation, self.gcn = learner, connect, relation, gcn
        self.memory, self.pairs = connect.memory, pairs or PairBook(learner.images)
        self.loss, self.epochs = loss or BinomialDeviance(), epochs
        self.gamma = gamma or LinearSchedule(1.0, 0.5, epochs)
        self.memory_update, self.calibrate_neck, self.relate_every = memory_update, calibrate_neck, relate_every
        learner.schedule = learner.schedule or StepSchedule((20,))  # Sec. 5.2
        self.parts: dict[str, Any] = {**learner.parts, "memory": self.memory, "pairs": self.pairs,
                                      **({} if gcn is None else gcn.parts)}

    # -- the five verbs ------------------------------------------------------------------------------------------

    def training_step(self, images: Tensor, rows: Tensor) -> dict[str, Tensor | float]:
        """One step of the CNN with the GCN fixed (Sec. 4.1): images (B, 3, H, W) and rows (B,)."""
        x, figures = self.learner(images, rows), {}                                                 # embed
        bank = self.memory.bank[0]  # a view: what is written below is read by the loss
        if self.memory_update == "before":
            self.memory.update(rows, x.detach(), self.rate)                                         # remember
        if self.relate_every == 1:
            graph = self.neighbourhood(rows)                                                        # connect
            pairs = self.relation(graph)                                                            # relate
            self.pairs.add([pairs], [graph])
        else:
            figures = self.relate_all()
            pairs = self.pairs.of(rows)
            self.pairs.add([pairs])
        positives = pairs.edge_index[:, pairs.believed]
        loss = self.loss(x[:, 0], bank, positives, rows, pairs.likelihood[pairs.believed])          # compare
        self.learner.step(loss)
        if self.memory_update == "after":
            self.memory.update(rows, x.detach(), self.rate)
        return {"loss": loss.detach(), "positives": positives.shape[1] / len(rows), **figures}

    @property
    def all_rows(self) -> Tensor:
        """(N,) the unlabelled rows."""
        return torch.arange(self.learner.images.num_unlabelled, device=self.memory.bank.device)

    def neighbourhood(self, rows: Tensor) -> Data:
        """The graph in which the pairs of ``rows`` (B,) are judged."""
        if not self.relation.whole_graph:
            return self.connect(rows, self.relation.reach)[0]
        graph = self.connect(self.all_rows)[0]
        graph.rows = rows
        return graph

    def relate_all(self) -> dict[str, float]:
        """Judge the pairs of all images, where it is time to, by the memory as it is; figures of their groups."""
        step = self.pairs.num_steps
        if step % self.relate_every if self.relate_every else step:
            return {}
        graph = self.connect(self.all_rows, self.relation.reach)[0]
        pairs = self.relation(graph)
        self.pairs.keep(pairs, graph)
        return group_figures(pairs, self.learner.images)

    @property
    def rate(self) -> float:
        """Eq. 1's gamma in the epoch of the moment."""
        return self.gamma(self.learner.epoch)

    # -- what the trainer calls ----------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Fill the memory with one evaluation-mode pass (and calibrate the BatchNorm, if asked).

        Nobody holds all features of a sharded memory: calibration then takes a pass of its own, for their sums.
        """
        network, count = self.learner.network, self.learner.images.num_unlabelled

        def remember(rows: Tensor, pooled: Tensor) -> None:
            x, rows = network.head(pooled)[rows < count], rows[rows < count]
            self.learner.check_finite(x, rows)
            self.memory.put(rows, x)
        with torch.no_grad():
            if self.calibrate_neck and not isinstance(self.memory, ShardedMemory):
                pooled = self.learner.map(network.pooled, "first features")
                network.calibrate_neck(pooled.mean(0), pooled.var(0))
                remember(torch.arange(len(pooled), device=pooled.device), pooled)
                return
            if self.calibrate_neck:
                sums = []
                self.learner.map(network.pooled, "statistics", lambda rows, pooled: sums.append(
                    torch.stack([pooled.double().sum(0), pooled.double().square().sum(0)])))
                total, squares = torch.stack(sums).sum(0)
                size = len(self.learner.images.store)
                network.calibrate_neck(total / size, (squares - total.square() / size) / (size - 1))
            self.learner.map(network.pooled, "first features", remember)

    def phases(self, epoch: int) -> Iterator[Phase]:
        """First the GCN with the CNN fixed, then the CNN with the GCN fixed."""
        if self.gcn is not None:
            yield self.gcn.phase(epoch, self.pairs.believed)
        yield self.learner.phase("cnn", epoch, self.training_step)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Keep the believed pairs for the GCN's next pass, and report them."""
        return {"gamma": self.gamma(epoch), "lr": self.learner.optimizer.param_groups[0]["lr"],
                **self.pairs.close(epoch)}
