"""Groups of images from judged pairs, and the relation in which the members of a group believe each other."""
import logging
import random
from abc import ABC, abstractmethod

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph.neighbour_lists import ragged_arange
from mprd_pyg.graph.reciprocal_rows import pair_similarity
from mprd_pyg.relations.base import Relation, judged

log = logging.getLogger(__name__)


class GroupFinder(ABC):
    """From judged pairs to groups; the two directions of a pair count as one, with the higher likelihood.

    Called with what a relation returned for all rows. Returns label (N,) on the device of the pairs: 0 ... G - 1, and
    -1 for images without a group. A group has at least two members.
    """

    def __call__(self, pairs: Data) -> Tensor:
        """Find the groups."""
        label = self.find(pairs)
        kept = np.bincount(label + 1)[1:] > 1
        place = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)
        return torch.from_numpy(place[label]).to(pairs.edge_index.device)

    @abstractmethod
    def find(self, pairs: Data) -> np.ndarray:
        """(N,) integers, -1 for none; groups of one are taken out by the caller."""


class ConnectedComponents(GroupFinder):
    """Believed pairs are closed: whatever is linked by a chain of them is one group."""

    def find(self, pairs: Data) -> np.ndarray:
        """SciPy's connected components."""
        return connected_components(likelihood_matrix(pairs, pairs.believed), directed=False)[1].astype(np.int64)


class DBSCAN(GroupFinder):
    """Density-based clustering on the distance 1 - likelihood of all judged pairs, believed or not.

    Args:
        eps: greatest distance of neighbours; pairs that were not judged are no neighbours.
        min_samples: neighbours, itself included, that make an image a core of its group.
    """

    def __init__(self, eps: float = 0.6, min_samples: int = 4):
        self.eps, self.min_samples = eps, min_samples

    def find(self, pairs: Data) -> np.ndarray:
        """scikit-learn's DBSCAN."""
        from sklearn import cluster
        from sklearn.neighbors import sort_graph_by_row_values
        if not len(pairs.believed):
            return np.full(pairs.num_nodes, -1)
        distance = likelihood_matrix(pairs)
        distance.data = np.maximum(1 - distance.data, 0)
        distance = sort_graph_by_row_values(distance, warn_when_not_sorted=False)
        finder = cluster.DBSCAN(eps=self.eps, min_samples=self.min_samples, metric="precomputed")
        return finder.fit(distance).labels_.astype(np.int64)


class MapEquation(GroupFinder):
    """Groups in which a random walk over the believed pairs, weighted by likelihood, stays long (Infomap).

    Needs ``igraph``, whose implementation is used.

    Args:
        trials: the best of so many runs is kept.
        seed: of the runs.
    """

    def __init__(self, trials: int = 1, seed: int = 0):
        self.trials, self.seed = trials, seed

    def find(self, pairs: Data) -> np.ndarray:
        """igraph's ``community_infomap``."""
        try:
            import igraph
        except ImportError as error:
            raise ImportError("MapEquation needs igraph, which is not installed: pip install 'mprd-pyg[groups]'"
                              ) from error
        links = likelihood_matrix(pairs, pairs.believed).tocoo()
        once = (links.row < links.col) & (links.data > 0)
        graph = igraph.Graph(n=links.shape[0], edges=np.stack([links.row, links.col], axis=1)[once])
        igraph.set_random_number_generator(random.Random(self.seed))
        try:
            found = graph.community_infomap(edge_weights=links.data[once].tolist(), trials=self.trials)
        finally:
            igraph.set_random_number_generator(random)
        return np.array(found.membership, dtype=np.int64)


class Groups(Relation):
    """Members of a group believe each other, whatever the pair itself was judged.

    The answer also holds ``group`` (N,), the label of every node. Any call finds the groups of all nodes: made for one
    call per epoch.

    Args:
        base: judges the pairs that groups are made from.
        finder: makes them.
        max_size: larger groups are dissolved (with a warning): a person has not so many images, and their pairs would
            fill the memory.
    """

    def __init__(self, base: Relation, finder: GroupFinder, max_size: int = 1000):
        if max_size < 2:
            raise ValueError(f"max_size must be at least 2, got {max_size}")
        self.base, self.finder, self.max_size = base, finder, max_size
        self.reach, self.needs_labels, self.needs_meta = base.reach, base.needs_labels, base.needs_meta

    def __call__(self, graph: Data) -> Data:
        """Judge all pairs by ``base``, group them, and return the pairs of ``graph.rows`` within groups."""
        whole = graph.clone()
        whole.rows = torch.arange(graph.num_nodes, device=graph.x.device)
        if self.base.reach and len(graph.rows) < graph.num_nodes:
            raise ValueError(f"groups are made from the pairs of all {graph.num_nodes} rows, and the graph was built "
                             f"for {len(graph.rows)}: ask for all rows, once per epoch")
        group = self._dissolved(self.finder(self.base(whole)))
        order = group.argsort(stable=True)
        size = torch.bincount(group + 1)[1:]
        first = int((group < 0).sum()) + size.cumsum(0) - size
        rows = graph.rows[group[graph.rows] >= 0]
        owner, place = ragged_arange(first[group[rows]], size[group[rows]])
        edges = torch.stack([order[place], rows[owner]])
        edges = edges[:, edges[0] != edges[1]]
        similarity = pair_similarity(graph.x, edges.T).to(edges.device)
        believed = torch.ones_like(edges[0], dtype=torch.bool)
        pairs = judged(graph, edges, similarity, believed, believed)
        pairs.group = group
        return pairs

    def _dissolved(self, group: Tensor) -> Tensor:
        size = torch.bincount(group + 1)[1:]
        too_large = size > self.max_size
        if not bool(too_large.any()):
            return group
        log.warning("%d groups of more than %d images are dissolved, the largest of %d: believe fewer pairs",
                    int(too_large.sum()), self.max_size, int(size.max()))
        kept = torch.where(too_large, -1, (~too_large).cumsum(0) - 1)
        return torch.cat([kept, kept.new_full((1,), -1)])[group]


def likelihood_matrix(pairs: Data, chosen: Tensor | None = None) -> csr_matrix:
    """Likelihoods (N, N) of the chosen pairs (E,), or of all, sparse; of the two directions the higher one."""
    chosen = torch.ones_like(pairs.believed) if chosen is None else chosen
    (source, node), weight = pairs.edge_index[:, chosen].cpu().numpy(), pairs.likelihood[chosen].cpu().double().numpy()
    count = pairs.num_nodes
    key = np.minimum(source, node) * count + np.maximum(source, node)
    order = np.lexsort((-weight, key))
    first = np.append(True, np.diff(key[order]) > 0)[:len(order)]
    key, weight = key[order][first], weight[order][first]
    low, high = key // count, key % count
    both = np.concatenate([weight, weight]), (np.concatenate([low, high]), np.concatenate([high, low]))
    return csr_matrix(both, shape=(count, count))
