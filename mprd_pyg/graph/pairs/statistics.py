"""What the neighbourhoods of two nodes say about the pair, as named columns, without a network."""
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph.neighbour_lists import NeighbourLists
from mprd_pyg.graph.pairs import path_kernels as paths
from mprd_pyg.graph.pairs import statistic_kernels as kernels
from mprd_pyg.graph.pairs.feature_columns import feature_columns
from mprd_pyg.graph.pairs.pagerank import pair_pagerank
from mprd_pyg.graph.pairs.subgraphs import PairSubgraphs, as_lists
from mprd_pyg.graph.reciprocal_rows import camera_reciprocal_rows, jaccard, k_reciprocal_rows
from mprd_pyg.graph.threads import in_threads
from mprd_pyg.sharded_rows import ShardedRows, changed

SETS = ("common_neighbours", "jaccard", "adamic_adar", "resource_allocation", "salton", "hub_promoted", "hub_depressed",
        "degree_min", "degree_max", "preferential_attachment")
CLUSTERING = ("clustering_min", "clustering_max")
THREE_STEPS = ("walks_3", "damped_walks_3")
NEIGHBOURHOOD = SETS + CLUSTERING + THREE_STEPS
LENGTHS = (4, 5, 6, 7, 8)
LONG_WALKS = tuple(f"{kind}_{length}" for kind in ("walks", "damped_walks") for length in LENGTHS)
PATHS = ("inverse_distance", *LONG_WALKS)
PAGERANK = ("pagerank_min", "pagerank_max")
FEATURES = ("feature_cosine", "feature_smoothness_min", "feature_smoothness_max", "smoothed_feature_cosine")
SIMILARITY = ("similarity", "rank_best", "rank_worst", "reciprocal", "density_min", "density_max", "edge_probability")
GROUP = ("same_group",)
RECIPROCAL, CAMERA_RECIPROCAL = ("reciprocal_jaccard",), ("camera_reciprocal_jaccard",)
NEEDS = {NEIGHBOURHOOD: (), PATHS: (), PAGERANK: (), FEATURES: ("x",), RECIPROCAL: ("x",), SIMILARITY: ("edge_attr",),
         GROUP: ("camera_id",), CAMERA_RECIPROCAL: ("x", "camera_id")}
STATISTICS = tuple(name for names in NEEDS for name in names)


