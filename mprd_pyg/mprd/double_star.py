r"""The GCN on many double stars (MPRD Eq. 4 and 5), with what they have in common computed once.

On a double star the first layer's output of a leaf depends on few nodes. With p the projected features, t the rows of
Theta for the labels 0, 1 and 2, and D = 2 for a leaf of one root, D = 3 for a common neighbour:

- leaf v of root b alone: :math:`ReLU((p_v + t_0 + p_b + t_1) / 2 + bias)`, the same in every pair, and for b as a leaf
  of v: one row per undirected edge of the graph;
- common neighbour c of i and j: :math:`ReLU((p_c + t_2 + p_i + t_1 + p_j + t_1) / 3 + bias)`, symmetric in the three:
  one row per triangle;
- roots: per pair.

So the second layer's product is taken once per edge and per triangle, not once per pair and node, and the pairs (i, j)
and (j, i), which have the same subgraph, are judged once. What remains per pair is two root rows, sums and maxima.
"""
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mprd_pyg.graph import NeighbourLists
from mprd_pyg.graph.pairs.builders import cumulated
from mprd_pyg.graph.threads import in_threads
from mprd_pyg.models.pair_classifier import MaxHead, PairClassifier
from mprd_pyg.mprd import double_star_kernels as kernels
from mprd_pyg.sharded_rows import ShardedRows

MOST_NODES = 1 << 21  # three nodes fit one 63-bit key


def can_share(classifier: PairClassifier, projected: Tensor | ShardedRows) -> bool:
    """Whether :func:`double_star_logits` serves: the paper's head, without root similarity, on the host."""
    return (isinstance(classifier.head, MaxHead) and not classifier.root_similarity
            and projected.device.type == "cpu" and projected.dtype in (torch.float32, torch.float64)
            and len(projected) < MOST_NODES)


@torch.no_grad()
def double_star_logits(classifier: PairClassifier, lists: NeighbourLists, pairs: Tensor, projected: Tensor,
                       max_bytes: int = 1 << 30,
                       score: Callable[[Tensor, Tensor], Tensor] | None = None) -> Tensor:
    """Logits of pairs whose subgraphs are one-hop double stars; equal to the classifier on their batch.

    Args:
        classifier: one that :func:`can_share`.
        lists: neighbour lists of N nodes, on the host.
        pairs: (P, 2), i != j.
        projected: (N, hidden) the nodes' ``classifier.project``; rows of nodes out of reach are not read.
        max_bytes: most bytes of shared rows at a time; pairs beyond that go in several rounds, which share less.
        score: from pooled nodes (p, hidden) and the places in ``pairs`` of their pairs (p,) to logits (p,), the same
            in either order of a pair; by default that of the classifier's head.

    Returns:
        (P,) logits.
    """
    low, high = pairs.min(1).values, pairs.max(1).values
    key, first, inverse = np.unique((low * lists.num_nodes + high).numpy(), return_index=True, return_inverse=True)
    unordered = torch.from_numpy(np.stack(np.divmod(key, lists.num_nodes), axis=1))
    stars = DoubleStars(classifier, lists, projected.contiguous(), max_bytes, score)
    return torch.cat(stars.logits(unordered, torch.from_numpy(first)))[torch.from_numpy(inverse.reshape(-1))]


