"""A relation that learns from its own pairs in which space they are to be judged."""
import torch
from torch_geometric.data import Data

from mprd_pyg.graph.pair_whitening import half_whitened, pair_whitening, principal_components, whitened
from mprd_pyg.graph.reciprocal_rows import pair_similarity
from mprd_pyg.relations.base import Relation


class Whitened(Relation):
    """Judges pairs by ``base`` in features that are whitened by the pairs that it believes.

    The first answer is that in principal components, whitened halfway. Its believed pairs say in which directions
    images of one person differ; with these made small (see :func:`~mprd_pyg.graph.pair_whitening.pair_whitening`) the
    pairs are judged anew, ``rounds`` times. The whole graph is judged whatever ``graph.rows`` are: made for one call
    per epoch or every few steps (``method.relate_every``).

    Args:
        base: reads the features and not the edges, such as :class:`KReciprocalJaccard`.
        dims: principal components that are kept.
        rounds: how often the whitening is learned.
        ridge: see :func:`~mprd_pyg.graph.pair_whitening.pair_whitening`.
    """

    reach = 0

    def __init__(self, base: Relation, dims: int = 128, rounds: int = 6, ridge: float = 0.1):
        if base.reach:
            raise ValueError(f"Whitened needs a relation that reads features alone, such as KReciprocalJaccard, and "
                             f"{type(base).__name__} reads the graph's edges")
        if dims < 1 or rounds < 0 or ridge <= 0:
            raise ValueError(f"dims must be at least 1, rounds at least 0 and ridge above 0, got dims={dims}, "
                             f"rounds={rounds} and ridge={ridge}")
        self.base, self.dims, self.rounds, self.ridge = base, dims, rounds, ridge
        self.needs_labels, self.needs_meta = base.needs_labels, base.needs_meta

    def __call__(self, graph: Data) -> Data:
        """Learn the whitening from all pairs, and judge those of ``graph.rows``; similarities are the graph's."""
        coordinates, deviation = principal_components(graph.x, self.dims)
        whole = graph.clone()
        whole.rows = torch.arange(graph.num_nodes, device=graph.x.device)
        whole.x = half_whitened(coordinates, deviation)
        for _ in range(self.rounds):
            pairs = self.base(whole)
            edges = pairs.edge_index[:, pairs.believed]
            if not edges.numel():
                break
            whole.x = whitened(coordinates, pair_whitening(coordinates, edges, self.ridge))
        whole.rows = graph.rows
        pairs = self.base(whole)
        pairs.edge_attr = pair_similarity(graph.x, pairs.edge_index.T).to(pairs.edge_attr)
        return pairs

    def __repr__(self) -> str:
        return f"Whitened({self.base!r}, dims={self.dims}, rounds={self.rounds}, ridge={self.ridge})"
