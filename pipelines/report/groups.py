"""The groups of images that a run found: how far they are people, and what is in them."""
import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from pipelines.report.blocks import Picture, Pictures, Section, Strip, Strips, Terms, Tile
from pipelines.report.drawing import data_uri, epoch_chart, photo
from pipelines.report.missing import NotApplicable
from pipelines.runs.run import Run

FIGURES = ("pair_f", "bcubed_f", "adjusted_rand", "groups", "identities", "grouped", "pair_precision", "pair_recall",
           "bcubed_precision", "bcubed_recall")  # the columns of the history that are about groups
SHEETS, TILES, HEIGHT = 3, 24, 64  # groups of each kind, images of each, their height in pixels
LEGEND = [("right", "the person with most images in the group"), ("wrong", "another person"),
          ("junk", "unknown person")]


def groups(run: Run) -> Section:
    """Curves over the epochs, then contact sheets of the last one."""
    phase = next((name.removesuffix("groups") for name in run.history if name.endswith("/groups")), None)
    if phase is None:
        raise NotApplicable("images were not grouped")
    figures = run.history.set_index("epoch").filter(regex=f"^{phase}({'|'.join(FIGURES)})$")
    label = last_groups(run)
    table = describe_groups(label, run.images["person_id"].to_numpy()[:len(label)])
    sheets = _sheets(run, label, table)
    frames = {tile.frame for sheet in sheets for tile in sheet.tiles}
    return Section("groups", "Which images it took for one person", "Identities are used here to check the groups, "
                   "not to find them.", [
                       Pictures(_curves(figures.rename(columns=lambda name: name.removeprefix(phase)))),
                       Terms([("pairwise F", "harmonic mean of the shares of pairs within groups that are of one "
                                             "person, and of pairs of one person that are within a group."),
                              ("B-cubed F", "the same of each image's group and each image's person, averaged over "
                                            "images: large groups weigh less."),
                              ("purity", "share of the person with most images in the group.")]),
                       Strips(sheets, [line for line in LEGEND if line[0] in frames], short=True)])


def last_groups(run: Run) -> np.ndarray:
    """(N,) group of each image, the connected components of the last epoch's believed pairs; -1 for none."""
    pairs = run.judged(run.epochs[-1], ["anchor", "neighbour", "believed"])
    pairs = pairs[pairs["believed"]]
    links = coo_matrix((np.ones(len(pairs)), (pairs["anchor"], pairs["neighbour"])), shape=(run.rows, run.rows))
    label = connected_components(links, directed=False)[1]
    return np.where(np.bincount(label)[label] > 1, label, -1)


def describe_groups(label: np.ndarray, person: np.ndarray) -> pd.DataFrame:
    """A line per group: ``size``, ``person`` with most of its images, and ``purity``, NaN where nobody is known.

    Args:
        label: (N,) group, -1 for none.
        person: (N,) identity, -1 for unknown.
    """
    images = pd.DataFrame({"group": label, "person": person})[label >= 0]
    size = images.groupby("group").size().rename("size")
    known = images[images["person"] >= 0].value_counts().rename("count").reset_index()
    most = known.sort_values(["count", "person"], ascending=[False, True]).drop_duplicates("group").set_index("group")
    purity = most["count"] / known.groupby("group")["count"].sum()
    return pd.DataFrame({"size": size, "person": most["person"], "purity": purity}, index=size.index)


def _curves(figures: pd.DataFrame) -> list[Picture]:
    shown = [("Groups beside people, percent", {"pair_f": "pairwise F", "bcubed_f": "B-cubed F"}, 100),
             ("Number of groups", {"groups": "groups", "identities": "people"}, 1),
             ("Images in a group, percent", {"grouped": "grouped"}, 100)]
    return [epoch_chart(title, {words: scale * figures[name] for name, words in lines.items() if name in figures},
                        bottom=0) for title, lines, scale in shown if set(lines) & set(figures)]


def _sheets(run: Run, label: np.ndarray, table: pd.DataFrame) -> list[Strip]:
    """The largest groups; of the others the purest and the worst, among equals the larger ones."""
    largest = table.sort_values("size", ascending=False, kind="stable").head(SHEETS)
    rest = table.drop(largest.index).dropna(subset="purity")
    purest = rest.sort_values(["purity", "size"], ascending=False, kind="stable").head(SHEETS)
    worst = rest.drop(purest.index).sort_values(["purity", "size"], ascending=[True, False], kind="stable").head(SHEETS)
    return [_sheet(run, kind, np.flatnonzero(label == group.Index), group)
            for kind, chosen in (("Largest", largest), ("Purest", purest), ("Worst", worst))
            for group in chosen.itertuples()]


def _sheet(run: Run, kind: str, rows: np.ndarray, group) -> Strip:
    images = run.images.iloc[rows]
    own = (images["person_id"] == group.person).rename("own")
    shown = images.assign(own=own).sort_values(["own", "person_id"], ascending=[False, True], kind="stable")[:TILES]
    tiles = [Tile(data_uri(photo(run.image(image.path), HEIGHT)),
                  "right" if image.own else "wrong" if image.person_id >= 0 else "junk", f"c{image.camera_id}",
                  image.path) for image in shown.itertuples()]
    cameras = images["camera_id"].nunique()
    note = f"{len(rows)} images in {cameras} camera{'s' * (cameras != 1)}"
    if group.purity == group.purity:
        people = images.loc[images["person_id"] >= 0, "person_id"].nunique()
        note += f", {people} {'person' if people == 1 else 'people'}, purity {100 * group.purity:.0f} %"
    return Strip(kind, tiles, note + (f"; {TILES} are shown" if len(rows) > TILES else ""), small=True)
