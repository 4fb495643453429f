"""The same figures camera by camera: from which camera to which a ranking and believed pairs work."""
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mprd_pyg.evaluation.pairs import checked_labels
from mprd_pyg.evaluation.ranking import evaluate_ranking

__all__ = ["CameraMatrix", "CameraPairs", "camera_matrix", "pairs_by_camera"]


@dataclass(frozen=True, eq=False)
class CameraMatrix:
    """Mean average precision from camera to camera.

    Attributes:
        cameras: (C,) camera ids, sorted: the rows (of the query) and columns (of the gallery) of what follows.
        mAP: (C, C) rectangle rule; NaN where no query has a match, so always on the diagonal.
        num_queries: (C, C) queries with a match.
    """

    cameras: np.ndarray
    mAP: np.ndarray  # noqa: N815
    num_queries: np.ndarray


def camera_matrix(query_features: Tensor | np.ndarray, gallery_features: Tensor | np.ndarray,
                  query_ids: Tensor | np.ndarray, gallery_ids: Tensor | np.ndarray,
                  query_cameras: Tensor | np.ndarray, gallery_cameras: Tensor | np.ndarray,
                  block: int = 256) -> CameraMatrix:
    """Rank, for each gallery camera, its images alone for the queries of all other cameras.

    Every similarity is computed once, as in one cross-camera evaluation; there is a loop over cameras only.

    Args:
        query_features, gallery_features: (Q, d) and (G, d), see :func:`evaluate_ranking`.
        query_ids, gallery_ids: (Q,) and (G,) integers; < 0 takes no part.
        query_cameras, gallery_cameras: (Q,) and (G,) integers.
        block: queries per step; bounds the memory.

    Raises:
        ValueError: what :func:`evaluate_ranking` refuses, but for cameras without a match.
    """
    query, gallery = torch.as_tensor(query_features), torch.as_tensor(gallery_features)
    query_ids = checked_labels(query_ids, len(query), "query_ids")
    gallery_ids = checked_labels(gallery_ids, len(gallery), "gallery_ids")
    query_cameras = checked_labels(query_cameras, len(query), "query_cameras")
    gallery_cameras = checked_labels(gallery_cameras, len(gallery), "gallery_cameras")
    cameras, place = np.unique(np.append(query_cameras, gallery_cameras), return_inverse=True)
    row, count = place[:len(query)], len(cameras)
    matrix, queries = np.full((count, count), np.nan), np.zeros((count, count), np.int64)
    for column, camera in enumerate(cameras):
        shown = np.flatnonzero(gallery_cameras == camera)
        known = gallery_ids[shown][gallery_ids[shown] >= 0]
        if not np.isin(query_ids[query_cameras != camera], known).any():
            continue
        result = evaluate_ranking(query, gallery[shown], query_ids, gallery_ids[shown], query_cameras,
                                  gallery_cameras[shown], mode="cross", block=block, top=0)
        valid = result.num_matches > 0
        queries[:, column] = np.bincount(row[valid], minlength=count)
        total = np.bincount(row[valid], result.average_precision[valid], minlength=count)
        some = queries[:, column] > 0
        matrix[some, column] = total[some] / queries[some, column]
    return CameraMatrix(cameras, matrix, queries)


@dataclass(frozen=True, eq=False)
class CameraPairs:
    """Believed, right and true ordered pairs, by the cameras of the anchor (row) and of the neighbour (column).

    Attributes:
        cameras: (C,) camera ids, sorted.
        believed: (C, C) distinct believed pairs of known identities.
        right: (C, C) those that are true.
        true: (C, C) all true pairs.
    """

    cameras: np.ndarray
    believed: np.ndarray
    right: np.ndarray
    true: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """(C, C) right / believed; NaN where nothing is believed."""
        return self.right / np.where(self.believed > 0, self.believed, np.nan)

    @property
    def recall(self) -> np.ndarray:
        """(C, C) right / true; NaN where nothing is true."""
        return self.right / np.where(self.true > 0, self.true, np.nan)

    def unordered(self) -> "CameraPairs":
        """Both directions together, in the upper triangle; 0 below it."""
        def fold(counts: np.ndarray) -> np.ndarray:
            return np.triu(counts + counts.T) - np.diag(np.diag(counts))
        return CameraPairs(self.cameras, fold(self.believed), fold(self.right), fold(self.true))


def pairs_by_camera(edge_index: Tensor | np.ndarray, person_ids: Tensor | np.ndarray,
                    camera_ids: Tensor | np.ndarray) -> CameraPairs:
    """Count believed pairs as :func:`evaluate_pairs` does, camera pair by camera pair.

    Args:
        edge_index: (2, E) integers, row 0 the neighbour j, row 1 the anchor i. Self-loops are left out, a repeated
            edge counts once, and pairs with an unknown identity not at all.
        person_ids: (N,) integers, < 0 for unknown.
        camera_ids: (N,) integers.

    Raises:
        ValueError: rows outside [0, N), or labels of another length.
    """
    edges = edge_index.detach().cpu().numpy() if isinstance(edge_index, Tensor) else np.asarray(edge_index)
    edges = edges.astype(np.int64)
    rows = len(person_ids)
    person = checked_labels(person_ids, rows, "person_ids")
    cameras, camera = np.unique(checked_labels(camera_ids, rows, "camera_ids"), return_inverse=True)
    if edges.size and (edges.min() < 0 or edges.max() >= rows):
        raise ValueError(f"edge_index holds rows from {edges.min()} to {edges.max()}; expected 0 to {rows - 1}")
    anchor, neighbour = np.divmod(np.unique(edges[1] * rows + edges[0]), max(rows, 1))
    kept = (anchor != neighbour) & (person[anchor] >= 0) & (person[neighbour] >= 0)
    anchor, neighbour = anchor[kept], neighbour[kept]
    count = len(cameras)
    cell, right = camera[anchor] * count + camera[neighbour], person[anchor] == person[neighbour]

    known = person >= 0
    names, label = np.unique(person[known], return_inverse=True)
    seen = np.bincount(label * count + camera[known], minlength=len(names) * count).reshape(-1, count)  # (P, C)
    square = (count, count)
    return CameraPairs(cameras, np.bincount(cell, minlength=count ** 2).reshape(square),
                       np.bincount(cell[right], minlength=count ** 2).reshape(square),
                       seen.T @ seen - np.diag(seen.sum(0)))
