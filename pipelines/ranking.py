"""Ranking the test images of a dataset, and showing the figures."""
from collections.abc import Callable
from typing import Any

from torch import nn

from mprd_pyg.evaluation import RankingResult, evaluate_ranking
from mprd_pyg.evaluation.features import embed_images
from pipelines.dataset import Dataset, column

MODES = ("standard", "cross")


def ranker(dataset: Dataset, network: nn.Module, device: Any, progress: bool = True,
           top: int = 50) -> Callable[[], dict[str, RankingResult]]:
    """A function that ranks the gallery for each query with the current network, in each camera mode."""
    test, query, gallery = dataset.test
    store = dataset.store(test)
    person, camera = column(test, "person_id").numpy(), column(test, "camera_id").numpy()
    modes = MODES if dataset.card.evaluation.cross_camera_valid else MODES[:1]

    def rank() -> dict[str, RankingResult]:
        x = embed_images(network, store, device=device, workers=dataset.options.workers,
                         progress="test features" if progress else "").flatten(1).cpu()
        return {mode: evaluate_ranking(x[query], x[gallery], person[query], person[gallery], camera[query],
                                       camera[gallery], mode=mode, top=top) for mode in modes}
    return rank


def flat_metrics(results: dict[str, RankingResult]) -> dict[str, float]:
    """``standard/mAP`` and the like."""
    return {f"{mode}/{name}": value for mode, result in results.items() for name, value in result.summary().items()}


def nested(figures: dict[str, float]) -> dict[str, dict[str, float]]:
    """``standard/mAP`` -> ``{"standard": {"mAP": ...}}``, for the two camera modes."""
    return {mode: {name.split("/")[1]: value for name, value in figures.items() if name.startswith(mode + "/")}
            for mode in MODES if any(name.startswith(mode + "/") for name in figures)}


def table_of(rows: dict[str, dict[str, float]]) -> str:
    """The closing table, in percent: a line per camera mode and row name."""
    wide = max(10, *(len(name) + 2 for name in rows))
    lines = [f"{'':10s}{'':{wide}s}{'mAP':>8s}{'rank-1':>8s}{'rank-5':>8s}{'rank-10':>8s}{'mINP':>8s}"]
    for mode in MODES:
        for name, figures in rows.items():
            if f"{mode}/mAP" in figures:
                values = [100 * figures[f"{mode}/{key}"] for key in ("mAP", "rank1", "rank5", "rank10", "mINP")]
                lines.append(f"{mode:10s}{name:{wide}s}" + "".join(f"{value:8.1f}" for value in values))
    return "\n".join(lines)