class DoubleStars:
    """The shared computation; see :func:`double_star_logits` for the parameters."""

    def __init__(self, classifier: PairClassifier, lists: NeighbourLists, projected: Tensor, max_bytes: int,
                 score: Callable[[Tensor, Tensor], Tensor] | None):
        self.classifier, self.max_bytes = classifier, max_bytes
        self.score = score or (lambda pooled, place: classifier.head.score(pooled))
        self.ptr, self.neighbour = lists.ptr.numpy(), lists.neighbour.numpy()
        self.num_nodes, self.projected = lists.num_nodes, projected.numpy()
        label = torch.tensor([0, 1, 2]).clamp(max=classifier.num_labels - 1)
        # Arrays, because the threads of in_threads do not inherit torch.no_grad.
        self.theta = classifier.conv1.lin.weight[:, label].T.contiguous().detach().numpy()
        self.bias, self.bias2 = (conv.bias.detach().numpy() for conv in (classifier.conv1, classifier.conv2))
        self.second = classifier.conv2.lin.weight.detach().T

    def logits(self, pairs: Tensor, place: Tensor, round_size: int = 4096) -> list[Tensor]:
        """Logits of different pairs i < j, in parts; ``place`` (P,) is given to ``score``."""
        asked = pairs.numpy()
        common = np.empty(len(pairs), np.int64)
        in_threads(lambda a, b: kernels.count_common(self.ptr, self.neighbour, asked, a, b, common), len(pairs))
        common_ptr = cumulated(torch.from_numpy(common)).numpy()
        exclusive, triangle = np.zeros(len(self.neighbour), np.bool_), np.empty(common_ptr[-1], np.int64)
        in_threads(lambda a, b: kernels.list_parts(self.ptr, self.neighbour, asked, common_ptr, a, b, exclusive,
                                                   triangle), len(pairs))
        edge, leaf_row = self._edges(exclusive)
        triangle, triangle_row = np.unique(triangle, return_inverse=True)
        size = self.projected.dtype.itemsize * self.projected.shape[1]
        if len(pairs) > 1 and (len(edge) + len(triangle)) * size > self.max_bytes:
            half = len(pairs) // 2
            return self.logits(pairs[:half], place[:half]) + self.logits(pairs[half:], place[half:])
        total = self.num_nodes
        corner = np.stack([triangle // total // total, triangle // total % total, triangle % total], axis=1)
        rows = torch.empty(len(edge) + len(triangle), self.projected.shape[1], dtype=self.second.dtype)
        theta, bias = self.theta, self.bias
        self._leaves(edge, 1 / 2, (theta[0] + theta[1]) / 2 + bias, rows[:len(edge)])
        self._leaves(corner, 1 / 3, (theta[2] + 2 * theta[1]) / 3 + bias, rows[len(edge):])
        shared = rows.numpy(), leaf_row, triangle_row.reshape(-1) + len(edge)
        roots = np.unique(asked)
        sum_row, sums = np.empty(total, np.int64), np.empty((len(roots), rows.shape[1]), self.projected.dtype)
        sum_row[roots] = np.arange(len(roots))
        in_threads(lambda a, b: kernels.sum_neighbours(self.ptr, self.neighbour, self.projected, roots, a, b, sums),
                   len(roots), least=256)
        bounds = [*range(0, len(pairs), round_size), len(pairs)]
        return [self.score(self._pooled(asked, start, stop, common, common_ptr, sums, sum_row, shared),
                           place[start:stop])
                for start, stop in zip(bounds[:-1], bounds[1:], strict=True)]

    def _edges(self, exclusive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Undirected edges (L, 2) of the list entries that are exclusive leaves, and each entry's row among them."""
        entry = exclusive.nonzero()[0]
        node, other = np.searchsorted(self.ptr, entry, side="right") - 1, self.neighbour[entry]
        key, row = np.unique(np.minimum(node, other) * self.num_nodes + np.maximum(node, other), return_inverse=True)
        leaf_row = np.full(len(self.neighbour), -1)
        leaf_row[entry] = row.reshape(-1)
        return np.stack(np.divmod(key, self.num_nodes), axis=1), leaf_row

    def _leaves(self, nodes: np.ndarray, scale: float, shift: np.ndarray, out: Tensor, block: int = 4096) -> None:
        """First layer of leaves, each of 2 or 3 nodes, times the second Theta, into ``out``."""
        first = torch.empty(min(block, len(nodes)), out.shape[1], dtype=out.dtype)
        scale = self.projected.dtype.type(scale)
        for start in range(0, len(nodes), block):
            size = min(block, len(nodes) - start)
            rows = first.numpy()

            def work(a, b, start=start, rows=rows):
                kernels.first_of_leaves(self.projected, nodes, scale, shift, start + a, start + b, rows[a:b])
            in_threads(work, size, least=1024)
            torch.mm(first[:size], self.second, out=out[start:start + size])

    def _pooled(self, asked, start, stop, common, common_ptr, sums, sum_row, shared) -> Tensor:
        """The maximum over the nodes of the pairs start ... stop - 1, (p, hidden)."""
        hidden, dtype = sums.shape[1], self.second.dtype
        first = torch.empty(2 * (stop - start), hidden, dtype=dtype)
        pooled = torch.empty(stop - start, hidden, dtype=dtype)
        in_threads(lambda a, b: kernels.first_of_roots(
            self.ptr, self.neighbour, self.projected, sums, sum_row, asked, common, self.theta, self.bias,
            start, start + a, start + b, first.numpy()), stop - start, least=256)
        roots = (first @ self.second).numpy()
        in_threads(lambda a, b: kernels.pool_second(
            self.ptr, self.neighbour, asked, common_ptr, *shared, roots, self.bias2, start, start + a, start + b,
            pooled.numpy()), stop - start, least=256)
        return pooled
