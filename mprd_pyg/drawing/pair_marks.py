"""The marks of a pair's picture: tiles with frames and badges, and the edges between them."""
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Circle, PathPatch, Rectangle
from matplotlib.path import Path as Curve
from PIL import Image
from torch_geometric.data import Data

from mprd_pyg.data.images import open_rgb
from mprd_pyg.drawing.pair_layout import PairLayout

INK, PAPER, PALE = "#22262e", "#fbfaf7", "#eceae3"
FIRST, SECOND, OTHER, UNKNOWN = "#0f8a7c", "#e07b28", "#9aa1ad", "#d8d5cc"  # frames, by identity
EDGES = LinearSegmentedColormap.from_list("similarity", ["#ccd6e6", "#86a6d8", "#2c5bb0", "#0b1f5c"])
BADGES = ("#8a909b", "#22262e", "#6d3fa8", "#a23f8f", "#bf4f74", "#c9704f")  # by DRNL label, the last for larger ones
TILE, DPI = 0.6, 150  # inches per tile width, pixels per inch


class EdgeMark(NamedTuple):
    """How an edge is drawn; ``width`` in points, ``order`` from below to above."""

    curve: Curve
    colour: tuple[float, float, float, float]
    width: float
    opacity: float
    order: float


def edge_marks(layout: PairLayout, edges: np.ndarray, strength: np.ndarray | None,
               roots: tuple[int, int]) -> Iterator[EdgeMark]:
    """Curves from the roots to their neighbours, and thin lines between other nodes, the strongest last.

    Args:
        layout: of the nodes.
        edges: (2, E), each in both directions.
        strength: (E,) in [0, 1], how dark and wide; None for all alike.
        roots: the two places.
    """
    strength = np.full(edges.shape[1], 0.45) if strength is None else strength
    shown = ~np.isnan(layout.centre[:, 0])
    faint = 0.6 if edges.shape[1] < 160 else 0.35
    for e in np.argsort(strength, kind="stable"):
        a, b = (int(end) for end in edges[:, e])
        if a > b and b not in roots or a in roots or not (shown[a] and shown[b]):
            continue  # each edge once, from its root if it has one
        curve = _from_root(layout, b, a) if b in roots else _between(layout, a, b)
        low, wide = (0.9, 3.2) if b in roots else (0.5, 1.2)
        yield EdgeMark(curve, EDGES(float(strength[e])), low + wide * float(strength[e]),
                       0.95 if b in roots else faint, (2 if b in roots else 1) + 0.5 * float(strength[e]))


def draw_edges(axes: Axes, layout: PairLayout, edges: np.ndarray, strength: np.ndarray | None,
               roots: tuple[int, int]) -> None:
    """Draw :func:`edge_marks` beneath the tiles; ``axes`` in the layout's units."""
    for mark in edge_marks(layout, edges, strength, roots):
        axes.add_patch(PathPatch(mark.curve, fc="none", ec=mark.colour, capstyle="round", lw=mark.width,
                                 alpha=mark.opacity, zorder=mark.order))


def _from_root(layout: PairLayout, root: int, node: int) -> Curve:
    """Leave the root's side, reach the node's height before its group's first column, and go on level."""
    (x0, y0), (w, h), (x1, y1) = layout.centre[root], layout.size[root], layout.centre[node]
    way = np.sign(x1 - x0)
    x0 += way * w / 2
    y0 += np.clip((y1 - y0) * 0.16, -0.42 * h, 0.42 * h)
    turn = x0 + way * min(layout.clear, abs(x1 - way * 0.5 - x0))
    half = (x0 + turn) / 2
    return Curve([(x0, y0), (half, y0), (half, y1), (turn, y1), (x1, y1)],
                 [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4, Curve.LINETO])


def _between(layout: PairLayout, one: int, other: int) -> Curve:
    a, b = layout.centre[one], layout.centre[other]
    bow = 0.12 * np.array([b[1] - a[1], a[0] - b[0]])
    return Curve([a, (a + b) / 2 + bow, b], [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3])


