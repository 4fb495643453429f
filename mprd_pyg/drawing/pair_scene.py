"""A pair subgraph as plain values, for a page that draws it and is clicked on."""
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.path import Path as Curve
from torch_geometric.data import Data

from mprd_pyg.drawing.arrangement import arrange
from mprd_pyg.drawing.pair_marks import BADGES, edge_marks, frame_colour

UNIT = 40  # pixels per tile width
LETTER = {Curve.MOVETO: "M", Curve.LINETO: "L", Curve.CURVE3: "Q", Curve.CURVE4: "C"}


def pair_scene(data: Data, image: Callable[[int], str], aspect: float = 2.0, most: int = 32) -> dict[str, Any]:
    """What :func:`draw_pair` draws, as JSON: x to the right and y down, in pixels.

    Args:
        data: a graph of a ``PairSubgraphDataset``.
        image: node -> address of its image, such as a data URI.
        aspect: height over width of a tile.
        most: nodes shown.

    Returns:
        ``width``, ``height``; ``middle``, x and y between the roots; ``nodes``, each with ``row``, ``root`` (0, 1 or
        None), ``side`` (which root it is nearer to: -1 the first, 1 the second, 0 both), ``x``, ``y`` (its middle),
        ``w``, ``h``, ``image``, ``label`` (DRNL), ``badge`` and ``frame`` (colours), ``camera`` or None; ``edges``,
        each with ``d`` (an SVG path), ``colour``, ``width`` and ``opacity``; ``more``: ``x``, ``y`` and ``count`` of
        nodes left out.
    """
    layout, side, roots, edges, strength, _ = arrange(data, most, aspect)
    width, height = (UNIT * extent for extent in layout.extent)

    def place(point: np.ndarray) -> tuple[float, float]:
        return round(UNIT * float(point[0]), 1), round(height - UNIT * float(point[1]), 1)

    nodes = []
    for node in np.flatnonzero(~np.isnan(layout.centre[:, 0])).tolist():
        (x, y), (w, h), label = place(layout.centre[node]), UNIT * layout.size[node], int(data.z[node])
        row, root = int(data.n_id[node]), roots.index(node) if node in roots else None
        nodes.append({"row": row, "root": root, "side": int(np.sign(side[node])),
                      "x": x, "y": y, "w": float(w), "h": float(h), "image": image(row), "label": label,
                      "badge": BADGES[min(label, len(BADGES) - 1)], "frame": frame_colour(node, data, roots),
                      "camera": None if data.get("camera_id") is None else int(data.camera_id[node])})
    drawn = [{"d": _svg_path(mark.curve, place), "colour": to_hex(mark.colour), "width": round(mark.width, 2),
              "opacity": mark.opacity} for mark in sorted(edge_marks(layout, edges, strength, roots),
                                                          key=lambda mark: mark.order)]
    more = [dict(zip("xy", place((x, y)), strict=True), count=count) for x, y, count in layout.more]
    middle = place(layout.centre[list(roots)].mean(0))
    return {"width": round(width), "height": round(height), "middle": middle,
            "nodes": nodes, "edges": drawn, "more": more}


def _svg_path(curve: Curve, place: Callable[[np.ndarray], tuple[float, float]]) -> str:
    parts = []
    for points, code in curve.iter_segments(simplify=False, curves=True):
        parts.append(LETTER[code] + " ".join("{} {}".format(*place(point)) for point in points.reshape(-1, 2)))
    return "".join(parts)
