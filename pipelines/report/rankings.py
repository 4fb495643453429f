"""Ranking lists of the best, median and worst queries."""
import pandas as pd

from mprd_pyg.evaluation import LEAVE_ONE_OUT
from pipelines.report.blocks import Section, Strip, Strips, Tile
from pipelines.report.drawing import data_uri, photo
from pipelines.report.missing import Missing, latest_evaluation, which_network
from pipelines.runs.run import Run

LEGEND = [("query", "the query"), ("right", "the same person in another camera"), ("wrong", "another person"),
          ("junk", "junk: the same person in the same camera, not counted")]
ONE_OUT = [*LEGEND[:1], ("right", "the same person"), LEGEND[2], ("junk", "junk: of unknown identity, not counted")]


def rankings(run: Run) -> Section:
    """Three queries of each kind, each with the head of its list."""
    table = run.evaluated("examples", latest_evaluation(run))
    mode = run.evaluated("queries", latest_evaluation(run))["mode"].iloc[0]
    before = {}
    if run.evaluations == ["before", "after"]:
        scores = run.evaluated("queries", "before")
        scores = scores[scores["mode"] == mode]
        before = dict(zip(scores["query"], scores["average_precision"], strict=True))
    strips = []
    for (group, query), lines in table.groupby(["group", "query"], sort=False):
        tiles = [_tile(run, query, "query", "query", query)]
        for line in lines.itertuples():
            label = "junk" if line.role == "junk" else f"{line.rank}"
            tiles.append(_tile(run, line.gallery, "wrong" if line.role == "distractor" else line.role, label,
                               f"{line.gallery}: similarity {line.similarity:.2f}"))
        strips.append(Strip(f"{group.capitalize()}: average precision {100 * lines['average_precision'].iloc[0]:.0f} %",
                            tiles, _note(lines, before.get(query))))
    if not strips:
        raise Missing("no query has a match")
    return Section("rankings", "What it finds", "Queries with the best, median and worst average precision, and the "
                   "gallery images most similar to them, best first. In a good list the right ones stand in front; in "
                   f"the worst, see what misled it: clothes, background, pose.{which_network(run)}",
                   [Strips(strips, ONE_OUT if mode == LEAVE_ONE_OUT else LEGEND)])


def _tile(run: Run, path: str, frame: str, label: str, title: str) -> Tile:
    return Tile(data_uri(photo(run.image(path))), frame, label, title)


def _note(lines: pd.DataFrame, before: float | None) -> str:
    matches, shown = int(lines["matches"].iloc[0]), int((lines["role"] == "right").sum())
    first = lines.loc[lines["role"] == "right", "rank"]
    note = f"{matches} right images in the gallery, {shown} of them shown"
    note += f", the first at rank {int(first.iloc[0]):,}" if len(first) else ""
    return note + ("" if before is None or before != before else f"; before training {100 * before:.0f} %")
