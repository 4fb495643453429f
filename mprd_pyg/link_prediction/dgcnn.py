"""SEAL's graph classifier: graph convolutions of all depths side by side, SortPooling, 1-D convolutions."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Batch

from mprd_pyg.models.pair_classifier import row_normalized


class DGCNN(nn.Module):
    r"""Graph classifier over pair subgraphs (Zhang et al., AAAI 2018), in the setting of SEAL (NeurIPS 2018).

    Layers :math:`Y' = \tanh(D^{-1}(A + I) Y \Theta)` on [one-hot DRNL || feature]; the outputs of all layers stand side
    by side; the ``sort_k`` nodes that the last, one wide layer puts first are kept; Conv1d, MaxPool, Conv1d, two fully
    connected layers with dropout; one logit.

    Args:
        dim: feature size d; 0 for none.
        num_labels: width of the one-hot node label; larger labels are clipped to the last one.
        sort_k: nodes kept; at least 10.
        widths: of the layers; a layer of width 1 follows them.
        channels: of the two 1-D convolutions.
        width: of the fully connected layer.
        dropout: before the logit.
    """

    def __init__(self, dim: int, num_labels: int, sort_k: int = 30, widths: tuple[int, ...] = (32, 32, 32),
                 channels: tuple[int, int] = (16, 32), width: int = 128, dropout: float = 0.5):
        super().__init__()
        if sort_k < 10:
            raise ValueError(f"SortPooling needs sort_k of at least 10, got {sort_k}")
        self.dim, self.num_labels, self.sort_k = dim, num_labels, sort_k
        sizes = [num_labels + dim, *widths, 1]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        # A 1-D convolution whose kernel and stride are one node: a linear map of each node, many times faster so.
        self.each_node = nn.Linear(sum(sizes[1:]), channels[0])
        self.along = nn.Conv1d(*channels, 5)
        self.mlp = nn.Sequential(nn.Linear(channels[1] * (sort_k // 2 - 4), width), nn.ReLU(), nn.Dropout(dropout),
                                 nn.Linear(width, 1))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, batch: Batch, features: Tensor) -> Tensor:
        """Classify.

        Args:
            batch: pair subgraphs; ``n_id`` indexes the rows of ``features``.
            features: (U, d).

        Returns:
            (P,) logits of "a link".
        """
        adjacency = row_normalized(batch.edge_index, batch.num_nodes, self.layers[0].weight.dtype)
        # A node's product with Theta is its label's column and its feature's part.
        theta, bias = self.layers[0].weight, self.layers[0].bias
        y = F.embedding(batch.z.clamp(max=self.num_labels - 1), theta[:, :self.num_labels].T) + bias
        if self.dim:
            y = y + F.linear(features, theta[:, self.num_labels:])[batch.n_id]
        outputs = [torch.tanh(NeighbourMean.apply(y, adjacency))]
        for layer in self.layers[1:]:
            outputs.append(torch.tanh(NeighbourMean.apply(layer(outputs[-1]), adjacency)))
        kept = sort_pool(torch.cat(outputs, dim=1), batch.batch, batch.ptr, self.sort_k)
        y = F.max_pool1d(F.relu(self.each_node(kept)).transpose(1, 2), 2)  # (P, channels, sort_k // 2)
        return self.mlp(F.relu(self.along(y)).flatten(1)).squeeze(1)


class NeighbourMean(torch.autograd.Function):
    """D^-1 (A + I) y for a symmetric A; the gradient needs no transposed matrix, which torch would sort anew."""

    @staticmethod
    def forward(ctx, y: Tensor, adjacency: Tensor) -> Tensor:
        """y (n, C) -> (n, C)."""
        ctx.adjacency = adjacency
        return adjacency @ y

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        """(D^-1 S)' g = S D^-1 g = D (D^-1 S) (D^-1 g)."""
        degree = ctx.adjacency.crow_indices().diff().to(gradient.dtype).unsqueeze(1)
        return degree * (ctx.adjacency @ (gradient / degree)), None


def sort_pool(y: Tensor, batch: Tensor, ptr: Tensor, k: int) -> Tensor:
    """The k nodes of each graph with the highest last channel, highest first, filled up with zeros.

    Args:
        y: (n, C).
        batch: (n,) graph of each node, ascending.
        ptr: (P + 1,) first node of each graph.
        k: nodes kept.

    Returns:
        (P, k, C). Not PyG's ``SortAggregation``, which sorts in a dense (P, largest graph, C) copy.
    """
    # One sort of whole numbers: the graph, then the float's bits, turned so that they order as the floats do.
    bits = y.detach()[:, -1].float().contiguous().view(torch.int32).long()
    bits = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    order = (batch * 2 ** 32 - bits).argsort(stable=True)
    place = torch.arange(len(batch), device=y.device) - ptr[batch]
    keep = place < k
    out = y.new_zeros((len(ptr) - 1) * k, y.shape[1])
    return out.index_copy(0, batch[keep] * k + place[keep], y[order[keep]]).view(len(ptr) - 1, k, -1)
