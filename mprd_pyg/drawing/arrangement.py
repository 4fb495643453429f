"""Where the nodes and edges of one pair subgraph go, whoever draws them."""
from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch_geometric.data import Data

from mprd_pyg.drawing.pair_layout import PairLayout, lay_out, sides


class Arrangement(NamedTuple):
    """A pair subgraph, laid out.

    Attributes:
        layout: of its n nodes.
        side: (n,) of :func:`sides`.
        roots: the two places.
        edges: (2, E).
        strength: (E,) in [0, 1], from the least similar edge to the most; None where no similarity is known.
        span: similarity of the two; None likewise.
    """

    layout: PairLayout
    side: np.ndarray
    roots: tuple[int, int]
    edges: np.ndarray
    strength: np.ndarray | None
    span: tuple[float, float] | None


def arrange(data: Data, most: int, aspect: float) -> Arrangement:
    """Lay out a graph of a ``PairSubgraphDataset``: ``root_index``, ``edge_index`` [, ``edge_attr`` or ``x``].

    Args:
        data: the graph.
        most: nodes shown; the least similar ones are left out first.
        aspect: height over width of a tile.
    """
    roots = tuple(int(root) for root in data.root_index.flatten())
    edges = data.edge_index.cpu().numpy()
    similarity = _similarity(data)
    span = None if similarity is None else _range(similarity)
    strength = None if similarity is None else np.clip((similarity - span[0]) / (span[1] - span[0]), 0, 1)
    weight = np.zeros(data.num_nodes)
    near = np.isin(edges, roots).any(0) * edges.shape[1]  # the roots' own neighbours before theirs
    np.add.at(weight, edges[0], near + (1 if strength is None else strength))
    side = sides(edges, roots, data.num_nodes)
    return Arrangement(lay_out(side, weight, most, aspect), side, roots, edges, strength, span)


def _similarity(data: Data) -> np.ndarray | None:
    """(E,) similarity along each edge."""
    if data.get("edge_attr") is not None:
        return data.edge_attr.detach().cpu().numpy()
    if data.get("x") is None:
        return None
    x = F.normalize(data.x.detach().float(), dim=1)
    return (x[data.edge_index[0]] * x[data.edge_index[1]]).sum(1).cpu().numpy()


def _range(similarity: np.ndarray) -> tuple[float, float]:
    """Least and largest similarity, a little apart."""
    if not len(similarity):
        return 0.0, 1.0
    low, high = float(similarity.min()), float(similarity.max())
    return (low, high) if high - low > 1e-6 else (low - 0.5, high + 0.5)
