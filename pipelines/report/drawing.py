"""Pictures of the report: SVG that follows the page's light or dark colours, and small photographs."""
import base64
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw

from mprd_pyg.data.images import open_rgb
from pipelines.report.blocks import Picture
from pipelines.report.missing import Missing

INK, LINE = "#010203", "#010204"  # stand for the page's colours until the SVG is written
SERIES = tuple(f"#0102{i:02x}" for i in range(0x10, 0x16))
BOXES = ("#e6194b", "#f58231", "#ffd21f", "#3cb44b", "#42d4f4", "#911eb4", "#f032e6", "#4363d8")
STYLE = {"svg.fonttype": "path", "font.size": 9, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": LINE,
         "xtick.color": INK, "ytick.color": INK, "grid.color": LINE, "axes.grid": True, "grid.linewidth": 0.6,
         "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "none", "axes.facecolor": "none",
         "legend.frameon": False, "axes.titlesize": 9, "axes.axisbelow": True, "text.parse_math": False,
         "lines.linewidth": 1.8}
_salt = count()


@contextmanager
def panel(width: float = 3.6, height: float = 2.5) -> Iterator[Axes]:
    """An empty chart of ``width`` x ``height`` inches, of a phone's width by default."""
    with rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained").subplots()


def svg(axes: Axes, label: str) -> Markup:
    """The drawing as inline SVG, with ``label`` for those who cannot see it."""
    buffer = io.StringIO()
    with rc_context(STYLE | {"svg.hashsalt": str(next(_salt))}):
        axes.figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.03,
                            metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg"):]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href", "href")
    width, height = (round(float(size) * 4 / 3) for size in re.search(
        r'width="([\d.]+)pt" height="([\d.]+)pt"', text).groups())
    head = Markup('<svg role="img" aria-label="{}" style="max-width:{}px" width="{}" height="{}"').format(
        label, width, width, height)
    text = re.sub(r'<svg[^>]*?(viewBox="[^"]*")[^>]*>', lambda found: f"{head} {found[1]}>", text, count=1)
    for colour, css in ((INK, "currentColor"), (LINE, "var(--line)"),
                        *((colour, f"var(--s{i})") for i, colour in enumerate(SERIES))):
        text = text.replace(colour, css)
    return Markup(re.sub(r"\s*\n\s*", "\n", text))


def epoch_chart(title: str, series: dict[str, pd.Series], caption: str = "", bottom: float | None = None) -> Picture:
    """A line per series over the epochs, its index; with a legend above where there are several."""
    epochs = np.concatenate([values.index for values in series.values()])
    with panel() as axes:
        for (name, values), colour in zip(series.items(), SERIES, strict=False):
            axes.plot(values.index, values, color=colour, marker="o", markersize=3.5, label=name)
        axes.margins(y=0.12)
        if bottom is not None:
            top = axes.get_ylim()[1]
            axes.set_ylim(bottom, top + 0.06 * (top - bottom))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        axes.set_xlim(epochs.min() - 0.2, epochs.max() + 0.2)
        if len(axes.lines) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=3, borderaxespad=0, columnspacing=1.2,
                        handlelength=1.4)
        return Picture(svg(axes, title), title, caption)


def heatmap(axes: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], numbers: bool = True) -> None:
    """Cells of values in [0, 1] (R, C), NaN left empty, with their percentage where they are few."""
    axes.grid(False)
    shown = np.ma.masked_invalid(values)
    axes.pcolormesh(shown, cmap="viridis", vmin=0, vmax=1, edgecolors=LINE, linewidth=0.3)
    axes.invert_yaxis()
    for labels, axis, number in ((columns, axes.xaxis, values.shape[1]), (rows, axes.yaxis, values.shape[0])):
        step = -(-number // 24)
        axis.set_ticks(np.arange(0, number, step) + 0.5, list(labels)[::step])
        axis.set_tick_params(length=0)
    axes.spines[:].set_visible(False)
    if not numbers:
        return
    for (row, column), value in np.ndenumerate(values):
        known = np.isfinite(value)
        axes.text(column + 0.5, row + 0.5, f"{100 * value:.0f}" if known else "–", ha="center", va="center", fontsize=8,
                  color=INK if not known else "#ffffff" if value < 0.6 else "#000000")


def photo(path: Path, height: int = 120, boxes: dict[int, np.ndarray] | None = None) -> Image.Image:
    """An image of the dataset, downscaled; ``boxes`` are corners (4, 2) in [0, 1], drawn in their number's colour."""
    try:
        image = open_rgb(path)
    except (ValueError, FileNotFoundError) as error:
        raise Missing(str(error)) from error
    width = min(max(round(image.width * height / image.height), 8), 2 * height)
    image = image.resize((width, height), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(image)
    for number, corners in (boxes or {}).items():
        points = [tuple(point) for point in np.clip(corners, 0.01, 0.99) * (width - 1, height - 1)]
        draw.line([*points, points[0]], fill=BOXES[number % len(BOXES)], width=2)
    return image


def figure_image(figure: Figure) -> Image.Image:
    """A drawing in its own colours, as pixels."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return Image.open(buffer).convert("RGB")


def data_uri(image: Image.Image, quality: int = 82) -> str:
    """The image as a JPEG within the page."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, optimize=True, subsampling=0 if quality > 85 else -1)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
