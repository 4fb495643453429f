"""From an embedding matrix to a kNN graph, a first-class PyG ``Data``."""
import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph.search.flat import METRICS
from mprd_pyg.graph.search.indexes import check_index
from mprd_pyg.graph.search.nearest import NearestSearch
from mprd_pyg.graph.search.neighbours import Neighbours
from mprd_pyg.graph.search.sharded import ShardedSearch
from mprd_pyg.sharded_rows import ShardedRows, changed, group_sums

log = logging.getLogger(__name__)


def center_by_group(features: Tensor | ShardedRows, groups: Tensor, normalize: bool = True,
                    queries: Tensor | ShardedRows | None = None, query_groups: Tensor | None = None):
    """Subtract from each row the mean feature of its group (its camera), then renormalise.

    Args:
        features: (N, d) rows; the group means are taken over them.
        groups: (N,) integer group of each row.
        normalize: L2-normalise what is left.
        queries: (Q, d) further rows, centred by the means of ``features``.
        query_groups: (Q,) their groups; each must occur in ``groups``.

    Returns:
        (N, d), or with ``queries`` the pair (N, d), (Q, d).
    """
    names, group = torch.unique(groups.to(features.device), return_inverse=True)
    mean = group_sums(features, group, len(names)) / torch.bincount(group, minlength=len(names)).unsqueeze(1)

    def centre(group: Tensor):
        if normalize:
            return lambda rows, at: F.normalize(rows - mean[group[at]], dim=-1)
        return lambda rows, at: rows - mean[group[at]]
    centred = changed(features, centre(group))
    if queries is None:
        return centred
    place = torch.searchsorted(names, query_groups.to(names.device)).clamp(max=len(names) - 1)
    if not torch.equal(names[place], query_groups.to(names.device)):
        raise ValueError("a query's group does not occur among the features' groups: it has no mean to subtract")
    return centred, changed(queries, centre(place))


def unit_rows(x: Tensor | ShardedRows) -> Tensor | ShardedRows:
    """Rows (N, d) of length 1."""
    return changed(x, lambda rows, at: F.normalize(rows, dim=-1))


