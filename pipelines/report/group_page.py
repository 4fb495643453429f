"""The groups as one page: a contact sheet of each, the largest first, with uncertain members marked."""
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from mprd_pyg.files import replacing
from mprd_pyg.grouping import GroupFolder, GroupUpdate
from mprd_pyg.grouping.image_groups import SURE
from pipelines.report.blocks import Tile
from pipelines.report.drawing import data_uri, photo
from pipelines.report.missing import Missing

TILES, TWINS, TWIN_TILES, ALONE, HEIGHT = 24, 24, 4, 120, 88
PHOTOS = 3000  # on the page, at 2 to 3 kB each


def write_group_page(groups: GroupFolder, update: GroupUpdate | None = None) -> Path:
    """Write ``groups.html`` into a groups folder.

    Of a large group the surest images are shown and all uncertain ones that fit; where there are thousands of groups,
    each has fewer pictures, and the smallest are listed without any. Every group is on the page.

    Args:
        groups: the folder.
        update: what the last call did; its changes are listed.

    Returns:
        the page's path.
    """
    images, found, figures = groups.images, groups.groups, groups.metrics()
    size = images[images["group"] >= 0].groupby("group").size().sort_values(ascending=False, kind="stable")
    tiles = min(TILES, max(2, PHOTOS // max(len(size), 1)))
    drawn, listed = size.index[:PHOTOS // tiles], size.index[PHOTOS // tiles:]
    members = images.sort_values("confidence", ascending=False, kind="stable").groupby("group", sort=False).indices
    order = images.sort_values("confidence", ascending=False, kind="stable").index.to_numpy()
    rows = {number: order[members[number]] for number in size.index}
    uncertain = images["uncertain"].to_numpy()
    shown = {number: choose(rows[number], uncertain, tiles) for number in drawn}
    twins = list(zip(found.duplicates[:TWINS].tolist(), found.duplicate_similarity[:TWINS].tolist(), strict=True))
    no_group = {verdict: images.index[images["verdict"] == verdict].to_numpy() for verdict in ("new", "single")}
    used = np.concatenate([*shown.values(), *(rows[number][:TWIN_TILES] for pair, _ in twins for number in pair),
                           *(part[:ALONE] for part in no_group.values()), np.zeros(0, np.int64)]).astype(np.int64)
    tile = draw_tiles(images, np.unique(used))
    near = {}
    for one, other in found.duplicates.tolist():
        near.setdefault(one, []).append(other)
        near.setdefault(other, []).append(one)

    def sheet(part: np.ndarray) -> list[Tile]:
        return [tile[row] for row in part.tolist()]
    environment = Environment(loader=PackageLoader("pipelines.report", "."), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.get_template("group_page.html").render(
        figures=figures, roots=groups.about["roots"], made=time.strftime("%Y-%m-%d %H:%M"), cards=cards(figures),
        changes=[str(change) for change in update.changes] if update else [],
        twins=[{"one": pair[0], "other": pair[1], "similarity": similarity,
                "tiles": [sheet(rows[number][:TWIN_TILES]) for number in pair]} for pair, similarity in twins],
        more_twins=len(found.duplicates) - len(twins),
        groups=[{"number": number, "note": note(images.loc[rows[number]], len(shown[number])),
                 "near": near.get(number, [])[:3], "tiles": sheet(shown[number])} for number in drawn],
        listed=[{"number": number, "size": size[number], "path": images["path"][rows[number][0]]}
                for number in listed],
        alone=[{"title": title, "note": f"{len(no_group[verdict])} images" + (
            f"; {ALONE} are shown" if len(no_group[verdict]) > ALONE else ""),
                "tiles": sheet(no_group[verdict][:ALONE])}
            for verdict, title in (("new", "New: like no group"), ("single", "Single: near a group"))
            if len(no_group[verdict])],
        words=words(groups.about))
    path = groups.folder / "groups.html"
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def choose(rows: np.ndarray, uncertain: np.ndarray, count: int) -> np.ndarray:
    """Some rows of a group, in their order: all if they fit, else the uncertain ones, up to half, and the first."""
    doubtful = rows[uncertain[rows]][:max(count // 2, count - len(rows) + int(uncertain[rows].sum()))]
    sure = rows[~uncertain[rows]][:count - len(doubtful)]
    return np.concatenate([sure, doubtful])


def draw_tiles(images: pd.DataFrame, rows: np.ndarray) -> dict[int, Tile]:
    """A tile of each of the rows; without a picture where the file is gone."""
    def draw(row: int) -> Tile:
        image = images.loc[row]
        try:
            source = data_uri(photo(Path(image["root"]) / image["path"], HEIGHT), 78)
        except Missing:
            source = ""
        other = image["verdict"] == "single" or (
            image["verdict"] == "member" and image["confidence"] < SURE and image["nearest_group"] >= 0)
        label = f"→ {image['nearest_group']}" if other else f"{image['confidence']:.2f}"
        return Tile(source, "uncertain" if image["uncertain"] else "", label, f"{image['path']}, {image['verdict']}, "
                    f"confidence {image['confidence']:.2f}, nearest other group {image['nearest_group']} "
                    f"(cosine {image['nearest_similarity']:.2f})")
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(rows.tolist(), pool.map(draw, rows.tolist()), strict=True))


def note(members: pd.DataFrame, shown: int) -> str:
    """What is to be said of a group in a line."""
    doubtful, known = int(members["uncertain"].sum()), members["person_id"][members["person_id"] >= 0]
    text = f"{len(members)} images" + (f", {shown} are shown" if shown < len(members) else "")
    text += f", {doubtful} uncertain" if doubtful else ""
    if len(known):
        most = known.value_counts()
        plural = "s" * (len(most) > 1)
        text += f"; {len(most)} known individual{plural}, {100 * most.iloc[0] / len(known):.0f} % the same"
    return text


def cards(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The headline: name, value and a note."""
    found = [("images", f"{figures['images']:,}",
              f"{figures['member']:,} in groups, {figures['uncertain']:,} uncertain"),
             ("groups", f"{figures['groups']:,}", f"{figures['near_duplicates']:,} near-duplicate pairs"),
             ("individuals, estimated", f"{figures['estimated_individuals']:,}",
              f"{figures['identities']:,} are known" if "identities" in figures else "groups and new images"),
             ("of no group", f"{figures['new'] + figures['single']:,}",
              f"{figures['new']:,} new, {figures['single']:,} single")]
    if "pair_f" in figures:
        found.append(("pairwise F", f"{100 * figures['pair_f']:.1f} %",
                      f"B-cubed F {100 * figures['bcubed_f']:.1f} %, adjusted Rand {figures['adjusted_rand']:.2f}"))
    return found


def words(about: dict[str, Any]) -> list[tuple[str, str]]:
    """What the words on the page mean, with the threshold of this folder."""
    source = {"given": "given", "identities": "calibrated on the known identities",
              "groups": "calibrated on the groups"}[about["threshold_from"]]
    return [("confidence", "below each image: how much nearer it is to the mean of its own group's other members than "
             "to any other group, 0.5 for an image between two."),
            ("uncertain", f"a confidence below 0.9 (the arrow names the other group), or a cosine with its own group's "
             f"mean below {about['threshold']:.2f}."),
            ("new", f"of no group, and its cosine with the nearest group's mean is below {about['threshold']:.2f} "
             f"({source}): an individual that no group shows."),
            ("single", "of no group, but nearer to one than that."),
            ("near-duplicate", "two groups whose means are at most 0.15 less similar than that: look whether they are "
             "one individual."),
            ("individuals, estimated", "the groups and the new images."),
            ("pairwise F", "where identities are known: the harmonic mean of the shares of pairs within groups that "
             "are of one individual, and of pairs of one individual that are within a group."),
            ("how groups were found", f"relation {about['relation']}, {about['finder']}, cameras "
             f"{'read' if about['cameras'] else 'not read'}.")]
