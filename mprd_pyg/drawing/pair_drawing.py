"""A picture of a pair subgraph: what the classifier was shown, and what it made of it."""
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Rectangle
from PIL import Image
from torch_geometric.data import Data

from mprd_pyg.drawing.arrangement import arrange
from mprd_pyg.drawing.pair_marks import (
    BADGES,
    DPI,
    EDGES,
    FIRST,
    INK,
    OTHER,
    PALE,
    PAPER,
    SECOND,
    TILE,
    UNKNOWN,
    Thumbnails,
    draw_edges,
    draw_tile,
    frame_colour,
)
from mprd_pyg.files import replacing

FAINT, RIGHT, WRONG = "#7b818c", "#1d7a46", "#b3261e"
HEADER, FOOTER, NARROWEST, ASIDE = 1.75, 1.15, 19.0, 6.5  # tile widths


class Picture(Figure):
    """A figure that shows itself in a notebook."""

    def save(self, path: str | Path) -> None:
        """Write it as the suffix says: ``.png``, ``.svg``, ``.pdf``; the same picture gives the same bytes."""
        path = Path(path)
        dateless = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
        with matplotlib.rc_context({"svg.hashsalt": "pair", "svg.fonttype": "none"}), replacing(path) as part:
            self.savefig(part, dpi=DPI, metadata=dateless, format=path.suffix[1:])

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, dpi=DPI / 1.5, format="png")
        return buffer.getvalue()


def draw_pair(data: Data, most: int = 40, image: Callable[[int], Image.Image] | None = None,
              title: str | None = None, statistics: Mapping[str, float] | None = None) -> Picture:
    """Draw one graph of a :class:`PairSubgraphDataset` (or of a batch of :class:`PairSubgraphs`).

    The roots are large; on the left are the neighbours of the first, on the right those of the second, between them
    the shared ones, which are the evidence. Edges are darker and wider the more similar their ends are (``edge_attr``,
    else the cosine of ``x``). A badge tells the DRNL label, a frame whose image it is, where identities are known.

    Args:
        data: ``n_id``, ``z``, ``edge_index``, ``root_index``; what else is drawn is left out where it is missing.
        most: nodes shown; more are counted ("+12 more"), the least similar ones first.
        image: node -> its image; by default the files ``data.path`` are read.
        title: replaces the first line.
        statistics: names and values (a dict or a pandas Series) to list beside the picture, such as some of
            ``data.pair_statistics``.

    Raises:
        FileNotFoundError: an image is not where ``data.path`` says.
    """
    thumbnails = Thumbnails(data, image)
    aspect = thumbnails.aspect(data.root_index.flatten().tolist())
    layout, side, roots, edges, strength, span = arrange(data, most, aspect)
    width, height = layout.extent
    listed = {} if statistics is None else dict(statistics)
    full, aside = max(width, NARROWEST), ASIDE if listed else 0
    picture = Picture(figsize=((full + aside) * TILE, (height + HEADER + FOOTER) * TILE), facecolor=PAPER)
    axes = picture.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    draw_edges(axes, layout, edges, strength, roots)
    if not (side == 0).any():
        (x0, y0), (x1, _) = layout.centre[list(roots)]
        axes.plot([x0, x1], [y0, y0], ls=(0, (2, 4)), lw=1, color=FAINT, zorder=1)
        axes.text((x0 + x1) / 2, y0, "no shared\nneighbours", ha="center", va="center", fontsize=7, color=FAINT,
                  zorder=2, bbox={"fc": PAPER, "ec": "none", "pad": 4})
    for node in np.flatnonzero(~np.isnan(layout.centre[:, 0])):
        draw_tile(axes, layout, int(node), data, thumbnails, roots)
    for x, y, count in layout.more:
        axes.add_patch(FancyBboxPatch((x - 0.35, y - 0.3), 0.7, 0.6, "round,pad=0.12", fc=PALE, ec="none", zorder=3))
        axes.text(x, y, f"+{count}\nmore", ha="center", va="center", fontsize=6.5, color=INK, zorder=4)
    _header(axes, data, title, width / 2, height)
    _footer(axes, data, span, width / 2)
    for line, (name, value) in enumerate(listed.items()):
        left, y = (width + full) / 2, height / 2 + ((len(listed) - 1) / 2 - line) * min(0.6, height / len(listed))
        axes.text(left, y, name.replace("_", " "), va="center", fontsize=9, color=FAINT)
        axes.text(left + ASIDE - 0.8, y, f"{value:.3g}", ha="right", va="center", fontsize=9, color=INK)
    axes.set_xlim((width - full) / 2, (width + full) / 2 + aside)
    axes.set_ylim(-FOOTER, height + HEADER)
    return picture


