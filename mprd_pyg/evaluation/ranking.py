"""A query's scores need only the ranks of its matches, so only similarity values are ever sorted."""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mprd_pyg.evaluation.pairs import checked_labels, group_size

__all__ = ["LEAVE_ONE_OUT", "MODES", "SINGLE_SHOT", "RankingResult", "evaluate_ranking"]

#: which gallery images count: all but the query itself; needs no cameras
LEAVE_ONE_OUT = "leave_one_out"
#: all but those of the query's identity and camera, those of other cameras only, or all but the query itself
MODES = ("standard", "cross", LEAVE_ONE_OUT)
#: name of the protocol with one gallery image per identity, beside the modes
SINGLE_SHOT = "single_shot"


@dataclass(frozen=True, eq=False)
class RankingResult:
    """Scores of a ranking. Averages are over the valid queries, those with a match; the others are skipped.

    Attributes:
        mAP: mean of ``average_precision`` (rectangle rule).
        mAP_trapz: mean of ``average_precision_trapz`` (trapezoid rule of the Market-1501 benchmark).
        mINP: mean of matches / rank of the last match.
        cmc: (min(max_rank, G),), ``cmc[r - 1]`` the fraction of queries whose first match has rank <= r.
        average_precision, average_precision_trapz: (Q,), NaN where skipped.
        num_matches, rank_of_first_match, rank_of_last_match: (Q,), 0 where skipped; ranks start at 1 and
            leave ignored images out.
        top_indices: (Q, top) gallery rows, best first, without ignored ones; -1 where the gallery is used up.
        top_similarities: (Q, top) their similarities; NaN where the gallery is used up.
    """

    mAP: float  # noqa: N815
    mAP_trapz: float  # noqa: N815
    mINP: float  # noqa: N815
    cmc: np.ndarray
    num_valid_queries: int
    num_skipped_queries: int
    average_precision: np.ndarray
    average_precision_trapz: np.ndarray
    num_matches: np.ndarray
    rank_of_first_match: np.ndarray
    rank_of_last_match: np.ndarray
    top_indices: np.ndarray
    top_similarities: np.ndarray

    def summary(self) -> dict[str, float | int]:
        """Return mAP, mAP_trapz, mINP, rank1, rank5 and rank10, all in [0, 1], and the two query counts."""
        first = self.rank_of_first_match[self.num_matches > 0]
        scores = {name: getattr(self, name) for name in ("mAP", "mAP_trapz", "mINP")}
        scores |= {f"rank{r}": float(np.mean(first <= r)) for r in (1, 5, 10)}
        return scores | {k: getattr(self, k) for k in ("num_valid_queries", "num_skipped_queries")}


