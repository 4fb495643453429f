"""MPRD's GCN on pairs of images that have a subgraph in each of M branches."""
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph import PairSubgraphs
from mprd_pyg.graph.neighbour_lists import unique_keys
from mprd_pyg.models import PairClassifier
from mprd_pyg.mprd import GCNTraining, pair_loss
from mprd_pyg.mprd.pair_sampling import PairSample
from mprd_pyg.relations.base import candidate_edges, judged
from paul.branch_relation import BranchRelation
from paul.patch_mprd.branch_lists import BranchLists, in_each_branch

FORMS = ("separate", "pooled", "joint")


class BranchGCN(BranchRelation):
    r"""How likely a pair of images shows one person, by the neighbourhoods of its patches.

    Args:
        classifier: the GCN, over features of ``dim`` d for the forms ``"separate"`` and ``"pooled"``, of M d for
            ``"joint"`` (see :meth:`feature_size`).
        subgraphs: how a pair's subgraph is cut out.
        form: ``"separate"`` judges each branch by its own subgraph :math:`G_{ij}^m`, with shared weights, and believes
            patches, not images. ``"pooled"`` averages the M logits: evidence of all branches for one answer.
            ``"joint"`` cuts one subgraph out of the union of the branch graphs, each node with its M patch features.
        mu: least likelihood of a believed pair (MPRD Eq. 7).
        chunk: subgraphs per forward pass, which bounds the memory.
    """

    joint = True
    statistics = logistic = None  # this judge reads subgraphs alone

    def __init__(self, classifier: PairClassifier, subgraphs: PairSubgraphs, form: str = "pooled", mu: float = 0.5,
                 chunk: int = 4096):
        if form not in FORMS:
            raise ValueError(f"form must be one of {FORMS}, got {form!r}")
        if not 0 <= mu < 1:
            raise ValueError(f"mu is a likelihood in [0, 1), got {mu}")
        self.classifier, self.subgraphs, self.form, self.mu, self.chunk = classifier, subgraphs, form, mu, chunk
        self.reach = 2 + subgraphs.reach

    def __call__(self, graphs: list[Data]) -> list[Data]:
        """Judge the edges into ``graph.rows``: in their own branch, or those of any branch for all."""
        edges, total = [candidate_edges(graph)[0] for graph in graphs], graphs[0].num_nodes
        features = torch.stack([graph.x for graph in graphs], dim=1)
        lists = BranchLists.from_graphs(graphs)
        if self.form == "separate":
            likelihood = [self.likelihood(features[:, m:m + 1], BranchLists(one.ptr, one.neighbour, (one,)),
                                          part.flip(0).T)[0]
                          for m, (one, part) in enumerate(zip(lists.branches, edges, strict=True))]
        else:
            key = unique_keys(torch.cat([part[1] * total + part[0] for part in edges]))
            node = torch.div(key, total, rounding_mode="floor")
            edges = [torch.stack([key - node * total, node])] * len(graphs)
            likelihood = [self.likelihood(features, lists, edges[0].flip(0).T)[0]] * len(graphs)
        return [judged(graph, part, (graph.x[part[0]] * graph.x[part[1]]).sum(1), g, g > self.mu)
                for graph, part, g in zip(graphs, edges, likelihood, strict=True)]

    @staticmethod
    def feature_size(form: str, branches: int, dim: int) -> int:
        """The ``dim`` that the classifier of a form needs."""
        return branches * dim if form == "joint" else dim

    def logits(self, features: Tensor, lists: BranchLists, pairs: Tensor) -> Tensor:
        """Logits of "same person".

        Args:
            features: (T, M, d) unit patch features of all images.
            lists: their neighbours in each branch.
            pairs: (P, 2) images.

        Returns:
            (M, P) for the form ``"separate"``, else (1, P).
        """
        total, branches = features.shape[:2]
        if self.form == "joint":
            return self._classify(F.normalize(features.flatten(1), dim=1), lists, pairs).unsqueeze(0)
        flat = features.transpose(0, 1).flatten(0, 1)
        logit = self._classify(flat, lists.side_by_side(), in_each_branch(pairs, branches, total)).view(branches, -1)
        return logit if self.form == "separate" else logit.mean(0, keepdim=True)

    @torch.no_grad()
    def likelihood(self, features: Tensor, lists: BranchLists, pairs: Tensor) -> Tensor:
        """g of the pairs, (M, P) or (1, P), in evaluation mode and in parts."""
        if not len(pairs):
            return features.new_zeros(features.shape[1] if self.form == "separate" else 1, 0)
        training = self.classifier.training
        self.classifier.eval()
        size = max(1, self.chunk // (1 if self.form == "joint" else features.shape[1]))
        parts = [self.logits(features, lists, part) for part in pairs.split(size)]
        self.classifier.train(training)
        return torch.cat(parts, dim=1).sigmoid()

    def _classify(self, features: Tensor, lists, pairs: Tensor) -> Tensor:
        batch = self.subgraphs(lists, pairs)
        nodes, batch.n_id = batch.n_id.unique(return_inverse=True)  # only these are projected
        return self.classifier(batch, features[nodes])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(form={self.form!r}, mu={self.mu}, subgraphs={self.subgraphs!r})"


class BranchGCNTraining(GCNTraining):
    """MPRD's training of the GCN (Alg. 1, Sec. 4.2) where a pair has a subgraph in each branch.

    Pairs are drawn of images, as in MPRD; P_i holds the images that are believed in at least half of the branches.
    The form ``"separate"`` takes the mean of the branches' losses. Arguments as :class:`GCNTraining`, the relation
    being a :class:`BranchGCN`.
    """

    def nodes(self, graphs: list[Data]) -> tuple[Tensor, BranchLists]:
        """Features (T, M d) and lists of the nodes of :meth:`graphs`."""
        x = torch.cat([F.normalize(graph.x, dim=1) for graph in graphs], dim=1)
        return x / len(graphs) ** 0.5, BranchLists.from_graphs(graphs)

    def loss(self, features: Tensor, lists: BranchLists, unlabelled: PairSample | None,
             meta: PairSample | None) -> tuple[Tensor, float]:
        """L_u + eta L_m (MPRD Eq. 10) and eta; features (T, M d)."""
        parts = [part for part in (unlabelled, meta) if part is not None]
        logits = self.relation.logits(features.unflatten(1, (len(lists.branches), -1)), lists,
                                      torch.cat([part.pairs for part in parts]))
        losses = [torch.stack([pair_loss(row, part.label, part.owner, part.num_images) for row in rows]).mean()
                  for rows, part in zip(logits.split([len(part.pairs) for part in parts], dim=1), parts, strict=True)]
        if len(parts) == 1:
            return losses[0], float(meta is not None)
        eta = len(meta.pairs) / len(unlabelled.pairs)
        return losses[0] + eta * losses[1], eta
