"""HeaRT (Li et al., NeurIPS 2023): negatives of its own for each link, those that simple scores believe most."""
import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_matrix, diags
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.link_prediction.link_graph import LinkGraph
from mprd_pyg.link_prediction.link_heuristics import adjacency, degrees, ppr_rows
from mprd_pyg.random_streams import stream


def hard_negatives(graph: LinkGraph, observed: Data, links: Tensor, count: int = 500, seed: int = 0,
                   block: int = 256) -> Tensor:
    """Negatives of each link (a, b): half keep a and replace b, half keep b and replace a.

    Resource allocation, PageRank personalised to the kept node and, with features, their cosine each rank the nodes
    that could stand in; a node's rank is its best of the three. Nodes that all find to be 0 are drawn at random where
    the others do not suffice. No negative is a link of the graph (the authors leave out only links seen so far).

    Args:
        graph: whole, with features where it has them.
        observed: the links that the scores may see.
        links: (L, 2).
        count: K of each link, even; less on a graph so small that a node has not half as many pairs without a link.
        seed: of the order among equals and of the nodes drawn.
        block: kept nodes worked on together, which bounds the memory to block x N.

    Returns:
        (L, K, 2).

    Raises:
        ValueError: ``count`` is odd, or a node is linked with all others.
    """
    if count < 2 or count % 2:
        raise ValueError(f"half of each link's negatives keep either node: their number must be even, got {count}")
    kept = links.T.reshape(-1)  # a of all links, then b
    nodes, place = kept.unique(return_inverse=True)
    known = adjacency(graph.observed(graph.links))
    free = graph.num_nodes - 1 - int(known.sum(1).max()) if len(links) else count
    half = min(count // 2, free)
    if half < 1:
        raise ValueError("a node is linked with all others, so its links have no negatives of their own: use random "
                         "ones")
    a = adjacency(observed)
    allocation = a @ diags(1 / np.maximum(degrees(a), 1)) @ a
    unit = None if graph.x is None else F.normalize(graph.x, dim=1)
    generator = stream(seed, 23)
    chosen = torch.cat([stand_ins(part, known, allocation, a, unit, half, generator)
                        for part in nodes.split(block)])[place].view(2, len(links), half)
    pairs = [torch.stack([node.unsqueeze(1).expand_as(other), other], dim=2)
             for node, other in zip(links.T, chosen, strict=True)]
    return torch.cat(pairs, dim=1)


def stand_ins(nodes: Tensor, known: csr_matrix, allocation: csr_matrix, a: csr_matrix, unit: Tensor | None,
              count: int, generator: torch.Generator) -> Tensor:
    """The nodes (B, count) that the scores believe most to be linked with ``nodes`` (B,)."""
    barred = torch.from_numpy(known[nodes.numpy()].toarray() > 0)
    barred[torch.arange(len(nodes)), nodes] = True
    scores = [torch.from_numpy(allocation[nodes.numpy()].toarray()), torch.from_numpy(ppr_rows(a, nodes.numpy()))]
    if unit is not None:
        scores.append((unit[nodes] @ unit.T).double())
    best = torch.stack([descending_ranks(score.masked_fill(barred, -1)) for score in scores]).amin(0)
    nothing = torch.stack([score <= 0 for score in scores]).all(0)
    best = best.masked_fill(nothing, best.shape[1] + 1).masked_fill(barred, best.shape[1] + 2)
    mixed = best + torch.rand(best.shape, generator=generator, dtype=torch.double)  # the order among equals
    return mixed.topk(count, largest=False).indices


def descending_ranks(score: Tensor) -> Tensor:
    """1 for the largest of each row (B, N); equals share the worst of their ranks, those at 0 or below the next."""
    ordered = score.sort(dim=1).values
    above = score.shape[1] - torch.searchsorted(ordered, score, right=False)
    positive = (score > 0).sum(1, keepdim=True)
    return torch.where(score > 0, above, positive + 1)
