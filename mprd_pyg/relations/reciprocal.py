"""k-reciprocal Jaccard similarity as a relation, over one list of neighbours or one per kind of camera."""
from typing import Literal

from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph.reciprocal_rows import SparseRows, camera_reciprocal_rows, jaccard_neighbours, k_reciprocal_rows
from mprd_pyg.relations.shared_neighbours import SharedNeighbours


class KReciprocalJaccard(SharedNeighbours):
    """Believes pairs whose k-reciprocal neighbourhoods overlap (Zhong et al., CVPR 2017), found anywhere in the data.

    With cameras, the neighbours in an image's own camera and those in all others stand in lists of their own (after
    Chen et al., CVPR 2024), which finds partners across cameras that near images of one's own camera crowd out.
    Without (one camera, or ``camera_aware=False``), one list of ``k1`` neighbours is used.

    Args:
        threshold: least Jaccard similarity of believed pairs.
        positives: believe so many pairs per image in the mean instead.
        camera_aware: read ``graph.camera_id`` (N,).
        k_own: neighbours of the own camera; ``"auto"``: see :func:`list_lengths`.
        k_other: neighbours of all other cameras; ``"auto"`` grows with their number.
        query_own: neighbours of the own camera over which an image's row is averaged.
        query_other: neighbours of other cameras over which it is averaged.
        expand: Zhong's expansion by mutual neighbours of mutual neighbours.
        k1: neighbours, without cameras.
        k2: rows over which a row is averaged, without cameras.
        least: pairs of a lower similarity are neither returned nor believed.
        index: of the searches (see ``NearestSearch``).
    """

    def __init__(self, threshold: float = 0.3, positives: float | None = None, camera_aware: bool = True,
                 k_own: int | Literal["auto"] = "auto", k_other: int | Literal["auto"] = "auto", query_own: int = 2,
                 query_other: int = 2, expand: bool = True, k1: int = 30, k2: int = 6, least: float = 0.1,
                 index: str = "Flat"):
        super().__init__(threshold, positives, least)
        self.camera_aware, self.k_own, self.k_other, self.expand = camera_aware, k_own, k_other, expand
        self.query_own, self.query_other, self.k1, self.k2, self.index = query_own, query_other, k1, k2, index

    def encode(self, graph: Data) -> SparseRows:
        """Rows of the form that the cameras allow."""
        cameras = len(graph.camera_id.unique()) if self.camera_aware and "camera_id" in graph else 1
        if cameras < 2:
            return k_reciprocal_rows(graph.x, self.k1, self.k2, self.index)
        k_own, k_other = (auto if k == "auto" else k
                          for k, auto in zip((self.k_own, self.k_other), list_lengths(cameras), strict=True))
        return camera_reciprocal_rows(graph.x, graph.camera_id, k_own, k_other, self.query_own, self.query_other,
                                      self.expand, self.index)

    def compare(self, encoded: SparseRows, rows: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Jaccard similarity."""
        return jaccard_neighbours(encoded, rows, self.least)


def list_lengths(cameras: int) -> tuple[int, int]:
    r"""Neighbours sought in the own camera and in all others, from the number C >= 2 of cameras alone.

    :math:`8 / \sqrt C` per camera: a person is seen by more cameras where there are more, but not by all of them, and
    less often by each. It gives 6 + 6 for 2 cameras and 4 + 12 for 4, where these were measured to be best, and
    4 + 29 for 15. The own camera's never falls below 4.
    """
    per_camera = 8 / cameras ** 0.5
    return max(round(per_camera), 4), round((cameras - 1) * per_camera)
