"""A simple drawing of pair subgraphs that were saved as one batch."""
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from torch_geometric.data import Data

from pipelines.reporting.blocks import Picture, Pictures, Section, Text
from pipelines.reporting.drawing import INK, LINE, SERIES, panel, photo, svg
from pipelines.reporting.run import NotApplicable, Run

SHOWN = 3


def wrong_pairs_of_batch(run: Run) -> Section:
    """As :func:`pipelines.reporting.subgraphs.wrong_pairs`, from one saved batch."""
    from mprd_pyg.graph.storage import load_pair_batch

    batch = load_pair_batch(run.folder / "subgraphs" / "last_epoch.pt")
    believed, likelihood = batch.believed.numpy(), batch.likelihood.numpy()
    person = run.images["person_id"].to_numpy()
    pair = batch.n_id[batch.root_index].numpy()                                            # (P, 2)
    known = (person[pair] >= 0).all(1)
    if not known.any():
        raise NotApplicable("the identities of the training images are unknown, so no pair can be called wrong")
    same = person[pair[:, 0]] == person[pair[:, 1]]
    wrong, lost = np.flatnonzero(known & believed & ~same), np.flatnonzero(known & ~believed & same)
    wrong, lost = (rows[np.argsort(sign * likelihood[rows], kind="stable")][:SHOWN]
                   for rows, sign in ((wrong, -1), (lost, 1)))
    blocks = []
    for rows, title, none in ((wrong, "believed", "No wrong pair was believed in the sample."),
                              (lost, "turned down", "No right pair was turned down in the sample.")):
        if not len(rows):
            blocks.append(Text(none))
            continue
        what = "Wrongly believed" if title == "believed" else "Wrongly turned down"
        blocks.append(Pictures([_picture(run, batch[int(row)], person, f"{what}: likelihood {likelihood[row]:.2f}")
                                for row in rows]))
    counts = f"{(known & believed & ~same).sum()} of {(known & believed).sum()} believed"
    return Section("wrong", "Where the relation was wrong", "The two big images are the pair; the others are their "
                   "neighbours: in the middle those they share, at the sides those of one only. A green frame is the "
                   "person of the left image, a red one somebody else. Many shared neighbours make a pair look right: "
                   f"see whether they are of the same clothes, place or camera. In the saved sample {counts} pairs are "
                   "wrong.", blocks)


def _picture(run: Run, graph: Data, person: np.ndarray, title: str) -> Picture:
    cameras = run.images["camera_id"].to_numpy()[graph.n_id[graph.root_index[0]].numpy()]
    with panel(4.4, 4.0) as axes:
        draw_graph(axes, run, graph, person)
        return Picture(svg(axes, title), title, f"cameras {cameras[0]} and {cameras[1]}")


def draw_graph(axes: Axes, run: Run, graph: Data, person: np.ndarray) -> None:
    """Draw one pair subgraph with the images as nodes."""
    nodes, root = graph.n_id.numpy(), graph.root_index[0].numpy()
    edges = graph.edge_index.numpy()
    near = [set(edges[0, edges[1] == r]) - set(root) for r in root]
    both = near[0] & near[1]
    place = {root[0]: (0.26, 0.5), root[1]: (0.74, 0.5)}
    for members, x in ((near[0] - both, 0.05), (both, 0.5), (near[1] - both, 0.95)):
        for turn, node in enumerate(sorted(members)):
            side = 0.035 * (-1) ** turn if len(members) > 6 else 0
            place[node] = (x + side, (turn + 0.5) / len(members))
    lines = [(place[a], place[b]) for a, b in edges.T if a < b and a in place and b in place]
    axes.add_collection(LineCollection(lines, colors=LINE, linewidths=0.8))
    paths = run.images["path"].to_numpy()
    for node, (x, y) in place.items():
        big = node in root
        image = np.asarray(photo(run.image(paths[nodes[node]]), 96 if big else 48))
        high = 0.25 if big else 0.105
        wide = high * image.shape[1] / image.shape[0] * 0.9
        axes.imshow(image, extent=(x - wide / 2, x + wide / 2, y - high / 2, y + high / 2), aspect="auto", zorder=3)
        frame = INK if node == root[0] else SERIES[2] if person[nodes[node]] == person[nodes[root[0]]] else SERIES[3]
        axes.add_patch(_frame(x, y, wide, high, frame))
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.set_axis_off()


def _frame(x: float, y: float, wide: float, high: float, colour: str):
    from matplotlib.patches import Rectangle
    return Rectangle((x - wide / 2, y - high / 2), wide, high, fill=False, edgecolor=colour, linewidth=2, zorder=4)
