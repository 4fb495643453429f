"""MPRD's relation: a GCN judges every pair of neighbours."""
from typing import Literal, get_args

import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph import NeighbourLists, PairStatistics, PairSubgraphs
from mprd_pyg.models.pair_classifier import PairClassifier
from mprd_pyg.models.pairs import JoinedStatistics, Standardisation
from mprd_pyg.mprd.double_star import can_share, double_star_logits
from mprd_pyg.mprd.logistic_judge import LogisticJudge
from mprd_pyg.relations.base import Relation, candidate_edges, judged
from mprd_pyg.relations.controls import CONTROL_COLUMNS, OWN_LISTS, best_as_many
from mprd_pyg.sharded_rows import ShardedRows

Believe = Literal["likelihood", "similarity", "jaccard", "camera_jaccard", "edge_probability", "logistic"]


class GCNRelation(Relation):
    r"""Believes the neighbours whose pair subgraph the GCN accepts (MPRD, Ji et al., ICCV 2021, Eq. 7).

    :math:`P_i = \{i\} \cup \{j \in NN_k(i) : g_{ij} > \mu\}`.

    Args:
        classifier: the GCN; the method trains it.
        subgraphs: how a pair's subgraph is cut out.
        mu: least likelihood (0.5).
        believe: ``"likelihood"`` is the paper. The others are controls, which believe as many pairs as the GCN
            accepts, but the best by another score: ``"similarity"``; the k-reciprocal ``"jaccard"``, its camera-aware
            form ``"camera_jaccard"`` or ``"edge_probability"`` of :class:`PairStatistics`; ``"logistic"``, a
            logistic model of statistics that is fitted on the pairs which the GCN trains on. The likelihood of the
            pairs is then that score, but for ``"similarity"``, which keeps the GCN's.
        max_bytes: memory of what the pairs share, and of a forward pass; more pairs go in several passes, which changes
            no likelihood but for rounding.
        share: compute what double stars have in common once (:mod:`mprd_pyg.mprd.double_star`), where that is
            possible: Eq. 4's edges, the paper's head, on the host. False always classifies pair by pair.
        statistics: columns of :class:`PairStatistics` that the GCN reads beside the subgraph, joined before its last
            layers, and that ``"logistic"`` reads instead of its own choice. None for none (the paper).
        candidates: a relation whose judged pairs are the candidates instead of NN_k, so that pairs can be added. Then
            as many are believed as this relation believes, those of the highest likelihood. None: NN_k (the paper).
    """

    def __init__(self, classifier: PairClassifier, subgraphs: PairSubgraphs, mu: float = 0.5,
                 believe: Believe = "likelihood", max_bytes: int = 1 << 30, share: bool = True,
                 statistics: list[str] | None = None, candidates: Relation | None = None):
        if believe not in get_args(Believe):
            raise ValueError(f"believe must be one of {', '.join(get_args(Believe))}, got {believe!r}")
        if not 0 <= mu < 1:
            raise ValueError(f"mu is a likelihood in [0, 1), got {mu}")
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be positive, got {max_bytes}")
        self.gcn, self.subgraphs, self.mu, self.believe = classifier, subgraphs, mu, believe
        self.max_bytes, self.share, self.candidates = max_bytes, share, candidates
        self.reach = 2 + subgraphs.reach
        self.statistics = None if statistics is None else PairStatistics(statistics)
        self.standardise = None if statistics is None else Standardisation(len(statistics))
        self.classifier = classifier if statistics is None else JoinedStatistics(classifier, len(statistics))
        self.column = PairStatistics([CONTROL_COLUMNS[believe]]) if believe in CONTROL_COLUMNS else None
        self.logistic = LogisticJudge(*([] if statistics is None else [statistics])) if believe == "logistic" else None

    @property
    def whole_graph(self) -> bool:
        """Whether candidates lie anywhere, or statistics count who lists an image: a batch's graph is too small."""
        if self.candidates is not None:
            return True
        read = [self.statistics, None if self.logistic is None else self.logistic.statistics]
        return any(not OWN_LISTS.issuperset(statistics.names) for statistics in read if statistics is not None)

    @torch.no_grad()
    def __call__(self, graph: Data) -> Data:
        """Judge the edges into ``graph.rows``, or the candidates of these rows."""
        wide = None if self.candidates is None else self.candidates(graph)
        edges, similarity = candidate_edges(graph) if wide is None else (wide.edge_index, wide.edge_attr)
        pairs = edges.flip(0).T
        likelihood = self.likelihood(graph, pairs)
        believed = likelihood > self.mu if wide is None else best_as_many(likelihood, wide.believed)
        if self.believe == "similarity":
            believed = best_as_many(similarity, believed)
        elif self.believe != "likelihood" and len(pairs):
            likelihood = self.column(graph, pairs)[:, 0] if self.logistic is None else self.logistic(graph, pairs)
            believed = best_as_many(likelihood, believed)
        return judged(graph, edges, similarity, likelihood, believed)

    @torch.no_grad()
    def likelihood(self, graph: Data, pairs: Tensor) -> Tensor:
        """The GCN's g of pairs (P, 2) -> (P,); ``graph.x`` holds the nodes' features."""
        if not len(pairs):
            return graph.edge_attr.new_zeros(0)
        training = self.classifier.training
        self.classifier.eval()
        statistics = None if self.statistics is None else self.standardise(self.statistics(graph, pairs))
        logits = self._logits(NeighbourLists.from_graph(graph), graph.x, pairs, statistics)
        self.classifier.train(training)
        return logits.sigmoid()

    def _logits(self, lists: NeighbourLists, features: Tensor | ShardedRows, pairs: Tensor,
                statistics: Tensor | None) -> Tensor:
        gcn = self.gcn
        self.subgraphs.check(pairs, lists.num_nodes)
        walk = self.subgraphs.lists(lists)
        double_stars = self.share and self.subgraphs.edges == "roots" and self.subgraphs.hops == 1
        # Features are projected once per node in reach, and are never gathered per subgraph. On the host the rows of
        # other nodes take no memory; elsewhere those of a sharded memory would.
        projected = None
        if isinstance(features, Tensor) or double_stars and can_share(gcn, features):
            nodes = walk.reached(pairs.flatten(), self.subgraphs.hops).nonzero().flatten()
            projected = gcn.project_rows(features, nodes)
        if double_stars and projected is not None and can_share(gcn, projected):
            score = None if statistics is None else (
                lambda pooled, asked: self.classifier.score(pooled, statistics[asked]))
            return double_star_logits(gcn, walk, pairs, projected, self.max_bytes, score)
        node_bytes = 4 * gcn.conv1.out_channels * features.dtype.itemsize
        logits, start = [], 0
        for batch in self.subgraphs.batches(lists, pairs, max_bytes=min(self.max_bytes, 1 << 27),
                                            node_bytes=node_bytes):
            if statistics is not None:
                batch.statistics = statistics[start:start + batch.num_graphs]
                start += batch.num_graphs
            if projected is None:
                nodes, batch.n_id = batch.n_id.unique(return_inverse=True)
                logits.append(self.classifier(batch, features[nodes]))
            else:
                logits.append(self.classifier(batch, features, projected))
        return torch.cat(logits)
