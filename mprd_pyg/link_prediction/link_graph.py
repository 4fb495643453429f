"""A graph whose links are to be predicted: undirected, simple, with the nodes' names."""
import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data


@dataclass(frozen=True)
class LinkGraph:
    """An undirected graph without self-loops or repeated links.

    Args:
        links: (L, 2) nodes i < j, sorted, each link once.
        num_nodes: N; nodes without links count.
        names: N names, as the file has them.
        x: (N, d) node features, or None.
        cleaned: what was in the file and is not in ``links``: self-loops, repeats.
    """

    links: Tensor
    num_nodes: int
    names: list[str]
    x: Tensor | None = None
    cleaned: dict[str, int] = field(default_factory=dict)

    @classmethod
    def from_edges(cls, edges: np.ndarray | Tensor, num_nodes: int, names: list[str] | None = None,
                   x: Tensor | None = None) -> "LinkGraph":
        """From edges (E, 2) in any direction and order, with self-loops and repeats.

        Raises:
            ValueError: a node outside 0 ... N - 1, or features that do not fit.
        """
        edges = np.asarray(edges, dtype=np.int64).reshape(-1, 2)
        if edges.size and (edges.min() < 0 or edges.max() >= num_nodes):
            raise ValueError(f"an edge names a node outside 0 ... {num_nodes - 1}: "
                             f"the edges span {edges.min()} ... {edges.max()}")
        if x is not None:
            x = x.float() if x.dim() == 2 else x.float().reshape(len(x), -1)
            if len(x) != num_nodes:
                raise ValueError(f"{len(x)} rows of node features for {num_nodes} nodes")
            bad = ~torch.isfinite(x).all(1)
            if bool(bad.any()):
                raise ValueError(f"the features of {int(bad.sum())} nodes are NaN or infinite, "
                                 f"the first of node {int(bad.nonzero()[0])}: mend them, or leave them out by "
                                 f"--features false")
        loop = edges[:, 0] == edges[:, 1]
        edges = np.sort(edges[~loop], axis=1)
        key = np.unique(edges[:, 0] * num_nodes + edges[:, 1])
        links = np.stack([key // max(num_nodes, 1), key % max(num_nodes, 1)], axis=1)
        cleaned = {"self_loops": int(loop.sum()), "repeats": len(edges) - len(links)}
        names = [str(i) for i in range(num_nodes)] if names is None else names
        return cls(torch.from_numpy(links), num_nodes, names, x, cleaned)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of links, names and features."""
        digest = hashlib.sha256(self.links.numpy().tobytes())
        digest.update("\n".join(self.names).encode())
        if self.x is not None:
            digest.update(self.x.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def observed(self, links: Tensor) -> Data:
        """The graph with ``links`` (L', 2) only, in both directions, and the features."""
        data = Data(edge_index=torch.cat([links, links.flip(1)]).T.contiguous(), num_nodes=self.num_nodes)
        if self.x is not None:
            data.x = self.x
        return data

    def without_features(self) -> "LinkGraph":
        """The same graph, its features left out."""
        return replace(self, x=None)

    def keys(self, pairs: Tensor) -> Tensor:
        """One number for each pair (P, 2), in either order of its nodes -> (P,)."""
        low, high = pairs.sort(dim=1).values.T
        return low * self.num_nodes + high

    def has(self, pairs: Tensor) -> Tensor:
        """Whether pairs (P, 2), in either order, are links -> (P,)."""
        return torch.isin(self.keys(pairs), self.keys(self.links))

    def table(self, pairs: Tensor) -> pd.DataFrame:
        """``i, j, source, target``: pairs (P, 2) and their nodes' names."""
        names = np.array(self.names, dtype=object)
        i, j = pairs.T.numpy()
        return pd.DataFrame({"i": i, "j": j, "source": names[i], "target": names[j]})
