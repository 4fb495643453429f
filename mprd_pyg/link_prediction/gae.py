"""Graph auto-encoders: embeddings of nodes, trained to tell links from pairs without one; PyG's GAE and GCN."""
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import GAE, GCN

from mprd_pyg.link_prediction.link_graph import LinkGraph
from mprd_pyg.random_streams import stream

Scorer = Callable[[Data, Tensor], Tensor]


class Encoder(nn.Module):
    """Features, or without them a learned vector per node, then PyG's GCN -> (N, hidden).

    Args:
        x: (N, d) features; None for none.
        num_nodes: N.
        hidden: width of all layers.
        layers: of the GCN.
        dropout: of the features that are not zero and of the hidden layers.
    """

    def __init__(self, x: Tensor | None, num_nodes: int, hidden: int = 128, layers: int = 2, dropout: float = 0.5):
        super().__init__()
        x = torch.eye(num_nodes) if x is None else F.normalize(x, p=1, dim=1)
        row, column = x.nonzero(as_tuple=True)
        self.register_buffer("column", column, persistent=False)
        self.register_buffer("value", x[row, column], persistent=False)
        self.register_buffer("start", torch.searchsorted(row, torch.arange(num_nodes)), persistent=False)
        self.weight = nn.Parameter(torch.empty(x.shape[1], hidden))
        self.gcn, self.dropout = GCN(hidden, hidden, layers, dropout=dropout), dropout
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the first weights."""
        nn.init.xavier_uniform_(self.weight)
        self.gcn.reset_parameters()

    def forward(self, edge_index: Tensor) -> Tensor:
        """Embed the nodes of the graph with edges (2, E), both ways."""
        value = F.dropout(self.value, self.dropout, self.training)
        # The product of a sparse matrix and the weights.
        h = F.embedding_bag(self.column, self.weight, self.start, mode="sum", per_sample_weights=value)
        return self.gcn(h, edge_index)


class Decoder(nn.Module):
    """A two-layer network on the product of two embeddings; PyG's ``InnerProductDecoder`` is the other choice."""

    def __init__(self, hidden: int, dropout: float):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 1))

    def forward(self, z: Tensor, edge_index: Tensor, sigmoid: bool = True) -> Tensor:
        """z (N, hidden), pairs (2, P) -> (P,) likelihoods, or logits."""
        logit = self.mlp(z[edge_index[0]] * z[edge_index[1]]).squeeze(1)
        return logit.sigmoid() if sigmoid else logit


def train_gae(graph: LinkGraph, links: Tensor, merit: Callable[[Scorer], float], hidden: int = 128, layers: int = 2,
              dropout: float = 0.5, decoder: str = "mlp", lr: float = 0.01, epochs: int = 1000, patience: int = 100,
              every: int = 5, seed: int = 0, device: torch.device | str = "cpu") -> GAE:
    """Train until the validation pairs are told no better (Kipf & Welling, 2016; PyG's parts).

    Args:
        graph: with features, or without.
        links: (L, 2) to train on and to pass messages over.
        merit: scorer of pairs, (graph, pairs) -> (P,), to what it is worth on the validation pairs.
        hidden, layers, dropout: of the encoder.
        decoder: ``"inner_product"`` or ``"mlp"``.
        lr: of Adam.
        epochs: steps over all links, at most; each draws as many pairs of nodes anew as negatives.
        patience: epochs without a higher merit after which it ends.
        every: epochs from one look at the validation pairs to the next.
        seed: of weights, negatives and dropout.
        device: to train on.

    Returns:
        With the weights that told the validation pairs best, in evaluation mode.
    """
    if decoder not in ("inner_product", "mlp"):
        raise ValueError(f"decoder must be 'inner_product' or 'mlp', got {decoder!r}")
    generator, device = stream(seed, 24), torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        encoder = Encoder(graph.x, graph.num_nodes, hidden, layers, dropout)
        model = GAE(encoder, Decoder(hidden, dropout) if decoder == "mlp" else None).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        edges, best = graph.observed(links).edge_index.to(device), (-1.0, 0, model.state_dict())
        for epoch in range(1, epochs + 1):
            model.train()
            negative = torch.randint(graph.num_nodes, (2, len(links)), generator=generator).to(device)
            z = model.encode(edges)
            logit = model.decoder(z, torch.cat([edges[:, :len(links)], negative], dim=1), sigmoid=False)
            truth = torch.arange(len(logit), device=device) < len(links)
            loss = F.binary_cross_entropy_with_logits(logit, truth.to(logit.dtype))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if epoch % every == 0:
                found = merit(partial(gae_logits, model))
                if found > best[0]:
                    best = (found, epoch, deepcopy(model.state_dict()))
                elif epoch - best[1] >= patience:
                    break
    model.load_state_dict(best[2])
    return model.eval()


@torch.no_grad()
def gae_logits(model: GAE, graph: Data, pairs: Tensor, block: int = 1 << 16) -> Tensor:
    """Logits of pairs (P, 2) in a graph -> (P,), on the host."""
    model.eval()
    z = model.encode(graph.edge_index.to(next(model.parameters()).device))
    return torch.cat([model.decoder(z, part.T.to(z.device), sigmoid=False).cpu() for part in pairs.split(block)])
