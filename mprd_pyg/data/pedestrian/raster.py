"""Filling shapes and resampling in integers only, so that a picture has the same pixels everywhere.

Drawing libraries decide the pixels on an edge in floating point, differently from version to version.
"""

from collections.abc import Iterable

import numpy as np


class Raster:
    """Fills shapes in an array; what lies outside it is cut off.

    Args:
        pixels: (H, W) or (H, W, C) array, changed in place; a fill is one value or C of them.
    """

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels
        self._columns = np.arange(pixels.shape[1])

    def _spans(self, top: int, left: np.ndarray, right: np.ndarray, fill) -> None:
        """Fill from ``left`` to ``right``, both inclusive, in the rows from ``top`` on."""
        low, high = max(0, -top), min(len(left), self.pixels.shape[0] - top)
        if low >= high:
            return
        left, right = left[low:high], right[low:high]
        first, last = max(0, int(left.min())), min(self.pixels.shape[1], int(right.max()) + 1)
        if first < last:
            columns = self._columns[first:last]
            inside = (columns >= left[:, None]) & (columns <= right[:, None])
            self.pixels[top + low : top + high, first:last][inside] = fill

    def rectangle(self, x0: int, y0: int, x1: int, y1: int, fill) -> None:
        """Fill the rectangle between two corners, both inclusive."""
        self.pixels[max(0, y0) : max(0, y1 + 1), max(0, x0) : max(0, x1 + 1)] = fill

    def rounded(self, x0: int, y0: int, x1: int, y1: int, radius: int, fill) -> None:
        """Fill a rectangle with round corners."""
        self.rectangle(x0 + radius, y0, x1 - radius, y1, fill)
        self.rectangle(x0, y0 + radius, x1, y1 - radius, fill)
        for x in (x0 + radius, x1 - radius):
            for y in (y0 + radius, y1 - radius):
                self.oval(x, y, radius, radius, fill)

    def oval(self, x: int, y: int, rx: int, ry: int, fill) -> None:
        """Fill the ellipse around (x, y) with the given radii."""
        rx, ry = max(0, rx), max(0, ry)
        rows = np.arange(-ry, ry + 1, dtype=np.int64)
        half = np.sqrt((2 * rx + 1) ** 2 * ((2 * ry + 1) ** 2 - 4 * rows**2)).astype(np.int64) // (4 * ry + 2)
        self._spans(y - ry, x - half, x + half, fill)

    def polygon(self, points: Iterable[tuple[int, int]], fill) -> None:
        """Fill a polygon that every row crosses at most once, from its left to its right edge."""
        a = np.array(points, dtype=np.int64)
        b = np.concatenate([a[1:], a[:1]])
        up = a[:, 1:] > b[:, 1:]
        a, b = np.where(up, b, a), np.where(up, a, b)
        (x, y), (dx, dy) = a.T[..., None], (b - a).T[..., None]  # each (edges, 1)
        top = int(y.min())
        rows = np.arange(top, int((y + dy).max()) + 1) - y
        crossed = (rows >= 0) & (rows <= dy)
        steep = np.maximum(dy, 1)
        edge = x + (2 * dx * rows + steep) // (2 * steep)
        left = np.where(crossed, edge, 1 << 30).min(axis=0)
        right = np.where(crossed, edge, -1 << 30).max(axis=0)
        self._spans(top, left, right, fill)


def _resample_rows(image: np.ndarray, rows: int) -> np.ndarray:
    have = len(image)
    if rows == have:
        return image
    if rows < have:  # mean over the area of each new row, from the running sum at its two ends
        total = np.zeros((have + 2, *image.shape[1:]), dtype=np.int32)
        np.cumsum(image, axis=0, out=total[1:-1])
        total[-1] = total[-2]
        whole, part = np.divmod(np.arange(rows + 1) * have, rows)
        part = part.astype(np.int32).reshape(-1, *(1,) * (image.ndim - 1))
        ends = total[whole] * rows + part * (total[whole + 1] - total[whole])
        return (np.diff(ends, axis=0) + have // 2) // have
    place = np.clip((2 * np.arange(rows) + 1) * have * 128 // rows - 128, 0, (have - 1) * 256)
    above, weight = place >> 8, (place & 255).astype(np.int32).reshape(-1, *(1,) * (image.ndim - 1))
    below = np.minimum(above + 1, have - 1)
    return (image[above] * (256 - weight) + image[below] * weight + 128) >> 8


def resample(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return the image, (H, W, C) of 0..255, as (rows, columns, C) int32: area means down, linear up."""
    image = _resample_rows(image.astype(np.int32), rows)
    return np.moveaxis(_resample_rows(np.moveaxis(image, 1, 0), columns), 0, 1)
