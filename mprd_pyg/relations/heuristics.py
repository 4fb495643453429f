"""The labelling strategies that MPRD is compared with (Ji et al., ICCV 2021, Table 1)."""
import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.relations.base import Relation, candidate_edges, judged
from mprd_pyg.sharded_rows import Columns, ShardedRows


class KNearest(Relation):
    """KNN: the k nearest neighbours are believed.

    Args:
        k: neighbours believed (the paper: 8, where its performance peaks).
    """

    def __init__(self, k: int = 8):
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.k = k

    def __call__(self, graph: Data) -> Data:
        """Believe the first ``k`` edges of each node."""
        edges, similarity = candidate_edges(graph)
        degree = torch.bincount(edges[1], minlength=graph.num_nodes)
        # Edges are grouped by node: an edge's rank is its distance from the first edge of its group.
        change = torch.ones_like(edges[1], dtype=torch.bool)
        change[1:] = edges[1, 1:] != edges[1, :-1]
        first = change.nonzero().flatten()
        rank = torch.arange(len(change), device=edges.device) - torch.repeat_interleave(first, degree[edges[1, first]])
        believed = rank < self.k
        return judged(graph, edges, similarity, believed, believed)


class SimilarityThreshold(Relation):
    """SS: every image more similar than a threshold is believed.

    Args:
        threshold: least cosine similarity (the paper: 0.6).
    """

    def __init__(self, threshold: float = 0.6):
        self.threshold = threshold

    def __call__(self, graph: Data) -> Data:
        """Compare all of ``graph.x`` with the rows, so that no neighbour count limits the answer."""
        if isinstance(graph.x, ShardedRows):
            raise ValueError("SimilarityThreshold has no bound of its neighbours to send: use MPLP, or --memory "
                             "replicated")
        similarity = graph.x[graph.rows] @ graph.x.T
        similarity[torch.arange(len(graph.rows), device=similarity.device), graph.rows] = -2.0
        place, neighbour = (similarity > self.threshold).nonzero(as_tuple=True)
        value = similarity[place, neighbour]
        believed = torch.ones_like(place, dtype=torch.bool)
        return judged(graph, torch.stack([neighbour, graph.rows[place]]), value, believed, believed)


class MPLP(Relation):
    """Memory-based positive label prediction (Wang & Zhang, CVPR 2020, Sec. 4.2, as in its released code).

    The candidates of i are its ``max(least, n_i)`` most similar images, itself first, ``n_i`` of which exceed
    the threshold. They are walked in order of similarity until one does not have i within its own
    ``max(least, n_i)`` most similar (cycle consistency); those before it are believed, at most ``n_i``. As in
    the released code, the nearest candidate is believed whether it is consistent or not.

    Args:
        threshold: least cosine similarity (0.6).
        least: least number of candidates (the released code: 10).
    """

    def __init__(self, threshold: float = 0.6, least: int = 10):
        self.threshold, self.least = threshold, least

    def __call__(self, graph: Data) -> Data:
        """Walk each row's candidates, all rows at once."""
        x, rows, columns = graph.x, graph.rows, Columns(graph.x)
        place = torch.arange(len(rows), device=x.device)
        similarity = columns.put(columns.compare(x[rows]), (place,), rows, 2.0)  # i itself comes first
        above = columns.sum(similarity > self.threshold)
        count = above.clamp(min=min(self.least, x.shape[0]))
        value, order = columns.topk(similarity, int(count.max()))
        listed = torch.arange(order.shape[1], device=x.device) < count.unsqueeze(1)
        listed[:, 0] = False
        owner, column = listed.nonzero(as_tuple=True)
        candidate = order[owner, column]
        ahead = self._ahead(x, columns, candidate, rows[owner])
        # The released code stops at the first candidate with `position > count`, its own place being 0.
        fails = torch.zeros_like(listed)
        fails[owner, column] = 1 + ahead > count[owner]
        unbroken = fails.cumsum(1) == 0
        believed = (unbroken[owner, column] | (column == 1)) & (column < above[owner])
        edges = torch.stack([candidate, rows[owner]])
        return judged(graph, edges, value[owner, column], believed, believed)

    @staticmethod
    def _ahead(x: Tensor | ShardedRows, columns: Columns, node: Tensor, target: Tensor, block: int = 2048) -> Tensor:
        """How many others are more similar to ``node`` (E,) than ``target`` (E,) is."""
        nodes, inverse = node.unique(return_inverse=True)
        counts = torch.empty_like(node)
        for part in torch.arange(len(node), device=x.device).split(block):
            wanted, local = inverse[part].unique(return_inverse=True)
            table = columns.compare(x[nodes[wanted]])
            columns.put(table, (torch.arange(len(wanted), device=x.device),), nodes[wanted], -2.0)  # is not counted
            own = columns.pick(table, local, target[part])
            counts[part] = columns.sum(table[local] > own.unsqueeze(1))
        return counts


class SameIdentity(Relation):
    """Super.: the ground truth, the upper bound of Table 1. Reads the labels."""

    needs_labels = True

    def __call__(self, graph: Data) -> Data:
        """Believe all images of the row's person; images without a known person (-1) have no positive."""
        person, rows = graph.person_id, graph.rows
        if bool((person[rows] < 0).all()):
            raise ValueError("SameIdentity needs the persons of the training images, and all of them are unknown")
        same = (person[rows].unsqueeze(1) == person) & (person >= 0)
        same[torch.arange(len(rows), device=rows.device), rows] = False
        place, neighbour = same.nonzero(as_tuple=True)
        similarity = (graph.x[rows[place]] * graph.x[neighbour]).sum(1)
        believed = torch.ones_like(place, dtype=torch.bool)
        return judged(graph, torch.stack([neighbour, rows[place]]), similarity, believed, believed)


class Singletons(Relation):
    """Single: no other image is believed, P_i = {i}, the lower bound of Table 1."""

    def __call__(self, graph: Data) -> Data:
        """Believe nothing; the graph's candidates are returned for the record."""
        edges, similarity = candidate_edges(graph)
        believed = torch.zeros_like(similarity, dtype=torch.bool)
        return judged(graph, edges, similarity, believed, believed)


class WithMetaLabels(Relation):
    """Another relation, with the ground truth wherever the image belongs to the labelled meta data.

    MLCR(+5id) of MPRD's Table 2 is this around :class:`MPLP`; around :class:`KNearest` it is the control that gives
    the CNN the labels which MPRD gives to its GCN only.

    Args:
        base: the relation for all other images.
    """

    needs_meta = True

    def __init__(self, base: Relation):
        self.base, self.reach, self.needs_labels = base, base.reach, base.needs_labels

    def __call__(self, graph: Data) -> Data:
        """Judge meta rows by their labels, the others by ``base``."""
        labelled = graph.meta_person[graph.rows] >= 0
        pairs = self.base(graph)
        from_base = graph.meta_person[pairs.edge_index[1]] < 0
        if not bool(labelled.any()):
            return pairs
        truth = graph.clone()
        truth.person_id, truth.rows = graph.meta_person, graph.rows[labelled]
        known = SameIdentity()(truth)
        return judged(graph, *(torch.cat([pairs[key][..., from_base], known[key]], dim=-1)
                               for key in ("edge_index", "edge_attr", "likelihood", "believed")))