class PairStatistics:
    r"""Columns of numbers about pairs of nodes (i, j), the same in either order of the two.

    The pair's own edge never counts: where (i, j) is an edge, every column is that of the graph without it. Edges are
    read as undirected, N(i) being all nodes with an edge to or from i, d_i their number; but for the columns of
    similarities, NN(i) being the sources of the edges into i. Self-loops and repeats are dropped.

    ====================================  ======================================================================
    ``common_neighbours``                 :math:`|N(i) \cap N(j)|`
    ``jaccard``                           the same over :math:`|N(i) \cup N(j)|`
    ``adamic_adar``                       sum of :math:`1 / \log d_c` over the common neighbours c
    ``resource_allocation``               sum of :math:`1 / d_c` over them
    ``salton``                            common neighbours over :math:`\sqrt{d_i d_j}`
    ``hub_promoted``, ``hub_depressed``   over :math:`\min(d_i, d_j)`, over :math:`\max(d_i, d_j)`
    ``degree_min``, ``degree_max``        of :math:`d_i, d_j`
    ``preferential_attachment``           :math:`d_i d_j`
    ``clustering_min``, ``_max``          share of the pairs of neighbours of i (of j) that are linked
    ``walks_3`` ... ``walks_8``           walks of that many steps from i to j
    ``damped_walks_3`` ... ``_8``         :math:`(D^{-1/2} A D^{-1/2})^l_{ij}`; that of 3 steps leaves out the
                                          factor :math:`(d_i d_j)^{-1/2}` (Kovács et al., Nat. Commun. 2019)
    ``inverse_distance``                  1 / length of the shortest path, 0 without one
    ``pagerank_min``, ``pagerank_max``    of :math:`\log(\pi_i(j) + \epsilon d_j)` and the same of j and i: PageRank
                                          personalised to one node; see :func:`pair_pagerank` for its error
    ``feature_cosine``                    cosine of the rows of ``x`` (N, d)
    ``feature_smoothness_min``, ``_max``  mean cosine of i with N(j), of j with N(i); 0 without neighbours
    ``smoothed_feature_cosine``           cosine of the sums of the unit features of i and N(i), of j and N(j);
                                          0 where a sum vanishes (is shorter than 1e-6)
    ``reciprocal_jaccard``                k-reciprocal Jaccard of the rows of ``x`` (Zhong et al., CVPR 2017), ``k1``
                                          and ``k2``: see :func:`k_reciprocal_rows`; the edges are not read
    ``camera_reciprocal_jaccard``         its camera-aware form (Chen et al., CVPR 2024), by ``camera_id``; the plain
                                          one where all nodes are of one camera
    ``similarity``                        cosine on the edge; the least of NN(i) and NN(j) where there is none, above
                                          which it cannot be
    ``rank_best``, ``rank_worst``         1 + those of NN(i) nearer to i than j, or all of NN(i) where j is not in
                                          it; and the same of j and i
    ``reciprocal``                        whether each is in the other's list
    ``density_min``, ``density_max``      mean cosine of NN(i) without j, of NN(j) without i
    ``edge_probability``                  :math:`\frac12 \sum_c p_{ic} + p_{jc}` over c in both lists, p being
                                          :math:`\exp(-d^2 / 0.5)` over its sum in the list (Liu, 2024)
    ``same_group``                        whether ``camera_id`` (N,) is the same
    ====================================  ======================================================================

    ``similarity``, the ranks and ``reciprocal`` say what the edge itself says: they serve graphs of embeddings, where
    a pair's truth is not whether there is an edge.

    Compiled loops on the host, in as many threads as torch may use; products of features on the device of ``x``.
    Memory grows with pairs, edges and N per thread, never with N x N.

    Args:
        names: columns, in this order; None takes all that a graph gives. ``NEIGHBOURHOOD`` are the cheap ones; the
            time of ``walks_L`` grows with the nodes within L / 2 steps, that of PageRank with 1 / ``error``.
        damping: of PageRank: probability of going on at each step.
        error: :math:`\epsilon`: PageRank found is too small by at most :math:`\epsilon d_j`, so that the column is
            off by at most log 2.
        k1: neighbours among which ``reciprocal_jaccard`` seeks mutual ones.
        k2: nearest rows over which it averages a row, itself included.

    Example::

        statistics = PairStatistics()
        values = statistics(graph, pairs)      # pairs (P, 2) -> (P, F)
        names = statistics.columns(graph)      # F names

    As a transform in the manner of PyG it takes a graph with ``edge_label_index`` (2, P), as ``RandomLinkSplit`` gives
    it, and returns a copy with ``pair_statistics`` (P, F).
    """

    def __init__(self, names: Sequence[str] | None = None, damping: float = 0.85, error: float = 1e-4, k1: int = 30,
                 k2: int = 6):
        unknown = [name for name in names or () if name not in STATISTICS]
        if unknown:
            raise ValueError(f"no statistic {unknown[0]!r}: choose from {', '.join(STATISTICS)}")
        if names is not None and not len(names):
            raise ValueError("names is empty: give the columns wanted, or None for all")
        if not 0 < damping < 1 or not 0 < error < 1:
            raise ValueError(f"damping and error lie between 0 and 1, got {damping} and {error}")
        self.names = None if names is None else tuple(names)
        self.damping, self.error, self.k1, self.k2 = damping, error, k1, k2

    def columns(self, graph: Data | NeighbourLists) -> tuple[str, ...]:
        """The names of the F columns that ``graph`` is given.

        Raises:
            ValueError: a column was chosen for which the graph has no features, similarities or cameras.
        """
        given = []
        for names, keys in NEEDS.items():
            missing = [key for key in keys if isinstance(graph, NeighbourLists) or graph.get(key) is None]
            wanted = [name for name in names if self.names is None or name in self.names]
            if missing and wanted and self.names is not None:
                raise ValueError(f"the graph has no {' and no '.join(missing)}, which {', '.join(wanted)} read")
            given += [] if missing else names
        return tuple(given) if self.names is None else self.names

    def __call__(self, graph: Data | NeighbourLists, pairs: Tensor | Sequence[Sequence[int]] | None = None
                 ) -> Tensor | Data:
        """Compute.

        Args:
            graph: any graph with ``edge_index`` (2, E) [, ``x`` (N, d), ``edge_attr`` (E,), ``camera_id`` (N,)], or
                its lists.
            pairs: (P, 2) nodes, i != j; None takes the graph's ``edge_label_index``.

        Returns:
            (P, F) on the device of the pairs, or the graph with them where no pairs were given.
        """
        if pairs is None:
            if not isinstance(graph, Data) or graph.get("edge_label_index") is None:
                raise ValueError("no pairs were given, and the graph has no edge_label_index (2, P) to take them from")
            out = graph.clone()
            out.pair_statistics = self(graph, graph.edge_label_index.T)
            return out
        names, lists, pairs = self.columns(graph), as_lists(graph), torch.as_tensor(pairs)
        PairSubgraphs.check(pairs, lists.num_nodes)
        asked = pairs.cpu().long().sort(dim=1).values.numpy()  # sums are added up in one order
        out, place = torch.empty(len(pairs), len(names)), {name: column for column, name in enumerate(names)}
        for found, values in self._groups(graph, lists, asked, set(names)):
            for name, column in zip(found, values, strict=True):
                if name in place:
                    out[:, place[name]] = torch.as_tensor(column).float().cpu()
        return out.to(pairs.device)

    def _groups(self, graph, lists: NeighbourLists, pairs: np.ndarray, names: set[str]) -> Iterator[tuple]:
        """Names and columns (P,) of each family of which any name is wanted."""
        ptr, neighbour, _ = lists.both_ways
        nodes, count = len(ptr) - 1, len(pairs)
        linked = csr_matrix((np.ones(len(neighbour), np.int64), neighbour, ptr), (nodes, nodes))
        own = np.asarray(linked[pairs[:, 0], pairs[:, 1]]).ravel() > 0
        degree = np.diff(ptr)[pairs] - own[:, None]
        if names & {*SETS, *CLUSTERING}:
            values = np.empty((count, len(SETS)))
            in_threads(lambda a, b: kernels.neighbourhood_columns(ptr, neighbour, pairs, own, a, b, values), count)
            yield SETS, values.T
            if names & set(CLUSTERING):
                links = triangles(linked)[pairs] - (own * values[:, 0])[:, None]
                yield CLUSTERING, np.sort(2 * links / np.maximum(degree * (degree - 1), 1), axis=1).T
        if names & set(THREE_STEPS):
            volume, values = np.append(0, np.diff(ptr)[neighbour].cumsum())[ptr], np.empty((count, 2))
            volume = np.diff(volume)  # what is read in two steps
            in_threads(lambda a, b: kernels.three_step_columns(ptr, neighbour, pairs, own, volume, a, b,
                                                               np.zeros(nodes, np.int8), values), count)
            yield THREE_STEPS, values.T
        if "inverse_distance" in names:
            values = np.empty(count)
            in_threads(lambda a, b: paths.inverse_distances(
                ptr, neighbour, pairs, a, b, np.zeros(nodes, np.int8), np.empty((2, nodes), np.int64), values), count,
                least=64)
            yield ("inverse_distance",), [values]
        lengths = [length for length in LENGTHS if names & {f"walks_{length}", f"damped_walks_{length}"}]
        if lengths:
            values, shape = np.empty((count, 2 * len(lengths))), (2, (lengths[-1] + 1) // 2 + 1, nodes)
            in_threads(lambda a, b: paths.walk_columns(
                ptr, neighbour, pairs, own, np.array(lengths), a, b, np.zeros(shape), np.zeros(shape),
                np.empty(shape, np.int64), values), count, least=64)
            yield [f"{kind}_{length}" for kind in ("walks", "damped_walks") for length in lengths], values.T
        if names & set(PAGERANK):
            per_link = pair_pagerank(ptr, neighbour, pairs, own, self.damping, self.error)
            low, high = np.sort(np.maximum(degree, 1), axis=1).T
            yield PAGERANK, [np.log((per_link + self.error) * low), np.log((per_link + self.error) * high)]
        if names & set(FEATURES):
            if isinstance(graph.x, ShardedRows):
                raise ValueError(f"the columns {', '.join(FEATURES)} read all features at once: choose others, or "
                                 f"--memory replicated")
            yield FEATURES, feature_columns(graph.x, ptr, neighbour, torch.from_numpy(pairs), torch.from_numpy(own))
        if names & set(SIMILARITY):
            values, directed = np.empty((count, len(SIMILARITY))), similarity_lists(graph)
            in_threads(lambda a, b: kernels.similarity_columns(*directed, pairs, a, b, values), count)
            yield SIMILARITY, values.T
        if names & {*RECIPROCAL, *CAMERA_RECIPROCAL}:
            unit = changed(graph.x, lambda rows, at: F.normalize(rows.float(), dim=1))
        one_camera = names & set(CAMERA_RECIPROCAL) and len(graph.camera_id.unique()) < 2
        if names & set(RECIPROCAL) or one_camera:
            rows = k_reciprocal_rows(unit, self.k1, self.k2)
            value = jaccard(rows, torch.from_numpy(pairs))
            yield RECIPROCAL, [value]
        if one_camera:
            yield CAMERA_RECIPROCAL, [value]
        elif names & set(CAMERA_RECIPROCAL):
            rows = camera_reciprocal_rows(unit, graph.camera_id, k_own=5, k_other=20,
                                          query_own=1, query_other=4, expand=False)
            yield CAMERA_RECIPROCAL, [jaccard(rows, torch.from_numpy(pairs))]
        if names & set(GROUP):
            group = graph.camera_id.cpu().numpy()[pairs]
            yield GROUP, [group[:, 0] == group[:, 1]]

    def __repr__(self) -> str:
        return (f"{type(self).__name__}(names={self.names}, damping={self.damping}, error={self.error}, k1={self.k1}, "
                f"k2={self.k2})")


def triangles(linked: csr_matrix, block: int = 1024) -> np.ndarray:
    """(N,) links among the neighbours of each node, from ones (N, N) where two nodes are linked."""
    rows = (linked[start:start + block] for start in range(0, linked.shape[0], block))
    return np.concatenate([np.asarray((part @ linked).multiply(part).sum(1)).ravel() for part in rows]) // 2


def similarity_lists(graph: Data) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """NN(i) as ptr (N + 1,) and neighbour (E',), sorted, with similarity (E',); of repeats the largest."""
    value = graph.edge_attr
    if value.numel() != graph.edge_index.shape[1]:
        raise ValueError(f"similarities are one per edge, edge_attr (E,); got {tuple(value.shape)} for "
                         f"{graph.edge_index.shape[1]} edges: choose columns that do not read them by names=")
    source, node = graph.edge_index.cpu().numpy()
    value = value.detach().cpu().double().flatten().numpy()
    order = np.lexsort((-value, source, node))
    order = order[(source != node)[order]]
    source, node = source[order], node[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (source[1:] != source[:-1]) | (node[1:] != node[:-1])
    ptr = np.concatenate([[0], np.bincount(node[first], minlength=graph.num_nodes).cumsum()])
    return ptr, source[first], value[order][first]
