"""Precision and recall of the believed pairs over the epochs, by camera pair."""
import numpy as np
import pandas as pd

from mprd_pyg.evaluation import CameraPairs, pairs_by_camera
from pipelines.report.blocks import Picture, Pictures, Section, Terms
from pipelines.report.drawing import epoch_chart, heatmap, panel, svg
from pipelines.report.missing import Missing, NotApplicable
from pipelines.runs.run import Run

EPOCHS, CAMERA_PAIRS = 40, 45  # shown at most


def pair_quality(run: Run) -> Section:
    """Curves over all pairs, and a map with a line per camera pair and a column per epoch."""
    if run.pipeline == "pretrain":
        raise NotApplicable("the network is trained with labels, so no pairs are believed")
    shown = np.linspace(0, len(run.epochs) - 1, min(EPOCHS, len(run.epochs))).round().astype(int)
    epochs = [run.epochs[place] for place in np.unique(shown)]
    images = run.images.iloc[:run.rows]
    person, camera = (images[name].to_numpy() for name in ("person_id", "camera_id"))
    if (person < 0).all():
        raise NotApplicable("the identities of the training images are unknown, so pairs cannot be checked")
    counts = []
    for epoch in epochs:
        frame = run.judged(epoch, ["anchor", "neighbour", "believed"])
        frame = frame[frame["believed"]]
        counts.append(pairs_by_camera(frame[["neighbour", "anchor"]].to_numpy().T, person, camera).unordered())
    if not any(count.believed.any() for count in counts):
        raise Missing("no pair was believed in any epoch")
    pictures = [_curves(epochs, counts, figure) for figure in ("precision", "recall")]
    pictures += added_curve(run, epochs)
    blocks = [Pictures(pictures), Terms([
        ("believed pair", "image j is taken for the person of image i, and pulls on its feature."),
        ("precision", "share of the believed pairs that do show one person."),
        ("recall", "share of all pairs of one person that are believed. It is low by design where each image has only "
                   "a few neighbours."),
    ])]
    if len(counts[0].cameras) > 1:
        blocks.insert(1, Pictures([_map(epochs, counts, figure) for figure in ("precision", "recall")]))
    across = " Pairs across cameras are the ones worth having: pairs within a camera mostly teach the camera."
    return Section("pairs", "Which pairs it believed", "Identities are used here to check the pairs, not to find them."
                   + across * (len(counts[0].cameras) > 1), blocks)


def _curves(epochs: list[int], counts: list[CameraPairs], figure: str) -> Picture:
    same = np.eye(len(counts[0].cameras), dtype=bool)
    groups = {"all": np.ones_like(same), "within a camera": same, "across cameras": ~same}
    series = {name: pd.Series([100 * _ratio(count, figure, cells) for count in counts], epochs)
              for name, cells in groups.items() if name == "all" or len(same) > 1}
    return epoch_chart(f"{figure.capitalize()} of believed pairs, percent", series, bottom=0)


def _map(epochs: list[int], counts: list[CameraPairs], figure: str) -> Picture:
    cameras, size = counts[0].cameras, len(counts[0].cameras)
    cells = [(a, b) for a in range(size) for b in range(a, size)]
    cells = sorted(sorted(cells, key=lambda cell: -counts[-1].true[cell])[:CAMERA_PAIRS],
                   key=lambda cell: (cell[0] != cell[1], cell))  # within a camera first
    values = np.array([[_ratio(count, figure, cell) for count in counts] for cell in cells])
    title = f"{figure.capitalize()} by camera pair, percent"
    left = "" if len(cells) == size * (size + 1) // 2 else f" The {CAMERA_PAIRS} pairs with most images are shown."
    with panel(3.6, 0.7 + 0.23 * len(cells)) as axes:
        heatmap(axes, values, [f"{cameras[a]} – {cameras[b]}" for a, b in cells], [str(epoch) for epoch in epochs],
                numbers=len(epochs) <= 12)
        axes.set_xlabel("epoch")
        axes.set_ylabel("cameras")
        return Picture(svg(axes, title), title, "A line per camera pair, brighter is better; the first lines are pairs "
                       "within one camera." + left)


def added_pairs(pairs: pd.DataFrame, k: int) -> int:
    """How many believed pairs are not among the k most similar ones of their anchor, at least.

    The rank is that among the anchor's judged pairs: another image that was not judged can only push it further back.

    Args:
        pairs: ``anchor, neighbour, similarity, believed`` of one branch and epoch.
        k: neighbours.
    """
    pairs = pairs.drop_duplicates(["anchor", "neighbour"])
    rank = pairs.groupby("anchor")["similarity"].rank(method="min", ascending=False)
    return int((pairs["believed"].astype(bool) & (rank > k)).sum())


def added_curve(run: Run, epochs: list[int]) -> list[Picture]:
    """Share of the believed pairs that were added to the nearest neighbours; no picture where none was."""
    k = run.options.get("knn", {}).get("k")
    share = {}
    for epoch in epochs if k else ():
        pairs = run.judged(epoch)
        branches = [part for _, part in pairs.groupby("branch")] if "branch" in pairs else [pairs]
        share[epoch] = 100 * sum(added_pairs(part, k) for part in branches) / max(int(pairs["believed"].sum()), 1)
    if not any(share.values()):
        return []
    return [epoch_chart("Believed pairs that were added, percent", {"added": pd.Series(share)},
                        f"Not among the {k} nearest of their image, as far as the judged pairs tell: at least so many.",
                        bottom=0)]


def _ratio(counts: CameraPairs, figure: str, cells) -> float:
    whole = (counts.believed if figure == "precision" else counts.true)[cells].sum()
    return counts.right[cells].sum() / whole if whole else float("nan")
