"""Neighbour-based edge probability as a relation."""
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph.reciprocal_rows import SparseRows, edge_probability_neighbours, neighbour_probability_rows
from mprd_pyg.relations.shared_neighbours import SharedNeighbours


class NeighbourEdgeProbability(SharedNeighbours):
    r"""Believes pairs that put much of their probability on neighbours that both have (Liu, FC-ES, 2024).

    :math:`\frac12 \sum_c (p_{ic} + p_{jc})` over shared neighbours c, p proportional to :math:`\exp(-d^2 / scale)` over
    the image itself and its k nearest.

    Args:
        threshold: least probability of believed pairs.
        positives: believe so many pairs per image in the mean instead.
        k: neighbours.
        scale: of the squared distance.
        least: pairs of a lower probability are neither returned nor believed.
        index: of the search (see ``NearestSearch``).
    """

    def __init__(self, threshold: float = 0.5, positives: float | None = None, k: int = 30, scale: float = 0.5,
                 least: float = 0.1, index: str = "Flat"):
        super().__init__(threshold, positives, least)
        self.k, self.scale, self.index = k, scale, index

    def encode(self, graph: Data) -> SparseRows:
        """Probabilities of the neighbours."""
        return neighbour_probability_rows(graph.x, self.k, self.scale, self.index)

    def compare(self, encoded: SparseRows, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Probability of an edge."""
        return edge_probability_neighbours(encoded, rows, self.least)
