"""MPRD's relation: a GCN judges every pair of neighbours."""
import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph import NeighbourLists, PairSubgraphs
from mprd_pyg.mprd.pair_classifier import PairClassifier
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
        chunk: pairs per forward pass, which bounds the memory.
    """

    def __init__(self, classifier: PairClassifier, subgraphs: PairSubgraphs, mu: float = 0.5,
                 believe: str = "likelihood", chunk: int = 1024):
        if believe not in ("likelihood", "similarity"):
            raise ValueError(f"believe must be 'likelihood' or 'similarity', got {believe!r}")
        if not 0 <= mu < 1:
            raise ValueError(f"mu is a likelihood in [0, 1), got {mu}")
        self.classifier, self.subgraphs, self.mu, self.believe, self.chunk = classifier, subgraphs, mu, believe, chunk
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
        lists = NeighbourLists.from_graph(graph)
        batches = [self.subgraphs(lists, part) for part in pairs.split(self.chunk)]
        nodes = torch.cat([batch.n_id for batch in batches]).unique()
        features = graph.x[nodes]
        projected = self.classifier.project(features)
        logits = []
        for batch in batches:
            batch.n_id = torch.searchsorted(nodes, batch.n_id)
            logits.append(self.classifier(batch, features, projected))
        self.classifier.train(training)
        return torch.cat(logits).sigmoid()
