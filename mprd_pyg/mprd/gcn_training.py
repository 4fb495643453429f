"""Training the GCN with the CNN fixed (MPRD, Ji et al., ICCV 2021, Alg. 1 lines 3-7, Sec. 4.2)."""
from typing import Any, Literal

import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.data.views import shuffled_batches
from mprd_pyg.graph import NeighbourLists, PairStatistics
from mprd_pyg.mprd.gcn_relation import GCNRelation
from mprd_pyg.mprd.pair_loss import pair_loss
from mprd_pyg.mprd.pair_sampling import MetaPairs, PairSample, UnlabelledPairs
from mprd_pyg.random_streams import stream, stream_seed
from mprd_pyg.relations import Relation, believed_graph
from mprd_pyg.sharded_rows import ShardedRows
from mprd_pyg.training import Learner, MemoryGraph, Phase


class GCNTraining:
    r"""One pass of the GCN over the unlabelled images per epoch, on pseudo-labelled and on meta pairs.

    The loss is :math:`L^u + \eta L^m` (Eq. 10), :math:`\eta` being the number of meta graphs over that of unlabelled
    graphs in the mini-batch.

    Args:
        relation: holds the classifier.
        learner: embeds the meta images and the perturbed views; without meta images this is MPRD(0id).
        connect: the memory and its neighbour search.
        perturbed_view: that of x' in Sec. 4.2.
        unlabelled_pairs: False trains on meta data alone, "MPRD w/o" of Table 1.
        batch_size: images per step, half of them meta images where there are both.
        lr: learning rate.
        optimizer: ``"sgd"`` (momentum 0.9, the paper) or ``"adam"``.
        weight_decay: L2 penalty.
        hard_fraction: size of the hard negative list relative to the negatives.
        cross_negatives: pairs with unlabelled images per meta image.
        teacher: a relation whose believed pairs, by the memory as the epoch begins, take the place of the P_i of the
            epoch before; pairs that it judged without believing them are no negatives (not in the paper).
    """

    def __init__(self, relation: GCNRelation, learner: Learner, connect: MemoryGraph, perturbed_view: Any,
                 unlabelled_pairs: bool = True, batch_size: int = 32, lr: float = 0.001,
                 optimizer: Literal["sgd", "adam"] = "sgd", weight_decay: float = 5e-4, hard_fraction: float = 0.01,
                 cross_negatives: int = 1, teacher: Relation | None = None):
        if optimizer not in ("sgd", "adam"):
            raise ValueError(f"optimizer must be 'sgd' or 'adam', got {optimizer!r}")
        images = learner.images
        meta_person = images.meta[images.num_unlabelled:]
        self.num_unlabelled, self.num_meta = images.num_unlabelled, len(meta_person)
        if not unlabelled_pairs and not self.num_meta:
            raise ValueError("without unlabelled pairs the GCN needs meta data: set meta_identities to at least 2")
        if teacher is not None:
            teacher.check(images)
        self.teacher = teacher
        self.relation, self.classifier = relation, relation.classifier.to(learner.fabric.device)
        self.learner, self.connect, self.perturbed_view = learner, connect, perturbed_view
        self.hard_fraction, self.unlabelled_pairs = hard_fraction, unlabelled_pairs
        self.meta = MetaPairs(meta_person, self.num_unlabelled, cross_negatives) if self.num_meta else None
        self.batch_size = batch_size // 2 if unlabelled_pairs and self.num_meta else batch_size
        if optimizer == "sgd":
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
                self.classifier.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay, nesterov=True, fused=True)
        else:
            self.optimizer = torch.optim.Adam(self.classifier.parameters(), lr=lr, weight_decay=weight_decay,
                                              fused=True)
        self.parts: dict[str, Any] = {"gcn": self.classifier, "gcn_optimizer": self.optimizer}
        if relation.statistics is not None:
            self.parts["gcn_statistics"] = relation.standardise.to(learner.fabric.device)
        if relation.logistic is not None:
            self.parts["logistic"] = relation.logistic

    def phase(self, epoch: int, believed: NeighbourLists) -> Phase:
        """The GCN's pass of an epoch.

        Args:
            epoch: counted from 1.
            believed: P_i without i, from the epoch before.
        """
        rows, seed = torch.arange(self.num_unlabelled), self.learner.seed
        batches = shuffled_batches(rows, self.batch_size, stream(seed, epoch, 10), least=1)

        def begin(start: int):
            drawer = self.drawer(believed)
            alone = drawer.without_positives() if self.unlabelled_pairs else rows[:0]
            graphs = self.graphs(epoch, alone)
            features, lists = self.nodes(graphs)
            view_node = torch.full((self.num_unlabelled,), -1, device=features.device)
            view_node[alone.to(features.device)] = torch.arange(len(features) - len(alone), len(features),
                                                                device=features.device)
            self.classifier.train()

            def draw(step: int) -> tuple[PairSample | None, ...]:
                anchors = torch.tensor(batches[step], device=features.device)
                return self.draw(anchors, drawer, features, lists, view_node, stream(seed, epoch, 11, step))
            if self.relation.statistics is None and self.relation.logistic is None:
                drawn = (draw(step) for step in range(start, len(batches)))
            else:  # all pairs of the epoch are drawn first, whatever the first step: statistics are fitted on them
                drawn = [draw(step) for step in range(len(batches))]
                self.fit_statistics(graphs[0], len(alone), [part for parts in drawn for part in parts if part])
                drawn = drawn[start:]
            for parts in drawn:
                yield features, lists, parts
        return Phase("gcn", len(batches), begin, self.training_step)

    def drawer(self, believed: NeighbourLists) -> UnlabelledPairs:
        """Draws pairs by P_i of the epoch before, or by what the teacher says of the memory."""
        undecided = None
        if self.teacher is not None:
            pairs = self.teacher(self.connect(torch.arange(self.num_unlabelled, device=believed.ptr.device),
                                              self.teacher.reach)[0])
            believed, undecided = (NeighbourLists.from_graph(part) for part in (believed_graph(pairs), pairs))
        return UnlabelledPairs(believed, self.num_unlabelled, self.hard_fraction, undecided)

    def nodes(self, graphs: list[Data]) -> tuple[Tensor | ShardedRows, NeighbourLists]:
        """Features (T, d) and neighbour lists of the nodes of :meth:`graphs`."""
        graph, = graphs
        return graph.x, NeighbourLists.from_graph(graph)

    def graphs(self, epoch: int, alone: Tensor) -> list[Data]:
        """The M graphs of the memory with the meta images, seen afresh, and the perturbed views as further nodes."""
        meta = self.learner.embed(self.learner.images.meta_rows, seed=stream_seed(self.learner.seed, epoch, 3))
        views, alone, camera = None, alone.to(meta.device), self.learner.images.camera
        if len(alone):
            kept = self.connect.memory.empty_like(len(alone))
            self.learner.embed(alone, self.perturbed_view, stream_seed(self.learner.seed, epoch, 2), into=kept.put)
            views = kept.bank
        graphs = self.connect.whole(meta, views, alone)
        for graph in graphs:
            graph.camera_id = torch.cat([camera, camera[alone]])
        return graphs

    def fit_statistics(self, graph: Data, num_views: int, samples: list[PairSample]) -> None:
        """Fit what reads statistics on all labelled pairs of the epoch, and put the GCN's on the samples."""
        pairs, relation = torch.cat([sample.pairs for sample in samples]), self.relation
        if relation.statistics is not None:
            columns = statistics_beside_views(relation.statistics, graph, num_views, pairs)
            standardised = relation.standardise.fit(columns)(columns)
            for sample, own in zip(samples, standardised.split([len(s.pairs) for s in samples]), strict=True):
                sample.statistics = own
        if relation.logistic is not None:
            columns = statistics_beside_views(relation.logistic.statistics, graph, num_views, pairs)
            relation.logistic.fit(columns, torch.cat([sample.label for sample in samples]))

    def draw(self, anchors, drawer, features, lists, view_node, generator) -> tuple[PairSample | None, ...]:
        """Unlabelled and meta pairs of one mini-batch; None for a part that is not used."""
        unlabelled = meta = None
        if self.unlabelled_pairs:
            unlabelled = drawer(anchors, features[:self.num_unlabelled], lists, view_node, generator)
        if self.meta is not None:
            chosen = torch.randperm(self.num_meta, generator=generator)[:self.batch_size].to(anchors.device)
            meta = self.meta(chosen, anchors, generator)
        return unlabelled, meta

    def training_step(self, batch) -> dict[str, Tensor | float]:
        """One step on a mini-batch of pairs."""
        features, lists, (unlabelled, meta) = batch
        loss, eta = self.loss(features, lists, unlabelled, meta)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss.detach(), "eta": eta}

    def loss(self, features: Tensor | ShardedRows, lists: NeighbourLists, unlabelled: PairSample | None,
             meta: PairSample | None) -> tuple[Tensor, float]:
        """L_u + eta L_m (Eq. 10) and eta."""
        parts = [part for part in (unlabelled, meta) if part is not None]
        batch = self.relation.subgraphs(lists, torch.cat([part.pairs for part in parts]))
        if parts[0].statistics is not None:
            batch.statistics = torch.cat([part.statistics for part in parts])
        # Only the nodes at hand are projected by the first layer.
        nodes, batch.n_id = batch.n_id.unique(return_inverse=True)
        logits = self.classifier(batch, features[nodes]).split([len(part.pairs) for part in parts])
        losses = [pair_loss(logit, part.label, part.owner, part.num_images)
                  for logit, part in zip(logits, parts, strict=True)]
        if len(parts) == 1:
            return losses[0], float(meta is not None)
        eta = len(meta.pairs) / len(unlabelled.pairs)
        return losses[0] + eta * losses[1], eta


def statistics_beside_views(statistics: PairStatistics, graph: Data, num_views: int, pairs: Tensor) -> Tensor:
    """Statistics (P, F) of pairs (P, 2) in a graph whose last ``num_views`` nodes are views, nobody's neighbours.

    Statistics read edges both ways, and a view's list would make it a neighbour of those in it. So pairs of images are
    read from the graph without any view; pairs with a view from the whole graph.
    """
    real = graph.num_nodes - num_views
    with_view = (pairs >= real).any(dim=1)
    out = torch.empty(len(pairs), len(statistics.columns(graph)), device=pairs.device)
    if bool(with_view.any()):
        out[with_view] = statistics(graph, pairs[with_view])
    if not bool(with_view.all()):
        keep = graph.edge_index[1] < real
        images = Data(x=graph.x[:real], edge_index=graph.edge_index[:, keep], edge_attr=graph.edge_attr[keep],
                      camera_id=graph.camera_id[:real], num_nodes=real)
        out[~with_view] = statistics(images, pairs[~with_view])
    return out