def _header(axes: Axes, data: Data, title: str | None, x: float, y: float) -> None:
    """Likelihood and truth, and which images these are."""
    parts, colour = [], INK
    people = data.get("person_id") is not None or data.get("path") is not None
    noun, verdicts = ("image", ("different people", "the same person")) if people else ("node", ("no link", "a link"))
    known = data.get("y") is not None and int(data.y) >= 0
    judged = data.get("likelihood") is not None and not bool(data.likelihood.isnan())
    if data.get("likelihood") is not None and not judged:
        parts.append("not judged")
    if judged:
        parts.append(f"likelihood {float(data.likelihood):.2f}, {'believed' if bool(data.believed) else 'not believed'}"
                     if data.get("believed") is not None else f"likelihood {float(data.likelihood):.2f}")
    if known:
        parts.append(verdicts[int(data.y)])
        if judged and data.get("believed") is not None:
            right = bool(data.believed) == bool(int(data.y))
            parts[-1] += " \N{CHECK MARK}" if right else " \N{BALLOT X}"
            colour = RIGHT if right else WRONG
    elif data.get("y") is not None:
        parts.append("truth unknown")
    words = title or "  \N{MIDDLE DOT}  ".join(parts) or "the neighbours of a pair"
    axes.text(x, y + 1.1, words, ha="center", va="center", fontsize=14, color=colour, fontweight="bold")
    first, second = data.n_id[data.root_index.flatten()].tolist()
    details = [f"{noun} {first} and {noun} {second}"]
    if data.get("similarity") is not None and not bool(data.similarity.isnan()):
        details.append(f"similarity {float(data.similarity):.2f}")
    shared = int((data.z == 2).sum())
    details.append(f"{shared} shared neighbour{'s' * (shared != 1)}")
    if data.get("epoch") is not None and int(data.epoch):
        details.append(f"epoch {int(data.epoch)}")
    axes.text(x, y + 0.45, "  \N{MIDDLE DOT}  ".join(details), ha="center", va="center", fontsize=9, color=FAINT)


def _footer(axes: Axes, data: Data, span: tuple[float, float] | None, x: float) -> None:
    """What frames, badges and edges mean; only what occurs."""
    meaning = {FIRST: "the left person", SECOND: "the right person", OTHER: "someone else", UNKNOWN: "unknown person"}
    roots = tuple(data.root_index.flatten().tolist())
    named = range(data.num_nodes if data.get("person_id") is not None else 0)
    seen = {frame_colour(node, data, roots) for node in named}
    frames = [(colour, text) for colour, text in meaning.items() if colour in seen]
    labels = sorted(set(data.z.tolist()))[:5]
    letter, style = 0.125, {"va": "center_baseline", "fontsize": 7, "color": FAINT}
    wide = sum(1.2 + letter * len(text) for _, text in frames) + 0.55 * len(labels) + 2 + (5.2 if span else 0)
    x, y = x - wide / 2, -0.5
    for colour, text in frames:
        axes.add_patch(Rectangle((x, y - 0.17), 0.34, 0.34, fc=PAPER, ec=colour, lw=2.2))
        axes.text(x + 0.55, y, text, **style)
        x += 1.2 + letter * len(text)
    for label in labels:
        axes.add_patch(Circle((x + 0.15, y), 0.2, fc=BADGES[min(label, len(BADGES) - 1)], ec="none"))
        axes.text(x + 0.15, y, str(label), ha="center", va="center_baseline", fontsize=5.5, color="white",
                  fontweight="bold")
        x += 0.55
    axes.text(x, y, "DRNL label", **style)
    if span:
        axes.text(x + 2, y, f"similarity  {span[0]:.2f}", **style)
        axes.imshow(EDGES(np.linspace(0, 1, 64)[None]), aspect="auto", extent=(x + 4.2, x + 5.9, y - 0.1, y + 0.1))
        axes.text(x + 6.05, y, f"{span[1]:.2f}", **style)
