"""Believed pairs are judged by counting: the true ones follow from group sizes, without an N x N matrix."""

from dataclasses import asdict, dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

__all__ = ["PairAUC", "PairReport", "evaluate_pairs", "pair_auc", "pair_truth"]

Labels = TypeVar("Labels", Tensor, np.ndarray)


def pair_truth(person_a: Labels, person_b: Labels) -> Labels:
    """Whether both images of a pair show one person.

    Args:
        person_a: (P,) integers, the identity of the first image of each pair, < 0 for unknown.
        person_b: (P,) the same of the second image.

    Returns:
        (P,) int64: 1 true, 0 false, -1 unknown because an identity is.
    """
    known = (person_a >= 0) & (person_b >= 0)
    return 1 * (known & (person_a == person_b)) - 1 * ~known


def checked_labels(labels: Tensor | np.ndarray, length: int, name: str) -> np.ndarray:
    """Return person or camera ids as an int64 array; raise ValueError unless they are ``length`` integers."""
    labels = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if labels.shape != (length,):
        raise ValueError(f"{name} has shape {labels.shape}; expected one per row of the data, ({length},)")
    if labels.size and labels.dtype.kind not in "iu":
        raise ValueError(f"{name} has type {labels.dtype}; expected integers: number the names first")
    return labels.astype(np.int64)


def group_size(*labels: np.ndarray, counted: np.ndarray | None = None) -> np.ndarray:
    """Return for each row how many rows (of those in the mask ``counted``) carry the same labels."""
    group = np.unique(np.stack(labels), axis=1, return_inverse=True)[1].reshape(-1)
    return np.bincount(group if counted is None else group[counted], minlength=len(group))[group]


