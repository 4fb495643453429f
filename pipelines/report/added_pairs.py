"""Believed pairs that a relation added to the nearest neighbours."""
import pandas as pd

from pipelines.report.blocks import Picture
from pipelines.report.drawing import epoch_chart
from pipelines.runs.run import Run


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
    """Their share of the believed pairs over the epochs; no picture where all pairs are among the nearest."""
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
