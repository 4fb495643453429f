"""MPRD: embed, remember, connect, relate, compare (Ji et al., ICCV 2021, Alg. 1)."""
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor
from torch_geometric.data import Data
from torchvision.transforms import v2

from mprd_pyg.data.views import SeededViews, load, shuffled_batches, stream, stream_seed
from mprd_pyg.evaluation import evaluate_pairs
from mprd_pyg.graph import KNNGraph, NeighbourLists
from mprd_pyg.losses.binomial_deviance import BinomialDeviance
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.models import ImageEmbedder
from mprd_pyg.models.embedding import embed_images, map_images, to_device
from mprd_pyg.mprd.gcn_training import GCNTraining
from mprd_pyg.relations import Relation, believed_graph, concat_pairs, pair_fields
from mprd_pyg.training.checkpoint import load_weights
from mprd_pyg.training.checks import check_finite
from mprd_pyg.training.schedules import LinearSchedule, StepSchedule
from mprd_pyg.training.trainer import Phase


class MPRD:
    """Trains an embedder on unlabelled images with the pairs that a relation believes.

    With a :class:`GCNRelation` and its training this is MPRD; with another relation it is a row of Table 1.

    Args:
        fabric: device and precision.
        embedder: F, with the paper's pooling or another.
        store: all images, i -> uint8 (3, H, W): N unlabelled ones, then the meta images.
        camera_id: (N + Z,) cameras; read by a camera-centred search and by the figures.
        relation: which pairs are positives.
        knn: the neighbour search.
        view: training augmentation.
        perturbed_view: that of x' in Sec. 4.2.
        gcn: trains the relation's GCN; None for a relation without one.
        loss: Eq. 2.
        person_id: (N + Z,) identities, -1 where unknown; only for figures and for relations that read labels.
        meta_person: (N + Z,) identities of labelled meta images, -1 elsewhere.
        num_unlabelled: N.
        camera_centered: search neighbours with each camera's mean feature subtracted (not in the paper).
        memory_update: ``"before"`` the loss as in Alg. 1, or ``"after"``.
        calibrate_neck: set the new BatchNorm's statistics to those of the training images at the start.
        gamma: weight of the new feature in Eq. 1, by epoch.
        epochs: T.
        batch_size: images per step.
        trunk_lr: learning rate of the trunk.
        new_lr: learning rate of the other layers.
        schedule: learning-rate multiplier by epoch.
        weight_decay: L2 penalty (unstated in the paper; MLCR's code has 5e-4 and Nesterov momentum).
        workers: processes that read images.
        seed: of order and views.
        record: called with the epoch and the judged pairs at its end.
    """

    def __init__(self, fabric: Fabric, embedder: ImageEmbedder, store: Sequence[Tensor], camera_id: Tensor,
                 relation: Relation, knn: KNNGraph, view: v2.Transform, perturbed_view: v2.Transform,
                 gcn: GCNTraining | None = None, loss: BinomialDeviance | None = None,
                 person_id: Tensor | None = None, meta_person: Tensor | None = None, num_unlabelled: int | None = None,
                 camera_centered: bool = False, memory_update: str = "before", calibrate_neck: bool = False,
                 gamma: LinearSchedule | None = None, epochs: int = 40, batch_size: int = 32, trunk_lr: float = 0.01,
                 new_lr: float = 0.1, schedule: StepSchedule | None = None, weight_decay: float = 5e-4,
                 workers: int = 0, seed: int = 0, record: Callable[[int, Data], None] | None = None):
        if memory_update not in ("before", "after"):
            raise ValueError(f"memory_update must be 'before' or 'after', got {memory_update!r}")
        self.num_rows = len(store) if num_unlabelled is None else num_unlabelled
        if self.num_rows <= knn.k:
            raise ValueError(f"{self.num_rows} training images are fewer than k + 1 = {knn.k + 1}: "
                             f"lower knn.k or train on more images")
        device = fabric.device
        unknown = torch.full((len(store),), -1)
        self.person_id = (unknown if person_id is None else person_id).to(device)
        self.meta_person = (unknown if meta_person is None else meta_person).to(device)
        self.camera_id = camera_id.to(device)
        if relation.needs_labels and bool((self.person_id < 0).all()):
            raise ValueError(f"{type(relation).__name__} reads the training images' identities, which are unknown")
        self.fabric, self.store, self.view, self.perturbed_view = fabric, store, view, perturbed_view
        self.relation, self.knn, self.gcn, self.loss = relation, knn, gcn, loss or BinomialDeviance()
        self.camera_centered, self.memory_update, self.calibrate = camera_centered, memory_update, calibrate_neck
        self.gamma = gamma or LinearSchedule(1.0, 0.5, epochs)
        self.epochs, self.batch_size, self.workers, self.seed = epochs, batch_size, workers, seed
        self.schedule, self.record = schedule or StepSchedule((20,)), record
        self.network = embedder.to(device, memory_format=torch.channels_last)
        self.embedder, self.optimizer = fabric.setup(self.network, torch.optim.SGD(
            embedder.parameter_groups(trunk_lr, new_lr), momentum=0.9, weight_decay=weight_decay, nesterov=True))
        self.memory = FeatureMemory(len(store), embedder.dim).to(device)
        none = torch.zeros(0, dtype=torch.long, device=device)
        self.believed = NeighbourLists(torch.zeros(self.num_rows + 1, dtype=torch.long, device=device), none)
        self.judged: list[Data] = []

    # -- the five verbs ------------------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor | float]:
        """One step of the CNN with the GCN fixed (Sec. 4.1): images (B, 3, H, W) and rows (B,)."""
        images, rows = batch
        rows = rows.to(self.fabric.device)
        x = self.embedder(to_device(images, self.fabric.device))                                    # embed
        check_finite(x, rows, self.store)
        bank = self.memory.bank[0, :self.num_rows]  # a view: what is written below is read by the loss
        if self.memory_update == "before":
            self.memory.update(rows, x.detach(), self.rate)                                         # remember
        graph = self.connect(rows)                                                                  # connect
        pairs = self.relation(graph)                                                                # relate
        positives = pairs.edge_index[:, pairs.believed]
        loss = self.loss(x[:, 0], bank, positives, rows)                                            # compare
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()
        if self.memory_update == "after":
            self.memory.update(rows, x.detach(), self.rate)
        self.judged.append(pairs)
        return {"loss": loss.detach(), "positives": positives.shape[1] / len(rows)}

    def connect(self, rows: Tensor) -> Data:
        """The neighbourhood of ``rows`` in the memory of unlabelled images, as the relation needs it."""
        count = self.num_rows
        graph = self.knn(self.memory.bank[0, :count], rows=rows, reach=self.relation.reach, keep_features=True,
                         center_by=self.camera_id[:count] if self.camera_centered else None)
        graph.rows = rows
        graph.person_id, graph.camera_id = self.person_id[:count], self.camera_id[:count]
        graph.meta_person = self.meta_person[:count]
        return graph

    # -- what the trainer calls ----------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Fill the memory with one evaluation-mode pass (and calibrate the BatchNorm, if asked)."""
        every = torch.arange(len(self.store))
        self.network.eval()
        pooled = map_images(self._pooled, self.store, every, **self._reading(), progress="first features")
        if self.calibrate:
            self.network.calibrate_neck(pooled)
        with torch.no_grad():
            x = self.network.neck(pooled) if self.network.test_feature == "bn" else pooled
        check_finite(x, every, self.store)
        self.memory.update(every.to(x.device), F.normalize(x, dim=1).unsqueeze(1), 1.0)

    def phases(self, epoch: int) -> Iterator[Phase]:
        """First the GCN with the CNN fixed, then the CNN with the GCN fixed."""
        if self.gcn is not None:
            yield self.gcn.phase(epoch, self.believed, self.gcn_graph)
        batches = shuffled_batches(torch.arange(self.num_rows), self.batch_size, stream(self.seed, epoch, 0))

        def begin(start: int):
            if start == 0:
                self.judged = []
            self.rate = self.gamma(epoch)
            self.schedule.apply(self.optimizer, epoch)
            self.embedder.train()
            return load(SeededViews(self.store, self.view, stream_seed(self.seed, epoch, 1)), batches[start:],
                        self.workers)
        yield Phase("cnn", len(batches), begin, self.training_step)

    def gcn_graph(self, epoch: int, alone: Tensor) -> tuple[Tensor, NeighbourLists]:
        """Features and neighbour lists of all images and of the perturbed views of ``alone``, the last nodes."""
        count = self.num_rows
        self.knn.num_capped = 0  # nothing was searched in this epoch yet; a resumed run comes here a second time
        if len(self.store) > count:  # the CNN never trains on meta images: look at them afresh
            meta = torch.arange(count, len(self.store))
            self.memory.update(meta.to(self.fabric.device),
                               embed_images(self.embedder, self.store, meta, **self._reading()), 1.0)
        bank = self.memory.bank[0]
        camera = self.camera_id if self.camera_centered else None
        graph = self.knn(bank, center_by=camera, keep_features=True)
        if not len(alone):
            return graph.x, NeighbourLists.from_graph(graph)
        views = embed_images(self.embedder, self.store, alone, view=self.perturbed_view,
                             seed=stream_seed(self.seed, epoch, 2), **self._reading())[:, 0]
        alone = alone.to(self.fabric.device)
        group = None if camera is None else camera[alone]
        virtual = self.knn(bank, queries=views, center_by=camera, query_center_by=group)
        features = torch.cat([graph.x, self.knn.space(bank, views, camera, group)[1]])
        edges = torch.cat([graph.edge_index, virtual.edge_index], dim=1)
        return features, NeighbourLists.from_graph(Data(edge_index=edges, num_nodes=len(features)))

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Keep the believed pairs for the GCN's next pass, and report them."""
        pairs = concat_pairs(self.judged, self.num_rows)
        positive = believed_graph(pairs)
        positive.num_nodes = self.num_rows
        self.believed = NeighbourLists.from_graph(positive)
        if self.record is not None:
            self.record(epoch, pairs)
        figures: dict[str, float] = {"gamma": self.gamma(epoch), "lr": self.optimizer.param_groups[0]["lr"],
                                     "pairs/believed": int(pairs.believed.sum()), "pairs/judged": len(pairs.believed)}
        if self.knn.num_capped:
            figures["knn/capped"], self.knn.num_capped = self.knn.num_capped, 0
        if bool((self.person_id[:self.num_rows] >= 0).any()):
            report = evaluate_pairs(positive.edge_index, self.person_id[:self.num_rows], self.camera_id[:self.num_rows])
            figures |= {f"pairs/{name}": value for name, value in report.summary().items()}
        return figures

    def state_dict(self) -> dict[str, Any]:
        """All state: networks, memory, P, optimisers, and the pairs judged so far in this epoch."""
        state = {"embedder": self.network.state_dict(), "memory": self.memory.state_dict(),
                 "optimizer": self.optimizer.state_dict(), "capped": self.knn.num_capped,
                 "believed": {"ptr": self.believed.ptr, "neighbour": self.believed.neighbour},
                 "judged": pair_fields(concat_pairs(self.judged, self.num_rows))}
        return state | ({"gcn": self.gcn.state_dict()} if self.gcn is not None else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        if ("gcn" in state) != (self.gcn is not None):
            raise ValueError(f"the checkpoint was made {'with' if 'gcn' in state else 'without'} a GCN, this method is "
                             f"{'without' if 'gcn' in state else 'with'} one: use the same relation")
        load_weights(self.network, state["embedder"], "the checkpoint's network")
        load_weights(self.memory, state["memory"], "the checkpoint's memory")
        self.optimizer.load_state_dict(state["optimizer"])
        self.knn.num_capped = state["capped"]
        device = self.fabric.device
        self.believed = NeighbourLists(*(state["believed"][key].to(device) for key in ("ptr", "neighbour")))
        self.judged = [Data(**{key: value.to(device) for key, value in state["judged"].items()},
                            num_nodes=self.num_rows)]
        if self.gcn is not None:
            self.gcn.load_state_dict(state["gcn"])

    def _pooled(self, images: Tensor) -> Tensor:
        with self.fabric.autocast():
            return self.network.pooled(images).float()

    def _reading(self) -> dict[str, Any]:
        return {"device": self.fabric.device, "batch_size": 2 * self.batch_size, "workers": self.workers}