@dataclass(frozen=True)
class PairReport:
    """How far believed pairs are true, and true pairs believed; every count is of distinct ordered pairs.

    Attributes:
        precision: fraction of the judged pairs that are true; NaN when none was judged.
        recall: fraction of the true pairs that are believed; NaN when there are none.
        count: judged pairs: both identities are known.
        unknown: believed pairs left out of all the above, because an identity is not known.
        positives_per_image: judged and unknown pairs per anchor row.
        cross_camera_precision, cross_camera_recall, cross_camera_count: precision, recall and count over the
            pairs of images with different cameras; None when the cameras were not given.
    """

    precision: float
    recall: float
    count: int
    unknown: int
    positives_per_image: float
    cross_camera_precision: float | None = None
    cross_camera_recall: float | None = None
    cross_camera_count: int | None = None

    def summary(self) -> dict[str, float | int]:
        """Return the fields as a dict, without the cross-camera ones when the cameras were not given."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class PairAUC(NamedTuple):
    """Threshold-free scores of pair likelihoods."""

    auroc: float
    average_precision: float


def evaluate_pairs(
    edge_index: Tensor | np.ndarray,
    person_ids: Tensor | np.ndarray,
    camera_ids: Tensor | np.ndarray | None = None,
    anchors: Tensor | np.ndarray | None = None,
) -> PairReport:
    """Compare believed pairs with the truth.

    An edge (j, i) says that anchor i believes j to be of its identity. Pairs are ordered: (j, i) and (i, j)
    are two. Self loops are left out and a repeated edge counts once. If n(i) images have anchor i's identity
    and n(i, c) its camera too, there are sum_i n(i) - 1 true pairs, and sum_i n(i) - n(i, c) across cameras.

    Args:
        edge_index: (2, E) integers, row 0 the neighbour j, row 1 the anchor i.
        person_ids: (N,) integers, < 0 for unknown.
        camera_ids: (N,) integers; None leaves the cross-camera figures out.
        anchors: rows (integers) or mask (N,) of the images that partners were sought for; no figure takes in
            an edge or a true pair of another anchor. All rows by default.

    Raises:
        ValueError: ill-shaped input, or rows outside [0, N).
    """
    edge_index = np.asarray(torch.as_tensor(edge_index).detach().cpu())
    if edge_index.ndim != 2 or len(edge_index) != 2 or edge_index.size and edge_index.dtype.kind not in "iu":
        what = f"{edge_index.dtype} of shape {edge_index.shape}"
        raise ValueError(f"edge_index is {what}; expected integers of shape (2, E)")
    num_rows = len(person_ids)
    person = checked_labels(person_ids, num_rows, "person_ids")
    camera = None if camera_ids is None else checked_labels(camera_ids, num_rows, "camera_ids")
    is_anchor = _anchor_mask(anchors, num_rows)
    _check_rows(edge_index, num_rows, "edge_index")

    key = np.unique(edge_index[1].astype(np.int64) * num_rows + edge_index[0].astype(np.int64))
    anchor, neighbour = np.divmod(key, max(num_rows, 1))
    kept = (anchor != neighbour) & is_anchor[anchor]
    anchor, neighbour = anchor[kept], neighbour[kept]
    truth = pair_truth(person[anchor], person[neighbour])
    known = truth >= 0
    positives_per_image = _ratio(len(anchor), is_anchor.sum())
    anchor, neighbour, hit = anchor[known], neighbour[known], truth[known] == 1

    sought = is_anchor & (person >= 0)
    same_person = group_size(person)
    report = {
        "precision": _ratio(hit.sum(), len(hit)),
        "recall": _ratio(hit.sum(), (same_person - 1)[sought].sum()),
        "count": len(hit),
        "unknown": int((~known).sum()),
        "positives_per_image": positives_per_image,
    }
    if camera is not None:
        cross = camera[anchor] != camera[neighbour]
        true_cross = (same_person - group_size(person, camera))[sought].sum()
        report |= {
            "cross_camera_precision": _ratio(hit[cross].sum(), cross.sum()),
            "cross_camera_recall": _ratio(hit[cross].sum(), true_cross),
            "cross_camera_count": int(cross.sum()),
        }
    return PairReport(**report)


def pair_auc(likelihood: Tensor | np.ndarray, truth: Tensor | np.ndarray) -> PairAUC:
    """Return area under the ROC curve and average precision of pair scores; NaN when one class is missing.

    Args:
        likelihood: (P,) scores of any scale, higher for pairs believed more; only their order matters.
        truth: (P,) bool or 0/1, whether the pair is true.

    Raises:
        ValueError: lengths that differ, NaN scores, or truth values other than 0 and 1.
    """
    likelihood, truth = torch.as_tensor(likelihood).detach().cpu(), torch.as_tensor(truth).cpu()
    if likelihood.ndim != 1 or likelihood.shape != truth.shape:
        shapes = f"likelihood has shape {tuple(likelihood.shape)}, truth {tuple(truth.shape)}"
        raise ValueError(f"{shapes}; expected (P,) for both")
    if likelihood.isnan().any():
        first = int(likelihood.isnan().nonzero()[0])
        raise ValueError(f"likelihood[{first}] is NaN; check the classifier's output")
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("truth holds values other than 0 and 1; leave pairs of unknown identity out")
    truth = truth.long()
    if truth.unique().numel() < 2:
        return PairAUC(float("nan"), float("nan"))
    # Imported here: it takes seconds, and everything else in this package works without it.
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    # Dense ranks in [0, 1]: torchmetrics would put other scores through a sigmoid, which merges large ones.
    values, place = likelihood.unique(return_inverse=True)
    score = place.double() / max(len(values) - 1, 1)
    return PairAUC(float(binary_auroc(score, truth)), float(binary_average_precision(score, truth)))


def _anchor_mask(anchors: Tensor | np.ndarray | None, num_rows: int) -> np.ndarray:
    """Return a (N,) mask from rows, a mask or None."""
    mask = np.full(num_rows, anchors is None)
    if anchors is None:
        return mask
    anchors = np.asarray(torch.as_tensor(anchors).cpu())
    if anchors.dtype == bool and anchors.shape == (num_rows,):
        return anchors
    if anchors.ndim != 1 or anchors.size and anchors.dtype.kind not in "iu":
        what = f"{anchors.dtype} of shape {anchors.shape}"
        raise ValueError(f"anchors is {what}; expected a mask ({num_rows},) or row numbers")
    _check_rows(anchors, num_rows, "anchors")
    mask[anchors.astype(np.int64)] = True
    return mask


def _check_rows(rows: np.ndarray, num_rows: int, name: str) -> None:
    if rows.size and (rows.min() < 0 or rows.max() >= num_rows):
        raise ValueError(f"{name} holds rows from {rows.min()} to {rows.max()}; expected 0 to {num_rows - 1}")


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else float("nan")
