"""A graph of neighbours made symmetric: edges that either node has, or only those that both have."""
from typing import Literal

import numpy as np
import torch
from torch_geometric.data import Data

Directions = Literal["directed", "symmetric", "mutual"]


def with_directions(graph: Data, directions: Directions) -> Data:
    """Change which edges a kNN graph (row 0 neighbour, row 1 node) has; all else stays as it is.

    Args:
        graph: without double edges.
        directions: ``"directed"`` leaves it alone; ``"symmetric"`` lets each edge run both ways; ``"mutual"`` keeps
            the edges that run both ways already.

    Returns:
        a graph whose edges are grouped by node, the most similar first, then by the lower neighbour.
    """
    if directions == "directed":
        return graph
    neighbour, node = graph.edge_index.numpy()
    similarity, total = graph.edge_attr.numpy(), graph.num_nodes
    if directions == "symmetric":
        neighbour, node = np.concatenate([neighbour, node]), np.concatenate([node, neighbour])
        keep = np.unique(node * total + neighbour, return_index=True)[1]
        similarity = np.tile(similarity, 2)
    else:
        keep = np.isin(node * total + neighbour, neighbour * total + node).nonzero()[0]
    neighbour, node, similarity = neighbour[keep], node[keep], similarity[keep]
    order = np.lexsort((neighbour, -similarity, node))
    out = graph.clone()
    out.edge_index = torch.from_numpy(np.stack([neighbour[order], node[order]]))
    out.edge_attr = torch.from_numpy(similarity[order])
    return out
