"""What relations have in common that compare the neighbourhoods of two images, and may add pairs beyond NN_k."""
from abc import abstractmethod

import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph.reciprocal_rows import SparseRows, pair_similarity
from mprd_pyg.relations.base import Relation, judged


class SharedNeighbours(Relation):
    """Judges all pairs whose encoded neighbourhoods overlap.

    The rows of all images are encoded whatever ``graph.rows`` are, since a neighbourhood is averaged over neighbours
    that need not be mutual: made for one call per epoch. A call for a batch gives the same answer for its rows.
    The graph's edges are not read.

    Args:
        threshold: pairs of a higher likelihood are believed.
        positives: believe so many pairs per image, in the mean over all images, instead: those of the highest
            likelihood (and the ones that tie with the last).
        least: pairs of a lower likelihood are neither returned nor believed, which bounds the memory.
    """

    reach = 0

    def __init__(self, threshold: float, positives: float | None, least: float):
        if positives is None and not 0 <= least <= threshold < 1:
            raise ValueError(f"0 <= least <= threshold < 1 is needed, got least={least} and threshold={threshold}")
        if positives is not None and positives <= 0:
            raise ValueError(f"positives, the believed pairs per image, must be above 0, got {positives}")
        self.threshold, self.positives, self.least = threshold, positives, least

    @abstractmethod
    def encode(self, graph: Data) -> SparseRows:
        """The neighbourhood of each node of ``graph.x``."""

    @abstractmethod
    def compare(self, encoded: SparseRows, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Row (E,), other (E,) and likelihood (E,) of all pairs of ``rows`` from ``least`` on."""

    def __call__(self, graph: Data) -> Data:
        """Encode all nodes, compare ``graph.rows`` with those they share a neighbour with."""
        device, encoded = graph.x.device, self.encode(graph)
        if self.positives is None:
            row, other, likelihood = self.compare(encoded, graph.rows)
            believed = likelihood > self.threshold
        else:
            row, other, likelihood = self.compare(encoded, None)
            wanted = min(round(self.positives * graph.num_nodes), len(likelihood))
            believed = likelihood >= (likelihood.kthvalue(len(likelihood) - wanted + 1).values if wanted else 2.0)
            asked = torch.zeros(graph.num_nodes, dtype=torch.bool)
            asked[graph.rows.cpu()] = True
            row, other, likelihood, believed = (t[asked[row]] for t in (row, other, likelihood, believed))
        edges = torch.stack([other, row])
        similarity = pair_similarity(graph.x, edges.T)
        return judged(graph, edges.to(device), similarity.to(device), likelihood.to(device), believed.to(device))
