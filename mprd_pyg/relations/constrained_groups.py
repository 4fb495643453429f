"""Groups that obey must-links and cannot-links."""
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch_geometric.data import Data

from mprd_pyg.graph.threads import compiled
from mprd_pyg.relations.constraints import Constraints
from mprd_pyg.relations.groups import GroupFinder


class ConstrainedGroups(GroupFinder):
    """The groups of another finder, joined by must-links and parted by cannot-links.

    Groups that share a must-linked component become one. A group that then holds a cannot-link is built anew from its
    must-links and judged pairs, the likeliest first; a pair that would join images known to be different is passed
    over (Kruskal's algorithm with cannot-links: each image goes where its strongest path leads).

    Args:
        finder: finds the groups of the judged pairs, which :class:`Constrained` has corrected.
        constraints: of the N images.
    """

    def __init__(self, finder: GroupFinder, constraints: Constraints):
        self.finder, self.constraints = finder, constraints

    def find(self, pairs: Data) -> np.ndarray:
        """Find, join, part."""
        label, count = np.array(self.finder.find(pairs), dtype=np.int64), pairs.num_nodes
        component, cannot = self.constraints.component.numpy(), self.constraints.cannot.numpy()
        alone = label < 0
        label[alone] = label.max(initial=-1) + 1 + np.arange(alone.sum())
        label = np.unique(label, return_inverse=True)[1]  # 0 ... count - 1 at most, whatever numbers the finder gave
        # a node per group and per component: an image joins its two
        links = coo_matrix((np.ones(count), (label, label.max() + 1 + component)),
                           shape=(2 * count, 2 * count))
        joined = connected_components(links, directed=False)[1][label]
        broken = np.unique(joined[cannot[0]][joined[cannot[0]] == joined[cannot[1]]])
        if not len(broken):
            return joined.astype(np.int64)
        edges, likelihood = pairs.edge_index.cpu().numpy(), pairs.likelihood.cpu().numpy()
        # what the finder kept apart stays apart: a pair counts within one of its groups
        inside = (label[edges[0]] == label[edges[1]]) & np.isin(joined[edges[0]], broken)
        edges, likelihood = edges[:, inside], likelihood[inside]
        order = np.argsort(-likelihood, kind="stable")
        parent = np.unique(component, return_index=True)[1][component]
        forest = join_unless_apart(parent, edges[:, order], cannot)
        return np.where(np.isin(joined, broken), count + forest, joined).astype(np.int64)


@compiled
def join_unless_apart(parent, edges, cannot):
    """Join the ends of edges (2, E) in their order, unless that would join the ends of a cannot-link (2, C).

    parent (N,) are trees of what is joined at the start; returns the root of every node.
    """
    for e in range(edges.shape[1]):
        a, b = _root(parent, edges[0, e]), _root(parent, edges[1, e])
        if a == b:
            continue
        apart = False
        for c in range(cannot.shape[1]):
            one, other = _root(parent, cannot[0, c]), _root(parent, cannot[1, c])
            if (one == a and other == b) or (one == b and other == a):
                apart = True
                break
        if not apart:
            parent[max(a, b)] = min(a, b)
    roots = np.empty_like(parent)
    for node in range(len(parent)):
        roots[node] = _root(parent, node)
    return roots


@compiled
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
