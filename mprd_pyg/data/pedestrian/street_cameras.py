"""What a camera does to a picture: its light, colour cast, contrast, sharpness, resolution and noise.

Each domain has six cameras, each with its own place (:mod:`mprd_pyg.data.pedestrian.places`). They differ
enough for untrained features to be grouped by camera, yet leave people recognisable to the eye.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from mprd_pyg.data.pedestrian.places import Place
from mprd_pyg.data.pedestrian.raster import resample
from mprd_pyg.data.pedestrian.wardrobe import Draws


@dataclass(frozen=True)
class StreetCamera:
    """One camera: the place it looks at, the light there, and what the optics do."""

    place: Place
    gain: tuple[float, float, float]  # red, green, blue
    exposure: float
    contrast: float
    gamma: float
    rows: int  # effective resolution of a full crop
    blur: int  # passes of the binomial filter at that resolution
    noise: int
    heading: float  # degrees; the direction most people walk in
    pitch: float  # how far it looks down


BRICK = Place("brick", (150, 84, 66), "slabs", (168, 160, 150), 0.60)
PARK = Place("hedge", (70, 112, 60), "grass", (104, 140, 70), 0.52)
CORRIDOR = Place("corridor", (206, 206, 196), "tiles", (184, 186, 188), 0.66)
SHOPS = Place("shop", (62, 58, 66), "road", (86, 86, 92), 0.58)
CROSSING = Place("panel", (176, 176, 172), "zebra", (112, 112, 116), 0.36)
FENCE = Place("fence", (150, 170, 190), "cobbles", (142, 130, 122), 0.50)
PLAZA = Place("glass", (120, 156, 176), "tiles", (206, 204, 198), 0.56)
PARKING = Place("cars", (186, 164, 128), "road", (110, 108, 106), 0.50)
UNDERPASS = Place("panel", (120, 124, 132), "slabs", (120, 120, 124), 0.62)
GARDEN = Place("hedge", (84, 116, 52), "slabs", (190, 176, 146), 0.46)
HALLWAY = Place("corridor", (196, 180, 140), "cobbles", (128, 120, 116), 0.60)
YARD = Place("brick", (176, 168, 158), "grass", (116, 150, 82), 0.56)

CAMERAS = {
    "target": (
        StreetCamera(BRICK, (1.08, 1.00, 0.88), 1.00, 1.08, 1.00, 128, 0, 3, 0, 0.10),
        StreetCamera(PARK, (0.90, 1.05, 0.88), 0.96, 0.95, 1.10, 84, 1, 4, 60, 0.13),
        StreetCamera(CORRIDOR, (0.84, 0.98, 1.20), 1.14, 0.74, 0.90, 104, 1, 3, 20, 0.08),
        StreetCamera(SHOPS, (1.20, 0.96, 0.68), 0.80, 1.12, 1.05, 72, 0, 11, 90, 0.10),
        StreetCamera(CROSSING, (1.00, 1.00, 1.02), 1.22, 1.28, 1.00, 112, 0, 4, 45, 0.20),
        StreetCamera(FENCE, (1.10, 0.88, 1.08), 0.94, 0.86, 0.95, 64, 1, 5, 130, 0.10),
    ),
    "source": (
        StreetCamera(PLAZA, (0.96, 1.00, 1.06), 1.08, 1.00, 1.00, 128, 0, 3, 30, 0.10),
        StreetCamera(PARKING, (1.10, 1.02, 0.86), 1.10, 1.15, 0.95, 96, 0, 4, 90, 0.10),
        StreetCamera(UNDERPASS, (0.92, 0.98, 1.10), 0.80, 0.90, 1.00, 80, 1, 7, 0, 0.08),
        StreetCamera(GARDEN, (1.06, 1.04, 0.84), 1.16, 1.05, 0.90, 112, 1, 3, 135, 0.15),
        StreetCamera(HALLWAY, (1.14, 0.98, 0.78), 0.86, 1.00, 1.10, 64, 0, 8, 10, 0.10),
        StreetCamera(YARD, (0.88, 1.06, 0.98), 1.00, 0.80, 1.00, 88, 1, 4, 70, 0.12),
    ),
}


@lru_cache(maxsize=64)
def camera_of(domain: str, number: int, gap: float = 1.0) -> StreetCamera:
    """Return camera 1..6 of a domain; at ``gap`` 0 its light and optics are neutral."""
    own = CAMERAS[domain][number - 1]
    return replace(
        own, gain=tuple(1 + gap * (g - 1) for g in own.gain), exposure=1 + gap * (own.exposure - 1),
        contrast=1 + gap * (own.contrast - 1), gamma=1 + gap * (own.gamma - 1),
        rows=round(128 + gap * (own.rows - 128)), blur=round(gap * own.blur), noise=round(gap * own.noise),
    )


@lru_cache(maxsize=64)
def _curves(camera: StreetCamera) -> np.ndarray:
    """Return the tone curve of each channel, (3, 256) int32: cast and exposure, then contrast about grey."""
    levels = [(level / 255) ** camera.gamma for level in range(256)]
    curves = [
        [round(255 * (0.5 + camera.contrast * (camera.exposure * gain * v - 0.5))) for v in levels]
        for gain in camera.gain
    ]
    return np.clip(np.array(curves, dtype=np.int32), 0, 255)


def photograph(canvas: np.ndarray, camera: StreetCamera, d: Draws, width: int, height: int) -> np.ndarray:
    """Return the canvas, (H, W, 3), as the camera sees it: (height, width, 3) uint8."""
    rows = round(camera.rows * d.uniform(0.85, 1.1))
    columns = rows // 2
    image = resample(canvas, rows, columns)
    across, down, level = d.integer(-40, 41), d.integer(-30, 31), d.integer(236, 277)  # light, in 1/256
    light_x = across * (2 * np.arange(columns, dtype=np.int32) - columns) // columns
    light_y = down * (2 * np.arange(rows, dtype=np.int32) - rows) // rows
    image = image * (level + light_x + light_y[:, None])[..., None] >> 8
    for _ in range(camera.blur):
        for axis in (0, 1):
            image = np.moveaxis(image, axis, 0)
            padded = np.concatenate([image[:1], image, image[-1:]])
            image = np.moveaxis((padded[:-2] + 2 * padded[1:-1] + padded[2:] + 2) >> 2, 0, axis)
    image = _curves(camera)[np.arange(3), np.clip(image, 0, 255)]
    noise = d.bytes((2, *image.shape))
    image = np.clip(image + ((noise[0] - noise[1]) * camera.noise >> 7), 0, 255)
    return resample(image, height, width).astype(np.uint8)
