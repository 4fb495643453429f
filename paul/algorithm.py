"""PAUL: embed, remember, connect, relate, compare, patch by patch (Yang et al., CVPR 2019, Sec. 3)."""
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch_geometric.data import Data
from torchvision.transforms import v2

from mprd_pyg.data.views import SeededViews, load, plain_view, shuffled_batches, stream, stream_seed
from mprd_pyg.evaluation import evaluate_pairs
from mprd_pyg.graph import KNNGraph
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.models.embedding import to_device
from mprd_pyg.relations import KNearest, Relation, concat_pairs, pair_fields
from mprd_pyg.training.checkpoint import load_weights
from mprd_pyg.training.checks import check_finite
from mprd_pyg.training.schedules import StepSchedule
from mprd_pyg.training.trainer import Phase
from paul.first_features import feature_maker
from paul.ipfl import IPFL, FrozenProjection
from paul.patch_pairs import join_branches
from paul.pedal import Pedal
from paul.views import SideBySide


class PAUL:
    """Trains an embedder on unlabelled images: similar patches attract each other, other images repel.

    With a pre-trained :class:`PatchNet` this is PAUL; with one branch (an ``ImageEmbedder``) it is the
    image-level row of Table 3, and with another relation PEDAL's similar patches are that relation's.

    Args:
        fabric: device and precision.
        embedder: (B, 3, H, W) -> (B, M, d), with ``dim``, ``branches`` and ``parameter_groups``; its patch
            generation network, where it has one, is frozen here (Sec. 4.2: "Then we fixed the PGN").
        store: training images, i -> uint8 (3, H, W).
        camera_id: (N,) cameras; read by a camera-centred search and by the figures.
        surrogate: makes surrogate positives, :func:`paul.views.surrogate_view`; needed by IPFL only.
        relation: which patches are similar; by default the k nearest, Eq. 2's K.
        knn: the neighbour search, from live features among the memory's; k = 10 and L2 by default.
        pedal: Eq. 2 (its own k is not used: the relation says which patches are similar).
        ipfl: Eq. 3.
        view: of the real images; as they are by default.
        person_id: (N,) identities, -1 where unknown; only for figures and for relations that read labels.
        meta_person: (N,) identities of labelled meta images, -1 elsewhere; for relations that read them.
        camera_centered: search neighbours with each camera's mean feature subtracted (not in the paper).
        pedal_weight: lambda of Eq. 4; 0 leaves L_c out.
        ipfl_weight: 1 in Eq. 4; 0 leaves L_v out, and the surrogates with it.
        rate: l of Eq. 1, the weight of the new feature.
        first_features: fill the memory at t = 0 in BatchNorm's ``"train"`` mode, as the live features will be
            made (the released code), or in its ``"eval"`` mode.
        projection: compute IPFL in a frozen projection of each branch (the released code).
        centre_rate: compute IPFL against image features smoothed with this weight of the new one (released
            code: 0.1, starting with the feature of the first epoch); None is the paper.
        epochs: T.
        batch_size: real images per step; as many surrogates are added.
        trunk_lr: learning rate of the trunk.
        new_lr: learning rate of the other layers.
        schedule: their multiplier by epoch; a tenth after epoch 50 by default.
        weight_decay: L2 penalty.
        workers: processes that read images.
        seed: of order and views.
        record: called with the epoch and the judged pairs at its end; ``branch`` (E,) says in which patch.
    """

    def __init__(self, fabric: Fabric, embedder: nn.Module, store: Sequence[Tensor], camera_id: Tensor,
                 surrogate: v2.Transform | None = None, relation: Relation | None = None,
                 knn: KNNGraph | None = None, pedal: Pedal | None = None, ipfl: IPFL | None = None,
                 view: v2.Transform | None = None, person_id: Tensor | None = None,
                 meta_person: Tensor | None = None, camera_centered: bool = False, pedal_weight: float = 2.0,
                 ipfl_weight: float = 1.0, rate: float = 0.1, first_features: str = "train",
                 projection: FrozenProjection | None = None, centre_rate: float | None = None,
                 epochs: int = 60, batch_size: int = 40, trunk_lr: float = 1e-4, new_lr: float = 1e-4,
                 schedule: StepSchedule | None = None, weight_decay: float = 1e-4, workers: int = 0,
                 seed: int = 0, record: Callable[[int, Data], None] | None = None):
        device, unknown = fabric.device, torch.full((len(store),), -1)
        self.person_id = (unknown if person_id is None else person_id).to(device)
        self.meta_person = (unknown if meta_person is None else meta_person).to(device)
        self.camera_id, self.camera_centered = camera_id.to(device), camera_centered
        self.knn = knn or KNNGraph(k=10, metric="l2")
        self.relation = relation or KNearest(self.knn.k)
        self.pedal, self.pedal_weight = pedal or Pedal(), pedal_weight
        self.ipfl, self.ipfl_weight = ipfl or IPFL(), ipfl_weight
        self.fabric, self.store, self.num_rows, self.record = fabric, store, len(store), record
        self.epochs, self.batch_size, self.workers, self.seed = epochs, batch_size, workers, seed
        self.rate, self.first_features, self.centre_rate = rate, first_features, centre_rate
        self._check(surrogate)
        self.view = SideBySide(view or plain_view(), *([surrogate] if ipfl_weight else []))
        self.schedule = schedule or StepSchedule((50,))
        if hasattr(embedder, "freeze_patches"):
            embedder.freeze_patches()
        self.network = embedder.to(device, memory_format=torch.channels_last)
        self.embedder, self.optimizer = fabric.setup(self.network, torch.optim.SGD(
            embedder.parameter_groups(trunk_lr, new_lr), momentum=0.9, weight_decay=weight_decay))
        branches, dim = embedder.branches, embedder.dim
        self.memory = FeatureMemory(len(store), dim, branches, normalize=False).to(device)
        self.projection = (projection or nn.Identity()).to(device)
        self.centres: FeatureMemory | None = None
        if centre_rate is not None:
            size = branches * (dim if projection is None else projection.weight.shape[1])
            self.centres = FeatureMemory(len(store), size, normalize=False).to(device)
        self.judged: list[Data] = []

    # -- the five verbs --------------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor | float]:
        """One step (Eq. 4): images (B, V, 3, H, W), each with its surrogate, and rows (B,)."""
        images, rows = batch
        rows = rows.to(self.fabric.device)
        x = self.embedder(to_device(images.transpose(0, 1).flatten(0, 1), self.fabric.device))  # embed
        check_finite(x, rows, self.store)
        real, surrogate = x[:len(rows)], x[len(rows):]
        self.memory.update(rows, real.detach(), self.rate)                                      # remember
        loss, figures = x.new_zeros(()), {}
        if self.pedal_weight:
            graphs = self.connect(real, rows)                                                   # connect
            pairs = self.relate(graphs)                                                         # relate
            positives = [part.edge_index[:, part.believed] for part in pairs]
            patch_loss = self.pedal(real, self.memory.bank, rows, positives)                    # compare
            loss = loss + self.pedal_weight * patch_loss
            self.judged.append(join_branches(pairs))
            count = sum(edges.shape[1] for edges in positives)
            figures |= {"pedal": patch_loss.detach(), "positives": count / (len(rows) * len(positives))}
        if self.ipfl_weight:
            image_loss = self.compare_images(real, surrogate, rows)                             # compare
            loss = loss + self.ipfl_weight * image_loss
            figures |= {"ipfl": image_loss.detach(), "triplets": self.ipfl.num_valid / self.ipfl.num_anchors}
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()
        return {"loss": loss.detach(), **figures}

    def connect(self, x: Tensor, rows: Tensor) -> list[Data]:
        """M graphs: the neighbours in the memory of the live features x (B, M, d) of ``rows``.

        For relations that read it, ``graph.x`` holds unit features: the memory's, live ones for ``rows``.
        """
        camera, bank = self.camera_id if self.camera_centered else None, self.memory.bank
        live = x.detach().transpose(0, 1).to(bank.dtype)
        graphs = self.knn(bank, rows=rows, queries=live, reach=self.relation.reach, center_by=camera,
                          keep_features=True)
        own = None if camera is None else camera[rows]
        for m, graph in enumerate(graphs):
            queries = self.knn.space(bank[m], live[m], camera, own)[1]
            graph.x = F.normalize(graph.x, dim=1).index_copy(0, rows, F.normalize(queries, dim=1))
            graph.rows, graph.person_id, graph.camera_id = rows, self.person_id, self.camera_id
            graph.meta_person = self.meta_person
        return graphs

    def relate(self, graphs: list[Data]) -> list[Data]:
        """The judged pairs of each branch."""
        return [self.relation(graph) for graph in graphs]

    def compare_images(self, real: Tensor, surrogate: Tensor, rows: Tensor) -> Tensor:
        """IPFL on concatenated patch features (B, M, d)."""
        anchor, positive = (self.projection(part).flatten(1) for part in (real, surrogate))
        if self.centres is None:
            return self.ipfl(anchor, positive)
        mean = (anchor.detach() + positive.detach()) / 2
        self.centres.update(rows, mean.unsqueeze(1), self.centre_rate if self.epoch > 1 else 1.0)
        return self.ipfl(anchor, positive, self.centres.bank[0, rows])

    # -- what the trainer calls ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Fill the memory (Eq. 1, t = 0)."""
        x = feature_maker(self.first_features)(
            self.embedder, self.store, device=self.fabric.device, workers=self.workers,
            batch_size=2 * self.batch_size, seed=self.seed, progress="first features")
        rows = torch.arange(self.num_rows, device=x.device)
        check_finite(x, rows, self.store)
        self.memory.update(rows, x, 1.0)
        if self.centres is not None:
            self.centres.update(rows, self.projection(x).flatten(1).unsqueeze(1), 1.0)

    def phases(self, epoch: int) -> Iterator[Phase]:
        """One pass over the images."""
        least = self.ipfl.r + 2 if self.ipfl_weight else 2
        every, order = torch.arange(self.num_rows), stream(self.seed, epoch, 0)
        batches = shuffled_batches(every, self.batch_size, order, least)

        def begin(start: int):
            if start == 0:
                self.judged = []
            self.epoch = epoch
            self.schedule.apply(self.optimizer, epoch)
            self.embedder.train()
            return load(SeededViews(self.store, self.view, stream_seed(self.seed, epoch, 1)), batches[start:],
                        self.workers)
        yield Phase("paul", len(batches), begin, self.training_step)

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Report the similar patches, the branches together."""
        figures: dict[str, float] = {"lr": self.optimizer.param_groups[0]["lr"]}
        if not self.pedal_weight:
            return figures
        pairs = concat_pairs(self.judged, self.num_rows)
        if self.record is not None:
            self.record(epoch, pairs)
        figures |= {"pairs/believed": int(pairs.believed.sum()), "pairs/judged": len(pairs.believed)}
        if self.knn.num_capped:
            figures["knn/capped"], self.knn.num_capped = self.knn.num_capped, 0
        if bool((self.person_id >= 0).any()):
            report = evaluate_pairs(pairs.edge_index[:, pairs.believed], self.person_id, self.camera_id)
            figures |= {f"pairs/{name}": value for name, value in report.summary().items()}
        return figures

    def state_dict(self) -> dict[str, Any]:
        """All state: network, memories, projection, optimiser, and the pairs judged so far in this epoch."""
        return {name: part.state_dict() for name, part in self._parts().items()} | {
            "optimizer": self.optimizer.state_dict(), "capped": self.knn.num_capped,
            "judged": pair_fields(concat_pairs(self.judged, self.num_rows))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        if ("centres" in state) != (self.centres is not None):
            had, has = ("with", "without") if "centres" in state else ("without", "with")
            raise ValueError(f"the checkpoint was made {had} smoothed centres, this method is {has}: use the "
                             f"centre_rate it was made with")
        for name, part in self._parts().items():
            load_weights(part, state[name], f"the checkpoint's {name}")
        self.optimizer.load_state_dict(state["optimizer"])
        self.knn.num_capped = state["capped"]
        judged = {key: value.to(self.fabric.device) for key, value in state["judged"].items()}
        self.judged = [Data(**judged, num_nodes=self.num_rows)]

    def _parts(self) -> dict[str, nn.Module]:
        parts = {"embedder": self.network, "memory": self.memory, "projection": self.projection}
        return parts | ({} if self.centres is None else {"centres": self.centres})

    def _check(self, surrogate: v2.Transform | None) -> None:
        if self.first_features not in ("train", "eval"):
            raise ValueError(f"first_features must be 'train' or 'eval', got {self.first_features!r}")
        weights = (self.pedal_weight, self.ipfl_weight)
        if min(weights) < 0 or not sum(weights):
            raise ValueError(f"pedal_weight and ipfl_weight must not be negative nor both 0, got {weights}")
        if self.pedal_weight and self.num_rows <= self.knn.k:
            raise ValueError(f"{self.num_rows} training images are fewer than k + 1 = {self.knn.k + 1}: "
                             f"lower knn.k or train on more images")
        if self.pedal_weight and self.relation.needs_labels and bool((self.person_id < 0).all()):
            raise ValueError(f"{type(self.relation).__name__} reads the identities, which are unknown")
        if self.ipfl_weight and surrogate is None:
            raise ValueError("IPFL needs the view that makes surrogate positives: give surrogate_view(H, W), "
                             "or leave the loss out with ipfl_weight=0")
        if self.ipfl_weight and min(self.batch_size, self.num_rows) <= self.ipfl.r + 1:
            raise ValueError(f"cyclic ranking needs batches of more than r + 1 = {self.ipfl.r + 1} images, "
                             f"got batch_size={self.batch_size} of {self.num_rows}: raise it or lower ipfl.r")
