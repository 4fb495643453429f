"""Single shot: one gallery image per identity, drawn several times; figures are means over the draws."""
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mprd_pyg.evaluation.ranking import RankingResult, evaluate_ranking

SPREAD = ("mAP", "mAP_trapz", "mINP", "rank1", "rank5", "rank10")
"""The figures of a summary that are averaged; with a spread they have ``_sd`` beside them."""


@dataclass(frozen=True, eq=False)
class SingleShotResult:
    """Rankings of the same queries against galleries drawn anew.

    Attributes:
        draws: one ranking per draw.
        top_indices, top_similarities: (Q, top) of the first draw, as in :class:`RankingResult`; the indices are
            rows of the whole gallery.
    """

    draws: tuple[RankingResult, ...]
    top_indices: np.ndarray
    top_similarities: np.ndarray

    def summary(self) -> dict[str, float | int]:
        """Return mean, and where there are several draws sample standard deviation (``rank1_sd``), over the draws."""
        return mean_and_spread([draw.summary() for draw in self.draws]) | {"draws": len(self.draws)}


def mean_and_spread(rows: list[dict[str, float]]) -> dict[str, float | int]:
    """Average the figures of several summaries, and add ``NAME_sd``, the sample standard deviation, for two or more.

    What is no figure (numbers of queries) is taken from the first.
    """
    result = dict(rows[0])
    for name in SPREAD:
        values = np.array([row[name] for row in rows])
        result[name] = float(values.mean())
        if len(values) > 1:
            result[f"{name}_sd"] = float(values.std(ddof=1))
    return result


def evaluate_single_shot(
    query_features: Tensor | np.ndarray,
    gallery_features: Tensor | np.ndarray,
    query_ids: Tensor | np.ndarray,
    gallery_ids: Tensor | np.ndarray,
    query_cameras: Tensor | np.ndarray,
    gallery_cameras: Tensor | np.ndarray,
    draws: np.ndarray,
    **options,
) -> SingleShotResult:
    """Rank, for each query and each draw, the drawn images of the other camera.

    With two cameras and one image per identity and camera, each query meets every identity once: the protocol of
    VIPeR, CUHK01 and CUHK03 (Li et al., "DeepReID", CVPR 2014), both cameras in turn being the query's.

    Args:
        query_features, gallery_features, query_ids, gallery_ids, query_cameras, gallery_cameras: as for
            :func:`evaluate_ranking`.
        draws: (D, S) rows of the gallery, at most one per identity and camera in each draw.
        **options: of :func:`evaluate_ranking`, but not ``mode``.

    Raises:
        ValueError: not exactly two cameras, or two images of an identity and camera in a draw.
    """
    gallery_ids, gallery_cameras = np.asarray(gallery_ids), np.asarray(gallery_cameras)
    cameras = np.union1d(np.asarray(query_cameras), gallery_cameras)
    if len(cameras) != 2:
        raise ValueError(f"single shot is one gallery image per identity, of the camera that the query is not from: "
                         f"exactly two cameras are needed, found {', '.join(map(str, cameras))}")
    gallery_features = torch.as_tensor(gallery_features)
    results = []
    for rows in np.asarray(draws):
        groups = np.stack([gallery_ids[rows], gallery_cameras[rows]])
        if np.unique(groups, axis=1).shape[1] != len(rows):
            raise ValueError("a draw holds two images of one identity and camera")
        results.append(evaluate_ranking(query_features, gallery_features[torch.as_tensor(rows)], query_ids, groups[0],
                                        query_cameras, groups[1], mode="cross", **options))
    top, rows = results[0].top_indices, np.asarray(draws)[0]
    return SingleShotResult(tuple(results), np.where(top >= 0, rows[top], -1), results[0].top_similarities)
