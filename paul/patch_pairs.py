"""Judged pairs of several branches in one graph, and of several steps."""
import torch
from torch import Tensor
from torch_geometric.data import Data

FIELDS = ("edge_index", "edge_attr", "likelihood", "believed", "branch")


def join_branches(pairs: list[Data]) -> Data:
    """The judged pairs of M branches as one graph, ``branch`` (E,) telling them apart."""
    joined = {key: torch.cat([part[key] for part in pairs], dim=-1) for key in FIELDS[:-1]}
    branch = torch.cat([torch.full_like(part.edge_index[0], m) for m, part in enumerate(pairs)])
    return Data(**joined, branch=branch, num_nodes=pairs[0].num_nodes)


def join_steps(parts: list[Data], num_nodes: int) -> Data:
    """The judged pairs of several steps as one graph."""
    if not parts:
        none = torch.zeros(0)
        parts = [Data(edge_index=torch.zeros(2, 0, dtype=torch.long), edge_attr=none, likelihood=none,
                      believed=none.bool(), branch=none.long())]
    joined = {key: torch.cat([part[key] for part in parts], dim=-1) for key in FIELDS}
    return Data(**joined, num_nodes=num_nodes)


def fields(pairs: Data) -> dict[str, Tensor]:
    """The tensors of a joined graph, for a checkpoint."""
    return {key: pairs[key] for key in FIELDS}
