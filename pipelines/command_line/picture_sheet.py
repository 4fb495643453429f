"""A sheet of pictures: each query with the gallery images nearest to it."""
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw, ImageFont, ImageOps

from mprd_pyg.data.images import open_rgb

PAPER, INK, GREY, BLUE = (250, 249, 246), (20, 20, 24), (90, 90, 96), (38, 84, 200)


def picture_sheet(queries: Sequence[str | Path], hits: pd.DataFrame, root: str | Path,
                  size: tuple[int, int] = (160, 80), title: str = "") -> Image.Image:
    """Draw a row per query: the query framed, then its hits with rank, similarity and path.

    Args:
        queries: image files.
        hits: columns query, rank, path and similarity, as of :meth:`GallerySearch.search`.
        root: folder that ``path`` is relative to.
        size: (height, width) of a picture in pixels; others are fitted into it, uncropped.
        title: heading.
    """
    height, width = size
    gap, caption, top = 10, 34, 34
    columns = 1 + int(hits["rank"].max())
    wide, high = 2 * gap + columns * (width + gap), top + len(queries) * (height + caption + gap)
    sheet = Image.new("RGB", (wide, high), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    draw.text((gap, 8), title, fill=INK, font=ImageFont.load_default(15))
    rows = dict(list(hits.groupby("query", sort=False)))
    for row, query in enumerate(queries):
        y = top + row * (height + caption + gap)
        _draw_picture(sheet, draw, font, (gap, y), size, Path(query), ("query", Path(query).name), BLUE)
        for hit in rows[str(query)].itertuples():
            x = 2 * gap + hit.rank * (width + gap)
            text = (f"{hit.rank}.  {hit.similarity:.3f}", hit.path)
            _draw_picture(sheet, draw, font, (x, y), size, Path(root) / hit.path, text, None)
    return sheet


def _draw_picture(sheet: Image.Image, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont,
                  corner: tuple[int, int], size: tuple[int, int], path: Path, text: tuple[str, str],
                  frame: tuple[int, int, int] | None) -> None:
    (x, y), (height, width) = corner, size
    try:
        picture = ImageOps.contain(open_rgb(path), (width, height), Image.Resampling.LANCZOS)
        sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))
    except (ValueError, FileNotFoundError):
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=(225, 224, 220))
        draw.text((x + 6, y + height // 2 - 6), "not there", fill=GREY, font=font)
    if frame:
        draw.rectangle((x - 3, y - 3, x + width + 2, y + height + 2), outline=frame, width=2)
    draw.text((x, y + height + 4), text[0], fill=frame or INK, font=font)
    draw.text((x, y + height + 18), _shorten(text[1], font, width), fill=GREY, font=font)


def _shorten(name: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The name, or its two ends, as wide as there is room."""
    if font.getlength(name) <= width:
        return name
    keep = len(name) - 1
    while keep > 2 and font.getlength(name[:keep // 2] + "…" + name[-(keep - keep // 2):]) > width:
        keep -= 1
    return name[:keep // 2] + "…" + name[-(keep - keep // 2):]