class KNNGraph:
    r"""Connects every row of an embedding matrix to its nearest rows.

    Each node i gets an edge j -> i from each of its :math:`k_i` nearest other rows j, so row 1 of
    ``edge_index`` is the node and row 0 its neighbour. Edges are grouped by node, nearest first.
    With a ``threshold``, k differs per node as in MPRD (Ji et al., ICCV 2021, Sec. 5.2):
    :math:`k_i = \max(k, |\{j : s_{ij} > threshold\}|)`, the count including i itself.

    Args:
        k: neighbours per node (the least number of them, with a threshold).
        metric: ``"cosine"`` or ``"l2"``; ``edge_attr`` is the cosine, or the negative squared distance.
        threshold: similarity above which all rows are neighbours; None keeps k fixed.
        k_max: upper bound of :math:`k_i`; ``graph.num_capped`` counts the nodes that it cut.
        index: ``"Flat"`` (FAISS's brute force) or ``"exact"`` (our own); ``"hnsw"``, ``"ivfpq"``, ``"nndescent"``;
            ``"auto"``, which chooses by N; or a FAISS factory string (see :class:`NearestSearch`).
            ``graph.built_by`` says which search found the neighbours.
        center_by: (N,) group of each row: search with each group's mean feature subtracted and the rest
            renormalised, so that neighbours are found across cameras (not in the papers; off by default).
        recall_sample: whole graphs built with an approximate index carry ``recall``, the share of the true k
            nearest that was found, measured on so many rows (drawn with a fixed seed); 0 measures nothing.

    Example::

        graph = KNNGraph(k=8)(features)              # (N, d) -> Data(edge_index, edge_attr, num_nodes)
        graphs = KNNGraph(k=10, metric="l2")(bank)   # (M, N, d) -> list of M Data
    """

    def __init__(self, k: int = 8, metric: str = "cosine", threshold: float | None = None, k_max: int | None = None,
                 index: str = "Flat", center_by: Tensor | None = None, recall_sample: int = 500):
        if metric not in METRICS:
            raise ValueError(f"metric must be one of {sorted(METRICS)}, got {metric!r}")
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        check_index(index, metric)
        if k_max is not None and k_max < k:
            raise ValueError(f"k_max ({k_max}) is an upper bound of k per node and must not be below k ({k})")
        self.k, self.metric, self.threshold, self.k_max = k, metric, threshold, k_max
        self.index, self.center_by, self.recall_sample = index, center_by, recall_sample

    def __call__(self, features: Tensor | ShardedRows, rows: Tensor | None = None,
                 queries: Tensor | ShardedRows | None = None, reach: int = 1,
                 center_by: Tensor | None = None, query_center_by: Tensor | None = None,
                 keep_features: bool = False) -> Data | list[Data]:
        """Build the graph.

        Args:
            features: (N, d), or (M, N, d) for one graph per branch. Of :class:`ShardedRows` all processes get the same
                graph, whose ``x`` is sharded too.
            rows: (R,) distinct nodes to search for; all by default.
            queries: live features, (Q, d) or (M, Q, d). With ``rows`` (R = Q) they stand in for those rows,
                each row staying out of its own neighbours; without, they become the nodes N ... N+Q-1.
            reach: 2 also searches for the neighbours found, 3 for theirs: what is needed to read the
                neighbours of neighbours of ``rows``.
            center_by: (N,) overrides the constructor's.
            query_center_by: (Q,) group of each query; by default that of its row.
            keep_features: store as ``x`` (N, d) the features in which the search was made.

        Raises:
            ValueError: NaN or infinite features (names the first row), fewer rows than k, rows out of range,
                groups or queries whose number does not fit.
        """
        if features.dim() == 3:
            live = [None] * len(features) if queries is None else queries
            return [self(bank, rows, query, reach, center_by, query_center_by, keep_features)
                    for bank, query in zip(features, live, strict=True)]
        groups = self.center_by if center_by is None else center_by
        self._check(features, queries, rows, groups, query_center_by)
        if query_center_by is None and queries is not None and rows is not None and groups is not None:
            query_center_by = groups[rows.to(groups.device)]
        sharded = isinstance(features, ShardedRows)
        space, queries = self.space(features if sharded else features.detach(), queries, groups, query_center_by)
        search = ShardedSearch(space, self.metric, self.index) if sharded else \
            NearestSearch(space, self.metric, self.index, k=self.k)
        num_nodes, own, recall = len(space), None, None
        if rows is not None:
            nodes = own = rows.to(space.device)
            queries = space[own] if queries is None and not sharded else queries
        elif queries is None:
            nodes = torch.arange(num_nodes, device=space.device)
        else:
            nodes = num_nodes + torch.arange(len(queries), device=space.device)
            num_nodes += len(queries)
        found = search.neighbours(queries, own, self.k, self.threshold, self.k_max)
        if queries is None and self.recall_sample and search.approximate:
            recall = search.recall(found, self.k, self.recall_sample)
            log.info("recall@%d of the index %r: %.4f on %d of %d rows", self.k, self.index, recall,
                     min(self.recall_sample, num_nodes), num_nodes)
        owners, parts = [nodes], [found]
        for _ in range(reach - 1):
            new = parts[-1].row.unique()
            new = new[~torch.isin(new, torch.cat(owners))]
            if new.numel():
                owners.append(new)
                parts.append(search.neighbours(None if sharded else space[new], new, self.k, self.threshold,
                                               self.k_max))
        node, found = torch.cat(owners), Neighbours.join(parts)
        graph = Data(edge_index=torch.stack([found.row, node.repeat_interleave(found.count)]),
                     edge_attr=found.similarity, num_nodes=num_nodes, built_by=found.built_by,
                     num_capped=found.num_capped)
        if recall is not None:
            graph.recall = recall
        if keep_features:
            graph.x = space
        return graph

    def space(self, features: Tensor | ShardedRows, queries: Tensor | ShardedRows | None = None,
              groups: Tensor | None = None, query_groups: Tensor | None = None) -> tuple[Any, Any]:
        """The features (N, d) and queries (Q, d) as they are compared: centred if asked, unit for the cosine."""
        cosine = self.metric == "cosine"
        queries = queries.detach() if isinstance(queries, Tensor) else queries
        if groups is not None:
            if queries is None:
                return center_by_group(features, groups, cosine), None
            return center_by_group(features, groups, cosine, queries, query_groups)
        if cosine:
            return unit_rows(features), None if queries is None else unit_rows(queries)
        return features, queries

    def _check(self, features, queries, rows, groups, query_groups) -> None:
        if features.dim() != 2:
            raise ValueError(f"expected features of shape (N, d) or (M, N, d), got {tuple(features.shape)}")
        candidates = len(features) - (queries is None or rows is not None)
        if candidates < self.k:
            raise ValueError(f"k={self.k} neighbours were asked for, but a row has only {candidates} others to "
                             f"choose from ({len(features)} rows): lower k or give more rows")
        for name, tensor in (("features", features), ("queries", queries)):
            if isinstance(tensor, Tensor) and not bool(torch.isfinite(tensor.detach().sum())):
                bad = (~torch.isfinite(tensor)).any(1).nonzero().flatten()
                if bad.numel():
                    raise ValueError(f"{name} hold NaN or infinite values in {bad.numel()} rows, the first "
                                     f"is row {int(bad[0])}: no neighbours can be found")
        if groups is not None and len(groups) != len(features):
            raise ValueError(f"center_by needs one group per row: {len(features)} rows, {len(groups)} groups")
        if rows is not None and queries is not None and len(rows) != len(queries):
            raise ValueError(f"queries stand in for rows one by one: {len(rows)} rows, {len(queries)} queries")
        if rows is not None and rows.numel() and (int(rows.min()) < 0 or int(rows.max()) >= len(features)):
            raise ValueError(f"rows must lie in 0 ... {len(features) - 1}, got {int(rows.min())} ... {int(rows.max())}")
        if groups is not None and queries is not None:
            if query_groups is None and rows is None:
                raise ValueError("a camera-centred search needs query_center_by, the group of each query")
            if query_groups is not None and len(query_groups) != len(queries):
                raise ValueError(f"query_center_by needs one group per query: {len(queries)} queries, "
                                 f"{len(query_groups)} groups")

    def __repr__(self) -> str:
        return (f"{type(self).__name__}(k={self.k}, metric={self.metric!r}, threshold={self.threshold}, "
                f"k_max={self.k_max}, index={self.index!r})")
