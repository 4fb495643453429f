"""Judged pairs of several branches in one graph."""
import torch
from torch_geometric.data import Data

from mprd_pyg.relations.base import PAIR_FIELDS


def join_branches(pairs: list[Data]) -> Data:
    """The judged pairs of M branches as one graph, ``branch`` (E,) telling them apart."""
    joined = {key: torch.cat([part[key] for part in pairs], dim=-1) for key in PAIR_FIELDS}
    branch = torch.cat([torch.full_like(part.edge_index[0], m) for m, part in enumerate(pairs)])
    return Data(**joined, branch=branch, num_nodes=pairs[0].num_nodes)
