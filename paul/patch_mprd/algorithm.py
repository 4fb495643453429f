"""PatchMPRD: PAUL's patch memories and losses, with positives from MPRD's GCN over all branch graphs."""
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Subset
from torch_geometric.data import Data
from torchvision.transforms import v2

from mprd_pyg.data.views import stream, stream_seed
from mprd_pyg.graph import NeighbourLists
from mprd_pyg.graph.neighbour_lists import unique_keys
from mprd_pyg.relations import KNearest
from mprd_pyg.relations.base import candidate_edges, judged
from mprd_pyg.training.trainer import Phase
from paul import PAUL
from paul.first_features import feature_maker
from paul.patch_mprd.branch_gcn import BranchGCNTraining
from paul.patch_mprd.branch_lists import BranchLists


class PatchMPRD(PAUL):
    """Not in either paper: PAUL (Yang et al., CVPR 2019) whose similar patches are judged as in MPRD (Ji et al., 2021).

    Each epoch first trains the GCN with the network fixed, on pairs drawn as in MPRD's Alg. 1, then the network with
    the GCN fixed: the candidates are the neighbours of the live features in the M branch graphs, the GCN judges them
    by the neighbourhoods of their patches, and those it accepts are PEDAL's positives. With an ``ImageEmbedder``
    (M = 1) this is MPRD's relation in PAUL's losses.

    Args:
        fabric: device and precision.
        embedder: as :class:`paul.PAUL`.
        store: the N unlabelled training images.
        camera_id: (N,) cameras.
        surrogate: makes surrogate positives; needed by IPFL only.
        gcn: trains the judge, its :class:`BranchGCN`.
        perturbed_view: that of x' in MPRD's Sec. 4.2.
        meta_store: the Z labelled meta images, which the network never trains on.
        meta_camera: (Z,) their cameras.
        paul: further arguments of :class:`paul.PAUL`.
    """

    def __init__(self, fabric: Fabric, embedder: nn.Module, store: Sequence[Tensor], camera_id: Tensor,
                 surrogate: v2.Transform | None, gcn: BranchGCNTraining, perturbed_view: v2.Transform,
                 meta_store: Sequence[Tensor] = (), meta_camera: Tensor | None = None, **paul):
        super().__init__(fabric, embedder, store, camera_id, surrogate, **paul)
        if not isinstance(self.relation, KNearest):
            raise ValueError(f"PatchMPRD's relation is its GCN, but {self.relation!r} was given: use PAUL with it")
        if not self.pedal_weight:
            raise ValueError("PatchMPRD's GCN judges for L_c: pedal_weight must not be 0")
        if gcn.num_meta != len(meta_store):
            raise ValueError(f"the GCN's training was told of {gcn.num_meta} meta images, {len(meta_store)} are given")
        self.gcn, self.judge, self.perturbed_view = gcn, gcn.relation, perturbed_view
        self.meta_store = meta_store
        self.meta_camera = (camera_id[:0] if meta_camera is None else meta_camera).to(fabric.device)
        none = torch.zeros(0, dtype=torch.long, device=fabric.device)
        self.believed = NeighbourLists(torch.zeros(self.num_rows + 1, dtype=torch.long, device=fabric.device), none)

    # -- connect and relate: what differs from PAUL --------------------------------------------------------------

    def connect(self, x: Tensor, rows: Tensor) -> list[Data]:
        """PAUL's M graphs of the live features, with the lists of all nodes that the judge will read."""
        graphs = super().connect(x, rows)
        camera = self.camera_id if self.camera_centered else None
        seen = torch.zeros(self.num_rows, dtype=torch.bool, device=rows.device)
        seen[rows] = True
        for _ in range(1 + self.judge.subgraphs.reach):
            found = torch.zeros_like(seen)
            for graph in graphs:
                found[graph.edge_index[0]] = True
            found = (found & ~seen).nonzero().flatten()
            if not len(found):
                break
            for graph, bank in zip(graphs, self.memory.bank, strict=True):
                more = self.knn(bank, rows=found, center_by=camera)
                graph.edge_index = torch.cat([graph.edge_index, more.edge_index], dim=1)
                graph.edge_attr = torch.cat([graph.edge_attr, more.edge_attr])
            seen[found] = True
        return graphs

    def relate(self, graphs: list[Data]) -> list[Data]:
        """The judged pairs of each branch."""
        edges = [candidate_edges(graph)[0] for graph in graphs]
        total = self.num_rows
        if self.judge.form != "separate":  # candidates of any branch are judged for all
            key = unique_keys(torch.cat([part[1] * total + part[0] for part in edges]))
            node = torch.div(key, total, rounding_mode="floor")
            union = torch.stack([key - node * total, node])
            edges = [union] * len(graphs)
        features = torch.stack([graph.x for graph in graphs], dim=1)
        lists = BranchLists.from_graphs(graphs)
        if self.judge.form == "separate":
            likelihood = self._separately(features, lists, edges)
        else:
            likelihood = [self.judge.likelihood(features, lists, union.flip(0).T)[0]] * len(graphs)
        return [judged(graph, part, (graph.x[part[0]] * graph.x[part[1]]).sum(1), g, g > self.judge.mu)
                for graph, part, g in zip(graphs, edges, likelihood, strict=True)]

    def _separately(self, features: Tensor, lists: BranchLists, edges: list[Tensor]) -> list[Tensor]:
        """Each branch's own candidates, judged in that branch: (E_m,) each."""
        return [self.judge.likelihood(features[:, m:m + 1], BranchLists(one.ptr, one.neighbour, (one,)),
                                      part.flip(0).T)[0]
                for m, (one, part) in enumerate(zip(lists.branches, edges, strict=True))]

    # -- what the trainer calls ----------------------------------------------------------------------------------

    def phases(self, epoch: int) -> Iterator[Phase]:
        """First the GCN with the network fixed, then the network with the GCN fixed."""
        yield self.gcn.phase(epoch, self.believed, self.gcn_graph)
        yield from super().phases(epoch)

    def gcn_graph(self, epoch: int, alone: Tensor) -> tuple[Tensor, BranchLists]:
        """Features (T, M d) and lists of the N images, the Z meta images and the perturbed views of ``alone``."""
        camera, bank = self.camera_id if self.camera_centered else None, self.memory.bank
        self.knn.num_capped = 0  # nothing was searched in this epoch yet; a resumed run comes here a second time
        if len(self.meta_store):
            meta = self._embed(self.meta_store, stream_seed(self.seed, epoch, 3))
            bank = torch.cat([bank, meta.transpose(0, 1).to(bank.dtype)], dim=1)
            camera = None if camera is None else torch.cat([camera, self.meta_camera])
        views = bank.new_zeros(0, len(bank), bank.shape[2])
        if len(alone):
            views = self._embed(Subset(self.store, alone.tolist()), stream_seed(self.seed, epoch, 2),
                                self.perturbed_view)
        group = None if camera is None else camera[alone.to(camera.device)]
        features, graphs = [], []
        for branch, view in zip(bank, views.transpose(0, 1).to(bank.dtype), strict=True):
            graph = self.knn(branch, center_by=camera)
            space, view_space = self.knn.space(branch, view, camera, group)
            if len(alone):
                virtual = self.knn(branch, queries=view, center_by=camera, query_center_by=group)
                graph.edge_index = torch.cat([graph.edge_index, virtual.edge_index], dim=1)
            graph.num_nodes = len(space) + len(view_space)
            features.append(F.normalize(torch.cat([space, view_space]), dim=1))
            graphs.append(graph)
        return torch.cat(features, dim=1) / len(features) ** 0.5, BranchLists.from_graphs(graphs)

    def _embed(self, images: Sequence[Tensor], seed: int, view: v2.Transform | None = None) -> Tensor:
        """Features (R, M, d) of further images, made as the memory's are.

        In training mode they go among as many random training images, whose statistics are the memory's.
        """
        if self.first_features == "train":
            count = max(len(images), 2 * self.batch_size - len(images))
            others = torch.randperm(self.num_rows, generator=stream(seed, 1))[:count].tolist()
            mixed = ConcatDataset([images, Subset(self.store, others)])
        else:
            mixed = images
        return feature_maker(self.first_features)(
            self.embedder, mixed, view=view, seed=seed, device=self.fabric.device, batch_size=2 * self.batch_size,
            workers=self.workers)[:len(images)]

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """Keep, for the GCN's next pass, the images believed in at least half of the branches; report as PAUL."""
        total, branches = self.num_rows, self.memory.bank.shape[0]
        edges = torch.cat([part.edge_index[:, part.believed] for part in self.judged], dim=1)
        key, count = (edges[1] * total + edges[0]).unique(return_counts=True)
        key = key[2 * count >= branches]
        node = torch.div(key, total, rounding_mode="floor")
        self.believed = NeighbourLists.from_graph(Data(edge_index=torch.stack([key - node * total, node]),
                                                       num_nodes=total))
        return super().end_epoch(epoch) | {"pairs/images_per_image": len(key) / total}

    def state_dict(self) -> dict[str, Any]:
        """PAUL's state, the GCN and P."""
        return super().state_dict() | {"gcn": self.gcn.state_dict(), "believed": {
            "ptr": self.believed.ptr, "neighbour": self.believed.neighbour}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it back."""
        if "gcn" not in state:
            raise ValueError("the checkpoint was made without a GCN: it is PAUL's, not PatchMPRD's")
        super().load_state_dict(state)
        self.gcn.load_state_dict(state["gcn"])
        self.believed = NeighbourLists(*(state["believed"][key].to(self.fabric.device) for key in ("ptr", "neighbour")))
