"""PyG's LPFormer (Shomer et al., KDD 2024) trained on a split."""
from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch_geometric.data import Data

from mprd_pyg.link_prediction.gae import Scorer
from mprd_pyg.link_prediction.link_heuristics import adjacency, ppr_rows
from mprd_pyg.link_prediction.splits import LinkSplit
from mprd_pyg.random_streams import stream


class LPFormerBaseline:
    """Trained until the validation pairs are told no better.

    Args:
        split: of a graph with features.
        merit: as in :func:`train_gae`.
        hidden: width.
        lr: of Adam.
        epochs: passes over the training links, at most; each with as many pairs of nodes drawn as negatives.
        batch_size: links of a step; they are taken out of the graph that messages pass over.
        patience: epochs without a higher merit after which it ends.
        seed: of weights, order and negatives.

    Raises:
        ValueError: PyG has no LPFormer, or the graph no features.
    """

    def __init__(self, split: LinkSplit, merit: Callable[[Scorer], float], hidden: int = 64, lr: float = 5e-3,
                 epochs: int = 60, batch_size: int = 1024, patience: int = 10, seed: int = 0):
        try:
            from torch_geometric.nn.models import LPFormer
        except ImportError as error:
            raise ValueError("lpformer needs PyG 2.7 or later: install it, or leave that baseline out") from error
        if split.graph.x is None:
            raise ValueError("lpformer reads node features, and the graph has none: leave that baseline out")
        self.x = F.normalize(split.graph.x, p=1, dim=1)
        graph, links, generator = split.observed("train"), split.links("train"), stream(seed, 26)
        ppr, best, best_epoch = sparse_ppr(graph), -1.0, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model: nn.Module = LPFormer(self.x.shape[1], hidden)
            optimizer = torch.optim.Adam(self.model.parameters(), lr=lr)
            for epoch in range(1, epochs + 1):
                self.model.train()
                order = torch.randperm(len(links), generator=generator)
                for rows in order.split(batch_size):
                    seen = torch.ones(len(links), dtype=torch.bool).scatter(0, rows, False)
                    negative = torch.randint(graph.num_nodes, (2, len(rows)), generator=generator)
                    logit = self.model(torch.cat([links[rows].T, negative], dim=1), self.x,
                                       split.graph.observed(links[seen]).edge_index, ppr).flatten()
                    truth = (torch.arange(len(logit)) < len(rows)).to(logit.dtype)
                    loss = F.binary_cross_entropy_with_logits(logit, truth)
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                found = merit(self)
                if found > best:
                    best, best_epoch, weights = found, epoch, deepcopy(self.model.state_dict())
                elif epoch - best_epoch >= patience:
                    break
        self.model.load_state_dict(weights)

    @torch.no_grad()
    def __call__(self, graph: Data, pairs: Tensor, block: int = 4096) -> Tensor:
        """Logits of pairs (P, 2) in a graph -> (P,)."""
        self.model.eval()
        ppr = sparse_ppr(graph)
        return torch.cat([self.model(part.T, self.x, graph.edge_index, ppr).flatten() for part in pairs.split(block)])


def sparse_ppr(graph: Data) -> Tensor:
    """Personalised PageRank (N, N) as a sparse tensor without entries below 1e-4; row i is personalised to i."""
    a, rows, least, block = adjacency(graph), [], 1e-4, 256
    for nodes in torch.arange(graph.num_nodes).split(block):
        values = ppr_rows(a, nodes.numpy(), error=least / 100)
        rows.append(csr_matrix(values * (values >= least)))
    found = [torch.from_numpy(part.tocoo().coords[0]).long() + block * number for number, part in enumerate(rows)]
    index = torch.stack([torch.cat(found), torch.cat([torch.from_numpy(part.indices).long() for part in rows])])
    value = torch.cat([torch.from_numpy(part.data).float() for part in rows])
    return torch.sparse_coo_tensor(index, value, (graph.num_nodes,) * 2).coalesce()
