"""Ranking the test images of a dataset, and showing the figures."""
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor, nn

from mprd_pyg import processes
from mprd_pyg.evaluation import LEAVE_ONE_OUT, MODES, SINGLE_SHOT, evaluate_ranking, evaluate_single_shot
from mprd_pyg.models.embedding import embed_images
from pipelines.command_line.dataset import Dataset, column
from pipelines.runs.run_folder import Results

SHORT = {SINGLE_SHOT: "single", LEAVE_ONE_OUT: "one out"}  # modes in the closing table


def ranker(dataset: Dataset, network: nn.Module, device: Any, progress: bool = True, top: int = 50,
           record: Callable[[Tensor, Results], None] | None = None) -> Callable[[], Results]:
    """A function that ranks the gallery for each query with the current network.

    In each camera mode, and for a card whose protocol is single shot also in that; the modes then rank all images. For
    a card that leaves nothing but the query out, in that mode alone.
    ``record`` is shown the test features (T, d) and the results. Several processes share the embedding; rank 0 ranks,
    and the others have no results.
    """
    test = dataset.test[0]
    store, draws = dataset.store(test), dataset.draws

    def rank() -> Results:
        x = embed_images(network, store, device=device, workers=dataset.options.workers,
                         progress="test features" if progress else "").flatten(1).cpu()
        if not processes.is_first():
            return {}
        results = rank_features(dataset, x, draws, top)
        if record is not None:
            record(x, results)
        return results
    return rank


def rank_features(dataset: Dataset, x: Tensor, draws: np.ndarray | None, top: int = 50) -> Results:
    """Rank by given features.

    Args:
        dataset: what is query and gallery.
        x: (rows of ``dataset.test``, ...) features, each row taken as one vector.
        draws: ``dataset.draws``.
        top: length of the lists that are kept.
    """
    test, query, gallery = dataset.test
    x, person, camera = x.flatten(1).cpu(), column(test, "person_id").numpy(), column(test, "camera_id").numpy()
    if dataset.card.evaluation.leave_one_out:
        own = np.where(np.isin(query, gallery), np.searchsorted(gallery, query), -1)
        return {LEAVE_ONE_OUT: evaluate_ranking(x[query], x[gallery], person[query], person[gallery],
                                                mode=LEAVE_ONE_OUT, top=top, query_rows=own)}
    modes = ("standard", "cross") if dataset.card.evaluation.cross_camera_valid else ("standard",)
    sides = x[query], x[gallery], person[query], person[gallery], camera[query], camera[gallery]
    results: Results = {mode: evaluate_ranking(*sides, mode=mode, top=top) for mode in modes}
    if draws is not None:
        results[SINGLE_SHOT] = evaluate_single_shot(*sides, draws, top=top)
    return results


def flat_metrics(results: Results) -> dict[str, float]:
    """``standard/mAP`` and the like."""
    return {f"{mode}/{name}": value for mode, result in results.items() for name, value in result.summary().items()}


def nested(figures: dict[str, float]) -> dict[str, dict[str, float]]:
    """``standard/mAP`` -> ``{"standard": {"mAP": ...}}``, for the modes and single shot."""
    return {mode: {name.split("/")[1]: value for name, value in figures.items() if name.startswith(mode + "/")}
            for mode in (*MODES, SINGLE_SHOT) if any(name.startswith(mode + "/") for name in figures)}


def table_of(rows: dict[str, dict[str, float]]) -> str:
    """The closing table, in percent: a line per mode and row name, and one of standard deviations where there are.

    Below it: how many queries are left out of the means.
    """
    keys, wide = ("mAP", "rank1", "rank5", "rank10", "mINP"), max(10, *(len(name) + 2 for name in rows))
    lines = [f"{'':10s}{'':{wide}s}{'mAP':>8s}{'rank-1':>8s}{'rank-5':>8s}{'rank-10':>8s}{'mINP':>8s}"]
    for mode in (*MODES, SINGLE_SHOT):
        for name, figures in rows.items():
            for label, what in ((name, ""), ("+-", "_sd")):
                if f"{mode}/mAP{what}" in figures:
                    shown = "".join(f"{100 * figures[f'{mode}/{key}{what}']:8.1f}" for key in keys)
                    lines.append(f"{SHORT.get(mode, mode):10s}{label:{wide}s}{shown}")
    figures = list(rows.values())[-1]
    for mode in (*MODES, SINGLE_SHOT):
        if skipped := figures.get(f"{mode}/num_skipped_queries"):
            count = skipped + figures[f"{mode}/num_valid_queries"]
            lines.append(f"{SHORT.get(mode, mode)}: {skipped:,.0f} of {count:,.0f} queries have no right image in the "
                         "gallery and are left out of the means")
    return "\n".join(lines)