class Thumbnails:
    """Images of a graph's nodes, read when they are drawn: place -> image, None where there is none.

    Args:
        data: the graph.
        image: node of the whole graph -> image; by default the files of ``data.path`` are read.
    """

    def __init__(self, data: Data, image: Callable[[int], Image.Image] | None):
        self.data, self.image = data, image

    def __call__(self, node: int) -> Image.Image | None:
        """The image of one node."""
        if self.image is not None:
            return self.image(int(self.data.n_id[node])).convert("RGB")
        return open_rgb(self.data.path[node]) if self.data.get("path") is not None else None

    def aspect(self, roots: Sequence[int]) -> float:
        """Height over width that suits the roots' images."""
        images = [image for image in map(self, roots) if image is not None]
        return float(np.clip(np.mean([i.height / i.width for i in images]), 0.75, 3)) if images else 1.0


def draw_tile(axes: Axes, layout: PairLayout, node: int, data: Data, thumbnails: Thumbnails,
              roots: tuple[int, int]) -> None:
    """One node: its image, row and camera, DRNL label and identity."""
    (x, y), (w, h) = layout.centre[node], layout.size[node]
    frame = frame_colour(node, data, roots)
    thick = 0.09 if node in roots else 0.07
    axes.add_patch(Rectangle((x - w / 2 - thick, y - h / 2 - thick), w + 2 * thick, h + 2 * thick, fc=frame, ec="none",
                             zorder=3))
    axes.add_patch(Rectangle((x - w / 2, y - h / 2), w, h, fc=PALE, ec="none", zorder=3.1))
    image = thumbnails(node)
    if image is not None:
        scale = min(w / image.width, h / image.height)  # as large as fits, undistorted
        iw, ih = image.width * scale, image.height * scale
        pixels = [max(1, round(side * TILE * DPI)) for side in (iw, ih)]
        axes.imshow(np.asarray(image.resize(pixels, Image.Resampling.LANCZOS)), aspect="auto", zorder=3.2,
                    extent=(x - iw / 2, x + iw / 2, y - ih / 2, y + ih / 2))
    text = f"{int(data.n_id[node])}"
    if data.get("camera_id") is not None:
        text += f" c{int(data.camera_id[node])}"
        strip = 0.3 if node in roots else 0.24
        axes.add_patch(Rectangle((x - w / 2, y - h / 2), w, strip, fc=INK, ec="none", alpha=0.62, zorder=3.3))
    at, ink, small = (y, INK, 3) if image is None else (y - h / 2 + strip / 2 - 0.01, "white", 0)
    axes.text(x, at, text, ha="center", va="center_baseline", color=ink, zorder=3.4,
              fontsize=(6.5 if node in roots else 5) + small)
    if node in roots and data.get("path") is not None:
        axes.text(x, y - h / 2 - 0.32, "/".join(PurePath(data.path[node]).parts[-2:]), ha="center", va="center",
                  fontsize=5.5, color="#7b818c", zorder=2.9, bbox={"fc": PAPER, "ec": "none", "pad": 1})
    z, radius = int(data.z[node]), 0.25 if node in roots else 0.2
    at = (x - w / 2 + 0.03, y + h / 2 - 0.03)
    axes.add_patch(Circle(at, radius, fc=BADGES[min(z, len(BADGES) - 1)], ec=PAPER, lw=0.8, zorder=3.5))
    axes.text(*at, str(z), ha="center", va="center_baseline", color="white", fontsize=6.5 if node in roots else 5.5,
              fontweight="bold", zorder=3.6)


def frame_colour(node: int, data: Data, roots: tuple[int, int]) -> str:
    """Whose image a node is."""
    if data.get("person_id") is None or int(data.person_id[node]) < 0:
        return UNKNOWN
    person = int(data.person_id[node])
    return FIRST if person == int(data.person_id[roots[0]]) else (
        SECOND if person == int(data.person_id[roots[1]]) else OTHER)