def evaluate_ranking(
    query_features: Tensor | np.ndarray,
    gallery_features: Tensor | np.ndarray,
    query_ids: Tensor | np.ndarray,
    gallery_ids: Tensor | np.ndarray,
    query_cameras: Tensor | np.ndarray | None = None,
    gallery_cameras: Tensor | np.ndarray | None = None,
    mode: str = "standard",
    block: int = 256,
    top: int = 10,
    max_rank: int = 50,
    normalize: bool = True,
    query_rows: Tensor | np.ndarray | None = None,
) -> RankingResult:
    r"""Rank the gallery for each query by cosine similarity and score the ranking.

    A *match* is a gallery image of the query's identity and another camera. *Ignored*, as if absent, are junk
    (id < 0) and, in mode "standard" (the Market-1501 rule), images of the query's identity *and* camera; in
    mode "cross", all images of the query's camera. So a query that is itself in the gallery is ignored there.
    Mode "leave_one_out" ignores nothing but the query itself, as if each image had a camera of its own.
    Everything else is wrong, distractors too. Equal similarities keep the gallery's order. With
    :math:`r_1 < \dots < r_n` the ranks of a query's matches among the images that are not ignored,

    .. math::
        AP = \frac1n \sum_k \frac{k}{r_k}, \qquad
        AP_{trapz} = \frac1n \sum_k \frac12 \Big(\frac{k-1}{r_k-1} + \frac{k}{r_k}\Big), \qquad
        INP = \frac{n}{r_n},

    the first fraction of :math:`AP_{trapz}` being 1 at :math:`r_k = 1`. AP is the rule of torchreid and
    fast-reid; :math:`AP_{trapz}` that of the code released with Zheng et al., "Scalable Person
    Re-identification: A Benchmark", ICCV 2015; INP is from Ye et al., "Deep Learning for Person
    Re-identification: A Survey and Outlook", TPAMI 2022.

    Beyond the features it takes about ``20 * block * G`` bytes in float32: (Q, G) similarities never exist.

    Args:
        query_features: (Q, d), finite. Computed in the gallery's floating type, in float32 at least.
        gallery_features: (G, d), finite; the products run on its device.
        query_ids, gallery_ids: (Q,) and (G,) integers; a query with an id < 0 is skipped.
        query_cameras, gallery_cameras: (Q,) and (G,) integers; not read in mode "leave_one_out".
        mode: "standard", "cross" or "leave_one_out".
        block: queries per step; bounds the memory.
        top: length of the ranking list kept per query.
        max_rank: length of the CMC curve (shorter when the gallery is).
        normalize: L2-normalise rows (a zero row has similarity 0); False ranks by the plain inner product.
        query_rows: mode "leave_one_out" only: (Q,) the gallery row that each query is, -1 where it is none; None
            for queries that are the gallery, row by row.

    Raises:
        ValueError: a NaN or infinite feature (its row is named), empty or ill-shaped input, lengths that
            differ, an unknown mode, or no query with a match.
    """
    if mode not in MODES:
        raise ValueError(f"mode is {mode!r}; expected one of {', '.join(MODES)}")
    if block < 1 or max_rank < 1 or top < 0:
        raise ValueError(f"block={block}, max_rank={max_rank}, top={top}; expected at least 1, 1 and 0")
    query, query_norm = _checked_features(query_features, "query")
    gallery, gallery_norm = _checked_features(gallery_features, "gallery")
    num_queries, num_gallery = len(query), len(gallery)
    if query.shape[1] != gallery.shape[1]:
        wide = f"query features have {query.shape[1]} columns, gallery features {gallery.shape[1]}"
        raise ValueError(f"{wide}; extract both with the same network")
    query_ids = checked_labels(query_ids, num_queries, "query_ids")
    gallery_ids = checked_labels(gallery_ids, num_gallery, "gallery_ids")
    if mode == LEAVE_ONE_OUT:
        query_cameras, gallery_cameras = _own_rows(query_rows, num_queries, num_gallery), np.arange(num_gallery)
    else:
        query_cameras = checked_labels(query_cameras, num_queries, "query_cameras")
        gallery_cameras = checked_labels(gallery_cameras, num_gallery, "gallery_cameras")
    persons, cameras = np.append(query_ids, gallery_ids), np.append(query_cameras, gallery_cameras)
    counted = np.append(np.zeros(num_queries, bool), gallery_ids >= 0)
    matches = group_size(persons, counted=counted) - group_size(persons, cameras, counted=counted)
    num_matches = matches[:num_queries]
    valid = num_matches > 0
    if not valid.any():
        why = "has two images; check that both sides number persons alike" if mode == LEAVE_ONE_OUT else \
            "is seen in two cameras; check that both sides number persons and cameras alike"
        raise ValueError(f"none of the {num_queries} queries has a match among the {num_gallery} gallery images: no "
                         f"identity {why}")

    junk = np.flatnonzero(gallery_ids < 0)
    scores = np.full((2, num_queries), np.nan)
    ends = np.zeros((2, num_queries), np.int64)
    # Results have their place from the start: kept small arrays between freed blocks would fragment the heap.
    top_indices = np.empty((num_queries, top), np.int64)
    top_similarities = np.empty(top_indices.shape, "f8" if gallery.dtype == torch.float64 else "f4")
    for start in range(0, num_queries, block):
        part = slice(start, min(start + block, num_queries))
        unit = query[part] / query_norm[part, None] if normalize else query[part]
        product = unit.to(gallery) @ gallery.T
        if normalize:
            product /= gallery_norm  # the products, not the features: spares a copy of the gallery
        similarity = product.cpu().numpy()  # (B, G)
        same_person = query_ids[part, None] == gallery_ids
        same_camera = query_cameras[part, None] == gallery_cameras
        match = same_person & ~same_camera
        match[:, junk] = False
        ignored = same_camera if mode == "cross" else same_person & same_camera
        ignored[:, junk] = True
        np.copyto(similarity, -np.inf, where=ignored)
        ordered = np.sort(similarity, axis=1)
        row, rank = _match_ranks(similarity, ordered, match)
        scores[:, part], ends[:, part] = _score(row, rank, num_matches[part])
        top_indices[part], top_similarities[part] = _top(similarity, ordered, top)

    num_valid = int(valid.sum())
    first = np.bincount(ends[0, valid], minlength=max_rank + 1)[1 : min(max_rank, num_gallery) + 1]
    return RankingResult(
        mAP=float(scores[0, valid].mean()),
        mAP_trapz=float(scores[1, valid].mean()),
        mINP=float((num_matches[valid] / ends[1, valid]).mean()),
        cmc=first.cumsum() / num_valid,
        num_valid_queries=num_valid,
        num_skipped_queries=num_queries - num_valid,
        average_precision=scores[0],
        average_precision_trapz=scores[1],
        num_matches=num_matches,
        rank_of_first_match=ends[0],
        rank_of_last_match=ends[1],
        top_indices=top_indices,
        top_similarities=top_similarities,
    )


