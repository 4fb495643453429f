"""MPRD's relation: a GCN judges every pair of neighbours."""
import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph import NeighbourLists, PairSubgraphs
from mprd_pyg.models.pair_classifier import PairClassifier
from mprd_pyg.mprd.double_star import can_share, double_star_logits
from mprd_pyg.relations.base import Relation, candidate_edges, judged


class GCNRelation(Relation):
    r"""Believes the neighbours whose pair subgraph the GCN accepts (MPRD, Ji et al., ICCV 2021, Eq. 7).

    :math:`P_i = \{i\} \cup \{j \in NN_k(i) : g_{ij} > \mu\}`.

    Args:
        classifier: the GCN; the method trains it.
        subgraphs: how a pair's subgraph is cut out.
        mu: least likelihood (0.5).
        believe: ``"likelihood"`` is the paper. ``"similarity"`` is a control: it believes as many pairs as the GCN
            accepts, but the most similar ones.
        max_bytes: memory of what the pairs share, and of a forward pass; more pairs go in several passes, which changes
            no likelihood but for rounding.
        share: compute what double stars have in common once (:mod:`mprd_pyg.mprd.double_star`), where that is
            possible: Eq. 4's edges, the paper's head, on the host. False always classifies pair by pair.
    """

    def __init__(self, classifier: PairClassifier, subgraphs: PairSubgraphs, mu: float = 0.5,
                 believe: str = "likelihood", max_bytes: int = 1 << 30, share: bool = True):
        if believe not in ("likelihood", "similarity"):
            raise ValueError(f"believe must be 'likelihood' or 'similarity', got {believe!r}")
        if not 0 <= mu < 1:
            raise ValueError(f"mu is a likelihood in [0, 1), got {mu}")
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be positive, got {max_bytes}")
        self.classifier, self.subgraphs, self.mu, self.believe = classifier, subgraphs, mu, believe
        self.max_bytes, self.share = max_bytes, share
        self.reach = 2 + subgraphs.reach

    @torch.no_grad()
    def __call__(self, graph: Data) -> Data:
        """Judge the edges into ``graph.rows``."""
        edges, similarity = candidate_edges(graph)
        likelihood = self.likelihood(graph, edges.flip(0).T)
        believed = likelihood > self.mu
        if self.believe == "similarity":
            most_similar = similarity.argsort(descending=True)[:int(believed.sum())]
            believed = torch.zeros_like(believed).index_fill_(0, most_similar, True)
        return judged(graph, edges, similarity, likelihood, believed)

    @torch.no_grad()
    def likelihood(self, graph: Data, pairs: Tensor) -> Tensor:
        """g of pairs (P, 2) -> (P,); ``graph.x`` holds the nodes' features."""
        if not len(pairs):
            return graph.x.new_zeros(0)
        training = self.classifier.training
        self.classifier.eval()
        logits = self._logits(NeighbourLists.from_graph(graph), graph.x, pairs)
        self.classifier.train(training)
        return logits.sigmoid()

    def _logits(self, lists: NeighbourLists, features: Tensor, pairs: Tensor) -> Tensor:
        gcn = self.classifier
        self.subgraphs.check(pairs, lists.num_nodes)
        walk = self.subgraphs.lists(lists)
        # Features are projected once per node in reach, and are never gathered per subgraph.
        nodes = walk.reached(pairs.flatten(), self.subgraphs.hops).nonzero().flatten()
        projected = gcn.project_rows(features, nodes)
        if self.share and self.subgraphs.edges == "roots" and self.subgraphs.hops == 1 and can_share(gcn, projected):
            return double_star_logits(gcn, walk, pairs, projected, self.max_bytes)
        node_bytes = 4 * projected.shape[1] * projected.element_size()
        batches = self.subgraphs.batches(lists, pairs, max_bytes=min(self.max_bytes, 1 << 27), node_bytes=node_bytes)
        return torch.cat([gcn(batch, features, projected) for batch in batches])
