"""What a relation is: a transform from a kNN graph to judged pairs."""
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages

PAIR_FIELDS = ("edge_index", "edge_attr", "likelihood", "believed")


class Relation(ABC):
    """Judges which pairs of nodes show the same person.

    Called with a graph that holds ``edge_index`` (row 1 the node, row 0 its neighbour, grouped by node and
    nearest first), ``edge_attr`` (similarity), ``x`` (N, d, the unit features in which the neighbours were
    searched) and ``rows`` (R,), the nodes whose pairs are asked for.

    Returns a ``Data`` of the pairs considered, with ``edge_index`` (2, E) into ``rows``, ``edge_attr`` (E,)
    similarity, ``likelihood`` (E,) in [0, 1] and ``believed`` (E,) bool. A node is never its own pair: the
    caller adds i to P_i. A new relation is one class; name it by ``class_path`` in a configuration.
    """

    #: how many searches from ``rows`` the graph must hold (the ``reach`` of ``KNNGraph``)
    reach: int = 1
    #: whether the neighbours of all N nodes must be in the graph, not only those within reach of ``rows``
    whole_graph: bool = False
    #: whether ``graph.person_id`` (N,) is read, so that the result is not unsupervised
    needs_labels: bool = False
    #: whether ``graph.meta_person`` (N,) is read: the identities of the labelled meta images, -1 elsewhere
    needs_meta: bool = False

    @abstractmethod
    def __call__(self, graph: Data) -> Data:
        """Judge the pairs of ``graph.rows``."""

    def check(self, images: TrainImages) -> None:
        """Refuse images that this relation cannot judge, by a ``ValueError``."""
        if self.needs_labels and bool((images.person < 0).all()):
            raise ValueError(f"{type(self).__name__} reads the training images' identities, which are unknown")

    def __repr__(self) -> str:
        options = ", ".join(f"{k}={v!r}" for k, v in vars(self).items() if isinstance(v, int | float | str))
        return f"{type(self).__name__}({options})"


def judged(graph: Data, edge_index: Tensor, similarity: Tensor, likelihood: Tensor, believed: Tensor) -> Data:
    """Wrap judged pairs as the graph that a relation returns."""
    return Data(edge_index=edge_index, edge_attr=similarity, likelihood=likelihood.to(similarity.dtype),
                believed=believed, num_nodes=graph.num_nodes)


def candidate_edges(graph: Data) -> tuple[Tensor, Tensor]:
    """The edges (2, E) and similarities (E,) of ``graph`` into its ``rows``."""
    asked = torch.zeros(graph.num_nodes, dtype=torch.bool, device=graph.edge_index.device)
    asked[graph.rows] = True
    keep = asked[graph.edge_index[1]]
    return graph.edge_index[:, keep], graph.edge_attr[keep]


def believed_graph(pairs: Data) -> Data:
    """Keep only the believed pairs of a relation's answer: the graph of positive edges."""
    keep = pairs.believed
    return Data(edge_index=pairs.edge_index[:, keep], edge_attr=pairs.edge_attr[keep],
                likelihood=pairs.likelihood[keep], num_nodes=pairs.num_nodes)


def pair_fields(pairs: Data) -> dict[str, Tensor]:
    """The tensors of judged pairs, for a checkpoint: edges, similarity, likelihood, believed and, if any, branch."""
    return {key: pairs[key] for key in (*PAIR_FIELDS, "branch") if key in pairs}


def concat_pairs(parts: list[Data], num_nodes: int) -> Data:
    """Join the judged pairs of several steps."""
    if not parts:
        none = torch.zeros(0)
        parts = [Data(edge_index=torch.zeros(2, 0, dtype=torch.long), edge_attr=none, likelihood=none,
                      believed=none.bool())]
    joined = {key: torch.cat([part[key] for part in parts], dim=-1) for key in pair_fields(parts[-1])}
    return Data(**joined, num_nodes=num_nodes)