def _own_rows(query_rows: Tensor | np.ndarray | None, num_queries: int, num_gallery: int) -> np.ndarray:
    """Return the checked (Q,) gallery rows of the queries, -1 for none."""
    if query_rows is None:
        if num_queries != num_gallery:
            raise ValueError(f"{num_queries} queries cannot be the {num_gallery} gallery images: give query_rows")
        return np.arange(num_gallery)
    rows = checked_labels(query_rows, num_queries, "query_rows")
    if rows.min() < -1 or rows.max() >= num_gallery:
        raise ValueError(f"query_rows lie between {rows.min()} and {rows.max()}; expected gallery rows, "
                         f"0 to {num_gallery - 1}, or -1")
    return rows


def _match_ranks(similarity: np.ndarray, ordered: np.ndarray, match: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return row and rank of every match, flat, by row and rank; ``ordered`` is the sorted similarity."""
    num_rows, num_gallery = similarity.shape
    row, column = np.divmod(np.flatnonzero(match), num_gallery)
    value = similarity[row, column]
    # How many entries of its row are <= value: one binary search for all matches, bit by bit.
    count = np.zeros(len(row), np.int64)
    for bit in reversed(range(num_gallery.bit_length())):
        trial = count + (1 << bit)
        below = ordered[row, np.minimum(trial, num_gallery) - 1] <= value
        count = np.where((trial <= num_gallery) & below, trial, count)
    rank = num_gallery - count + 1
    # Ties are rare in real features: only for them is the row read again, for equal images earlier in it.
    tied = np.flatnonzero((count > 1) & (ordered[row, np.maximum(count - 2, 0)] == value))
    for start in range(0, len(tied), num_rows):
        pair = tied[start : start + num_rows]
        equal = similarity[row[pair]] == value[pair, None]
        equal &= np.arange(num_gallery) < column[pair, None]
        rank[pair] += np.count_nonzero(equal, axis=1)
    return np.divmod(np.sort(row * (num_gallery + 1) + rank), num_gallery + 1)


def _score(row: np.ndarray, rank: np.ndarray, num_matches: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (2, B) average precisions (rectangle, trapezoid) and (2, B) ranks of first and last match."""
    valid = num_matches > 0
    start = np.cumsum(num_matches) - num_matches
    hit = np.arange(len(row)) - start[row] + 1
    precision = hit / rank
    before = np.where(rank > 1, (hit - 1) / np.maximum(rank - 1, 1), 1.0)
    scores = np.full((2, len(num_matches)), np.nan)
    for score, height in zip(scores, (precision, (before + precision) / 2), strict=True):
        score[valid] = np.bincount(row, height, len(num_matches))[valid] / num_matches[valid]
    ends = np.zeros((2, len(num_matches)), np.int64)
    ends[0, valid] = rank[start[valid]]
    ends[1, valid] = rank[(start + num_matches - 1)[valid]]
    return scores, ends


def _top(similarity: np.ndarray, ordered: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (B, top) columns and values of the largest finite entries, equal ones in the gallery's order."""
    num_rows, num_gallery = similarity.shape
    columns = np.full((num_rows, top), -1, np.int64)
    values = np.full((num_rows, top), np.nan, similarity.dtype)
    k = min(top, num_gallery)
    if k == 0:
        return columns, values
    threshold = ordered[:, num_gallery - k, None]
    chosen = (similarity >= threshold) & (similarity > -np.inf)
    if k < num_gallery:
        # Where a tie straddles the last place, the earliest of the equal images take what room is left.
        crowded = np.flatnonzero(ordered[:, num_gallery - k - 1] == threshold[:, 0])
        equal = similarity[crowded] == threshold[crowded]
        room = k - np.count_nonzero(similarity[crowded] > threshold[crowded], axis=1)
        chosen[crowded] &= ~equal | (equal.cumsum(axis=1, dtype=np.int32) <= room[:, None])
    row, column = np.divmod(np.flatnonzero(chosen), num_gallery)
    value = similarity[row, column]
    order = np.lexsort((-value, row))
    count = np.bincount(row, minlength=num_rows)
    place = np.arange(len(row)) - (np.cumsum(count) - count)[row]
    columns[row, place], values[row, place] = column[order], value[order]
    return columns, values


def _checked_features(features: Tensor | np.ndarray, name: str) -> tuple[Tensor, Tensor]:
    """Return the features as float32 or float64, and their row norms, at least 1e-12."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        features = torch.as_tensor(features).detach()
    if features.ndim != 2 or features.numel() == 0:
        shape = f"{name} features have shape {tuple(features.shape)}; expected (images, d), neither empty"
        raise ValueError(f"{shape}; check that the split has images, and give one row per image")
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    norm = torch.linalg.vector_norm(features, dim=1)
    if not norm.isfinite().all():
        where = f"row {int((~norm.isfinite()).nonzero()[0])} of the {name} features"
        raise ValueError(f"{where} is NaN, infinite or too large: check that image and the network's weights")
    return features, norm.clamp_min(1e-12)
