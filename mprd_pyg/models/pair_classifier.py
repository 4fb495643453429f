"""The GCN of MPRD: does this pair subgraph show one person?"""
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.nn import GCNConv, SortAggregation, global_max_pool

from mprd_pyg.sharded_rows import ShardedRows


class PairClassifier(nn.Module):
    r"""Graph classifier over pair subgraphs (MPRD, Ji et al., ICCV 2021, Sec. 3.2 and Eq. 5).

    Two layers :math:`Y' = ReLU(D^{-1}(A + I) Y \Theta)` on node embeddings [one-hot DRNL || feature], a graph
    aggregation of global max pooling and a 1-D convolution, and two fully connected layers to one logit.

    Args:
        dim: feature size d.
        hidden: width of both graph layers (512).
        num_labels: width of the one-hot node label; larger labels are clipped to the last one.
        root_similarity: append to each node its cosine to the two roots, the larger first (not in the paper).
        head: ``"max"`` is the paper's; ``"dgcnn"`` is SortPooling and two convolutions (Zhang et al., AAAI 2018).
        sort_k: nodes kept by the ``"dgcnn"`` head, fixed, so that a pair's score never depends on its batch.

    The first layer is applied to features before they are gathered: a node's product with Theta is the sum of
    its label's row and of its feature's product, which :meth:`project` computes once per feature.
    """

    def __init__(self, dim: int, hidden: int = 512, num_labels: int = 16, root_similarity: bool = False,
                 head: str = "max", sort_k: int = 30):
        super().__init__()
        self.dim, self.num_labels, self.root_similarity = dim, num_labels, root_similarity
        # The adjacency given to the layers is D^-1 (A + I); GCNConv's own normalisation would be symmetric.
        extra = num_labels + 2 * root_similarity
        self.conv1 = GCNConv(extra + dim, hidden, normalize=False)
        self.conv2 = GCNConv(hidden, hidden, normalize=False)
        if head == "max":
            self.head: nn.Module = MaxHead(hidden)
        elif head == "dgcnn":
            self.head = SortHead(hidden, sort_k)
        else:
            raise ValueError(f"head must be 'max' or 'dgcnn', got {head!r}")

    def project(self, features: Tensor) -> Tensor:
        """Features (U, d) times their part of the first layer's Theta -> (U, hidden)."""
        return F.linear(features, self.conv1.lin.weight[:, -self.dim:])

    def project_rows(self, features: Tensor | ShardedRows, nodes: Tensor, block: int = 1 << 14) -> Tensor:
        """:meth:`project` of the rows ``nodes`` (A,), ascending, alone -> (U, hidden), the others undefined."""
        if len(nodes) == len(features) and isinstance(features, Tensor):
            return self.project(features)
        projected = torch.empty(len(features), self.conv1.out_channels, dtype=features.dtype, device=features.device)
        for part in nodes.split(block):
            projected[part] = self.project(features[part])
        return projected

    def forward(self, batch: Batch, features: Tensor, projected: Tensor | None = None) -> Tensor:
        """Classify.

        Args:
            batch: pair subgraphs; ``n_id`` indexes the rows of ``features``.
            features: (U, d) unit features.
            projected: (U, hidden) their :meth:`project`, when many batches share it.

        Returns:
            (P,) logits of "same person".
        """
        theta = self.conv1.lin.weight
        projected = self.project(features) if projected is None else projected
        y = projected.index_select(0, batch.n_id) + theta[:, :self.num_labels].T[batch.z.clamp(max=self.num_labels - 1)]
        if self.root_similarity:
            y = y + F.linear(root_similarity(batch, features), theta[:, self.num_labels:-self.dim])
        adjacency = row_normalized(batch.edge_index, batch.num_nodes, y.dtype)
        first = F.relu(self.conv1.propagate(adjacency, x=y, edge_weight=None) + self.conv1.bias)
        second = F.relu(self.conv2(first, adjacency))
        return self.head(first, second, adjacency, batch)


