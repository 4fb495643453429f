"""Pairs that were believed wrongly, with the subgraphs that they were judged by."""
from typing import Any

import pandas as pd

from mprd_pyg.drawing import draw_pair
from mprd_pyg.graph import PairSubgraphDataset
from pipelines.report.beside_typical import beside_typical
from pipelines.report.blocks import Picture, Pictures, Section, Text
from pipelines.report.drawing import data_uri, figure_image
from pipelines.report.missing import NotApplicable
from pipelines.runs.run import Run

WRONG, LOST, NODES = 3, 2, 30  # pairs of each kind, images around a pair
STATISTICS = ("jaccard", "resource_allocation", "similarity", "rank_best", "rank_worst", "edge_probability",
              "reciprocal_jaccard", "camera_reciprocal_jaccard")


def wrong_pairs(run: Run) -> Section:
    """The most firmly believed wrong pairs, and for comparison right ones that were turned down."""
    if not run.has_subgraphs:
        raise NotApplicable("no pair subgraphs were saved" + ("" if run.finished else " yet"))
    saved = run.subgraphs()
    table = saved.table
    table = table[(table["epoch"] == table["epoch"].max()) & table["truth"].notna()]
    if not len(table):
        raise NotApplicable("the identities of the training images are unknown, so no pair can be called wrong")
    truth, believed = table["truth"].astype(bool), table["believed"].astype(bool)
    wrong = table[believed & ~truth].sort_values("likelihood", ascending=False, kind="stable")
    lost = table[~believed & truth].sort_values("likelihood", kind="stable")
    blocks = [Text(f"In the saved sample of the last epoch {len(wrong)} of {int(believed.sum())} believed pairs are "
                   f"wrong, and {len(lost)} of {int(truth.sum())} right ones were turned down.")]
    for pairs, title in ((wrong[:WRONG], "Wrongly believed"), (lost[:LOST], "Wrongly turned down")):
        blocks.append(Pictures([_picture(run, saved, row, title) for row in pairs.itertuples()]))
    names = [name for name in STATISTICS if name in saved.statistic_names]
    if names:
        shown, values = pd.concat([wrong[:WRONG], lost[:LOST]]), saved.statistics[names]
        blocks.append(beside_typical(
            ["pair", "likelihood"], [[f"{row.anchor}, {row.neighbour}", f"{row.likelihood:.2f}"]
                                     for row in shown.itertuples()], values.loc[shown.index], values.loc[table.index],
            truth, ("median right pair", "median wrong pair"), "The same pairs in numbers."))
    return Section("wrong", "Where the relation was wrong", "The two large images are the pair; between them are the "
                   "neighbours that they share, at the sides those of one only. Many shared neighbours make a pair "
                   "look right: see whether they are of the same clothes, place or camera rather than the same person.",
                   blocks)


def _picture(run: Run, saved: PairSubgraphDataset, row: Any, title: str) -> Picture:
    data = saved[int(row.Index)]
    figure = draw_pair(data, most=NODES)
    cameras = run.images["camera_id"].to_numpy()[data.n_id[data.root_index[0]].numpy()]
    words = f"{title}: likelihood {row.likelihood:.2f}, cameras {cameras[0]} and {cameras[1]}"
    return Picture("", words, source=data_uri(figure_image(figure), 88), wide=True)
