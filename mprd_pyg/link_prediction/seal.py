"""SEAL: is there a link? A graph classifier on the subgraphs around pairs."""
import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch_geometric.data import Batch
from tqdm import tqdm

from mprd_pyg import processes
from mprd_pyg.data.views import shuffled_batches
from mprd_pyg.link_prediction.figures import link_figures
from mprd_pyg.link_prediction.subgraph_store import SubgraphStore
from mprd_pyg.random_streams import stream
from mprd_pyg.training import Phase


class BestWeights:
    """The weights of the best epoch so far, a part of a checkpoint."""

    def __init__(self):
        self.epoch, self.merit, self.weights = 0, -math.inf, {}

    def keep(self, epoch: int, merit: float, network: nn.Module) -> None:
        """Copy the network's weights."""
        self.epoch, self.merit, self.weights = epoch, merit, deepcopy(network.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Epoch, merit and weights."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        vars(self).update(state)


class SEAL:
    """Learns links from the subgraphs around them (Zhang & Chen, NeurIPS 2018), as a method of the trainer.

    After each epoch the validation pairs are scored, and the weights of the best epoch are kept. The test pairs are
    never looked at here.

    Several processes share each batch: what the last, fully connected layers read is gathered, so that all draw the
    same dropout.

    Args:
        fabric: device; the small classifier computes in single precision.
        classifier: (batch of subgraphs, features (U, d)) -> (P,) logits, by a last module named ``mlp``.
        train: subgraphs of the training pairs.
        validation: subgraphs of the validation pairs.
        x: (N, d) node features; None for none.
        epochs: passes over the training pairs (50, SEAL's).
        batch_size: pairs per step (50, SEAL's).
        lr: of Adam (1e-4, SEAL's).
        weight_decay: L2 penalty.
        pairs_per_epoch: at most so many training pairs in each epoch, drawn anew each time, which bounds the time on
            large graphs (SEAL trains on 100,000 pairs at most).
        select: the best epoch has the least validation ``"loss"`` (SEAL's) or the highest validation ``"auc"``.
        seed: of the order of the pairs.
    """

    def __init__(self, fabric: Fabric, classifier: nn.Module, train: SubgraphStore, validation: SubgraphStore,
                 x: Tensor | None = None, epochs: int = 50,
                 batch_size: int = 50, lr: float = 1e-4, weight_decay: float = 0.0,
                 pairs_per_epoch: int = 20_000, select: str = "loss", seed: int = 0):
        if select not in ("loss", "auc"):
            raise ValueError(f"select must be 'loss' or 'auc', got {select!r}")
        if min(batch_size, epochs, pairs_per_epoch) < 1 or lr <= 0:
            raise ValueError(f"epochs, batch_size and pairs_per_epoch must be at least 1 and lr above 0; "
                             f"got {epochs}, {batch_size}, {pairs_per_epoch} and {lr}")
        if batch_size < processes.count():
            raise ValueError(f"{processes.count()} processes cannot share a batch of {batch_size} pairs: start fewer, "
                             f"or raise training.batch_size")
        self.fabric, self.train, self.validation, self.epochs = fabric, train, validation, epochs
        self.train_label, self.validation_label = train.label.to(fabric.device), validation.label
        # A classifier that always reads features gets one column of zeros.
        self.x = torch.zeros(train.lists.num_nodes, 1, device=fabric.device) if x is None else x.to(fabric.device)
        self.plain, self.select, self.seed = x is None, select, seed
        self.batch_size, self.pairs_per_epoch = batch_size, pairs_per_epoch
        # Not wrapped by Fabric: its checks of every input cost a fifth of such a small step.
        self.classifier, self.shares = classifier.to(fabric.device), None
        last, = (module for name, module in classifier.named_modules() if name.rpartition(".")[2] == "mlp")
        last.register_forward_pre_hook(lambda _, read: None if self.shares is None else (
            processes.gather(read[0], self.shares),))
        self.optimizer = torch.optim.Adam(classifier.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
        self.best = BestWeights()
        self.parts: dict[str, Any] = {"classifier": self.classifier, "optimizer": self.optimizer, "best": self.best}

    def prepare(self) -> None:
        """Nothing to prepare."""

    def phases(self, epoch: int) -> Iterator[Phase]:
        """One pass over the training pairs, or over as many as an epoch may take."""
        batches = shuffled_batches(torch.arange(len(self.train)), self.batch_size, stream(self.seed, epoch, 21),
                                   least=1)[:math.ceil(self.pairs_per_epoch / self.batch_size)]

        def begin(start: int) -> Iterator[Tensor]:
            self.classifier.train()
            return (torch.tensor(rows) for rows in batches[start:])
        yield Phase("links", len(batches), begin, self.training_step)

    def training_step(self, rows: Tensor) -> dict[str, Tensor]:
        """One step on the training pairs ``rows`` (B,)."""
        self.shares = [len(part) for part in processes.shares(rows)]
        own = processes.share(rows)
        logit = self._logits(self.train.batch(own if len(own) else rows[:1]))
        self.shares = None
        loss = F.binary_cross_entropy_with_logits(logit, self.train_label[rows].to(logit.dtype))
        self.optimizer.zero_grad()
        loss.backward()
        processes.average_gradients(self.classifier.parameters())
        self.optimizer.step()
        return {"loss": loss.detach()}

    def _logits(self, batch: Batch) -> Tensor:
        batch = batch.to(self.fabric.device)
        if self.plain:
            return self.classifier(batch, self.x)
        # Only the nodes at hand are projected by the first layer.
        nodes, batch.n_id = batch.n_id.unique(return_inverse=True)
        return self.classifier(batch, self.x[nodes])

    @torch.no_grad()
    def logits(self, store: SubgraphStore, progress: str = "") -> Tensor:
        """Logits of all pairs of a store (P,), on the host."""
        self.classifier.eval()
        return processes.map_shared(lambda rows: torch.cat([
            self._logits(store.batch(part)).float().cpu() for part in tqdm(
                rows.split(4 * self.batch_size), desc=progress, leave=False, disable=None if progress else True)]),
            torch.arange(len(store)))

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Score the validation pairs; keep the weights where they are the best so far."""
        logit = self.logits(self.validation)
        figures = link_figures(logit, self.validation_label)
        loss = float(F.binary_cross_entropy_with_logits(logit, self.validation_label.to(logit.dtype)))
        merit = -loss if self.select == "loss" else figures["auc"]
        if merit > self.best.merit:
            self.best.keep(epoch, merit, self.classifier)
        return {f"validation/{name}": value for name, value in figures.items()} | {"validation/loss": loss}

    def take_best(self) -> int:
        """Put the best epoch's weights into the classifier; returns that epoch."""
        self.classifier.load_state_dict(self.best.weights)
        return self.best.epoch
