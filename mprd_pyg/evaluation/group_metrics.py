"""How far found groups are identities: counts per (group, identity), in time linear in the number of images."""
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from mprd_pyg.evaluation.pairs import checked_labels


@dataclass(frozen=True)
class GroupReport:
    """Groups beside identities; images of unknown identity are left out, images without a group stand alone.

    Attributes:
        pair_precision, pair_recall, pair_f: over the unordered pairs within groups and within identities; NaN where
            there are none.
        bcubed_precision, bcubed_recall, bcubed_f: of each image, the share of its group that has its identity and the
            share of its identity that is in its group, averaged over images (Amigo et al., 2009).
        adjusted_rand: adjusted Rand index.
        groups: groups of two or more images.
        identities: identities.
        grouped: share of the images that are in a group.
    """

    pair_precision: float
    pair_recall: float
    pair_f: float
    bcubed_precision: float
    bcubed_recall: float
    bcubed_f: float
    adjusted_rand: float
    groups: int
    identities: int
    grouped: float

    def summary(self) -> dict[str, float | int]:
        """The fields as a dict."""
        return asdict(self)


def evaluate_groups(group: Tensor | np.ndarray, person_ids: Tensor | np.ndarray) -> GroupReport:
    """Compare groups with identities.

    Args:
        group: (N,) integers, < 0 for images without a group.
        person_ids: (N,) integers, < 0 for unknown.

    Raises:
        ValueError: ill-shaped input, or no image of a known identity.
    """
    person = checked_labels(person_ids, len(person_ids), "person_ids")
    group = checked_labels(group, len(person), "group")
    known = person >= 0
    if not known.any():
        raise ValueError("groups cannot be compared with identities: no image's identity is known")
    group, person = group[known], person[known]
    alone = group < 0
    group = np.where(alone, group.max() + np.cumsum(alone), group)
    _, group, of_group = np.unique(group, return_inverse=True, return_counts=True)
    _, person, of_person = np.unique(person, return_inverse=True, return_counts=True)
    cell, both = np.unique(group * len(of_person) + person, return_counts=True)

    total, hits = len(group), _pairs(both)
    precision, recall = _ratio(hits, _pairs(of_group)), _ratio(hits, _pairs(of_person))
    bcubed_precision = float((both ** 2 / of_group[cell // len(of_person)]).sum() / total)
    bcubed_recall = float((both ** 2 / of_person[cell % len(of_person)]).sum() / total)
    expected = _pairs(of_group) * _pairs(of_person) / (total * (total - 1) / 2) if total > 1 else 0.0
    largest = (_pairs(of_group) + _pairs(of_person)) / 2
    return GroupReport(precision, recall, _f(precision, recall), bcubed_precision, bcubed_recall,
                       _f(bcubed_precision, bcubed_recall),
                       (hits - expected) / (largest - expected) if largest != expected else 1.0,
                       int((of_group > 1).sum()), len(of_person), float((of_group[group] > 1).mean()))


def _pairs(sizes: np.ndarray) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _f(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