def row_normalized(edge_index: Tensor, num_nodes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """D^-1 (A + I) as a sparse CSR tensor (n, n), two to four times faster here than with ``edge_index``.

    Args:
        edge_index: (2, E) without self-loops, sorted by row 1, as :class:`PairSubgraphs` gives it.
        num_nodes: n.
        dtype: of the values.
    """
    tail, head = edge_index
    degree = torch.bincount(head, minlength=num_nodes) + 1
    start = torch.cat([degree.new_zeros(1), degree.cumsum(0)])
    column = torch.empty(len(tail) + num_nodes, dtype=torch.long, device=tail.device)
    node = torch.arange(num_nodes, device=tail.device)
    column[start[:-1] + degree - 1] = node  # the self-loop ends each row
    column[torch.arange(len(tail), device=tail.device) + head] = tail
    value = (1.0 / degree.to(dtype))[torch.repeat_interleave(node, degree)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse (CSR|invariant)")
        return torch.sparse_csr_tensor(start, column, value, (num_nodes, num_nodes))


def root_similarity(batch: Batch, features: Tensor) -> Tensor:
    """(n, 2) cosine of each node to the two roots, the larger first, so that the pair's order is no matter."""
    x = features[batch.n_id]
    roots = x[batch.root_index]  # (P, 2, d)
    both = (x.unsqueeze(1) * roots[batch.batch]).sum(2)
    return both.sort(dim=1, descending=True).values


class MaxHead(nn.Module):
    """Global max pooling, Conv1d over the pooled vector, two fully connected layers (Sec. 3.2)."""

    def __init__(self, hidden: int, channels: int = 4, kernel: int = 5, width: int = 128):
        super().__init__()
        self.conv = nn.Conv1d(1, channels, kernel, stride=2, padding=kernel // 2)
        length = (hidden - 1) // 2 + 1
        self.mlp = nn.Sequential(nn.Linear(channels * length, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, first: Tensor, second: Tensor, adjacency: Tensor, batch: Batch) -> Tensor:
        """(n, hidden) -> (P,)."""
        return self.score(global_max_pool(second, batch.batch, batch.num_graphs))

    def score(self, pooled: Tensor) -> Tensor:
        """(P, hidden), the maximum over each graph's nodes -> (P,)."""
        # The convolution as a matrix product over its windows: on a processor, a convolution is compiled and kept for
        # every new number of pairs.
        (width,), (stride,), (border,) = self.conv.kernel_size, self.conv.stride, self.conv.padding
        windows = F.pad(pooled, (border, border)).unfold(1, width, stride)  # (P, length, width)
        along = F.linear(windows, self.conv.weight.squeeze(1), self.conv.bias)  # (P, length, channels)
        return self.mlp(F.relu(along.transpose(1, 2)).flatten(1)).squeeze(1)


class SortHead(nn.Module):
    """DGCNN's head (Zhang et al., AAAI 2018): sort the nodes, then Conv1d, MaxPool, Conv1d, MLP."""

    def __init__(self, hidden: int, sort_k: int, width: int = 128):
        super().__init__()
        if sort_k < 10:
            raise ValueError(f"the dgcnn head needs sort_k of at least 10, got {sort_k}")
        self.key = GCNConv(hidden, 1, normalize=False)
        self.sort = SortAggregation(sort_k)
        per_node = 2 * hidden + 1
        self.conv = nn.Sequential(nn.Conv1d(1, 16, per_node, stride=per_node), nn.ReLU(), nn.MaxPool1d(2),
                                  nn.Conv1d(16, 32, 5), nn.ReLU())
        self.mlp = nn.Sequential(nn.Linear(32 * (sort_k // 2 - 4), width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, first: Tensor, second: Tensor, adjacency: Tensor, batch: Batch) -> Tensor:
        """(n, hidden) twice -> (P,)."""
        y = torch.cat([first, second, torch.tanh(self.key(second, adjacency))], dim=1)
        y = self.sort(y, batch.batch, dim_size=batch.num_graphs)
        return self.mlp(self.conv(y.unsqueeze(1)).flatten(1)).squeeze(1)
