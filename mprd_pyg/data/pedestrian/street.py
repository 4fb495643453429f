"""What a camera adds to a picture: its place, its light and its optics.

Each domain has six cameras with a painted street of their own, seen at a random offset per image, and with
their own colour cast, exposure, contrast, sharpness, resolution and noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from mprd_pyg.data.pedestrian.wardrobe import DOMAINS, SCENE, Draws

STREET = (640, 420)  # canvas pixels of the whole painted street
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class StreetCamera:
    """One camera: the place (wall, ground, where they meet), the light, and what the optics do."""

    wall: str
    wall_colour: RGB
    ground: str
    ground_colour: RGB
    horizon: float
    gain: tuple[float, float, float]
    exposure: float
    contrast: float
    gamma: float
    rows: int  # effective resolution of a full crop
    blur: int  # passes of the binomial filter at that resolution
    noise: int
    heading: float  # degrees; the direction most people walk in
    pitch: float


CAMERAS = {
    "target": (
        StreetCamera("brick", (150, 84, 66), "slabs", (168, 160, 150), 0.60, (1.08, 1.0, 0.88), 1.0, 1.08, 1.0,
                     128, 0, 3, 0, 0.10),
        StreetCamera("hedge", (70, 112, 60), "grass", (104, 140, 70), 0.52, (0.90, 1.05, 0.88), 0.96, 0.95, 1.1,
                     84, 1, 4, 60, 0.13),
        StreetCamera("corridor", (206, 206, 196), "tiles", (184, 186, 188), 0.66, (0.84, 0.98, 1.20), 1.14, 0.74, 0.9,
                     104, 1, 3, 20, 0.08),
        StreetCamera("shop", (62, 58, 66), "road", (86, 86, 92), 0.58, (1.20, 0.96, 0.68), 0.80, 1.12, 1.05,
                     72, 0, 11, 90, 0.10),
        StreetCamera("panel", (176, 176, 172), "zebra", (112, 112, 116), 0.36, (1.0, 1.0, 1.02), 1.22, 1.28, 1.0,
                     112, 0, 4, 45, 0.20),
        StreetCamera("fence", (150, 170, 190), "cobbles", (142, 130, 122), 0.50, (1.10, 0.88, 1.08), 0.94, 0.86, 0.95,
                     64, 1, 5, 130, 0.10),
    ),
    "source": (
        StreetCamera("glass", (120, 156, 176), "tiles", (206, 204, 198), 0.56, (0.96, 1.0, 1.06), 1.08, 1.0, 1.0,
                     128, 0, 3, 30, 0.10),
        StreetCamera("cars", (186, 164, 128), "road", (110, 108, 106), 0.50, (1.10, 1.02, 0.86), 1.10, 1.15, 0.95,
                     96, 0, 4, 90, 0.10),
        StreetCamera("panel", (120, 124, 132), "slabs", (120, 120, 124), 0.62, (0.92, 0.98, 1.10), 0.76, 0.88, 1.0,
                     80, 1, 7, 0, 0.08),
        StreetCamera("hedge", (84, 116, 52), "slabs", (190, 176, 146), 0.46, (1.06, 1.04, 0.84), 1.16, 1.05, 0.9,
                     112, 1, 3, 135, 0.15),
        StreetCamera("corridor", (196, 180, 140), "cobbles", (128, 120, 116), 0.60, (1.14, 0.98, 0.78), 0.86, 1.0, 1.1,
                     64, 0, 8, 10, 0.10),
        StreetCamera("brick", (176, 168, 158), "grass", (116, 150, 82), 0.56, (0.88, 1.06, 0.98), 1.0, 0.80, 1.0,
                     88, 1, 4, 70, 0.12),
    ),
}  # fmt: skip


def tint(colour: RGB, percent: float) -> RGB:
    """Return the colour lightened (above 100) or darkened."""
    return tuple(max(0, min(255, round(c * percent / 100))) for c in colour)


def _wall(draw: ImageDraw.ImageDraw, d: Draws, kind: str, colour: RGB, bottom: int) -> None:
    wide = STREET[0]
    if kind == "brick":
        for row in range(bottom // 14 + 1):
            for column in range(-1, wide // 34 + 1):
                x, y = column * 34 + 17 * (row % 2), bottom - 14 * (row + 1)
                draw.rectangle((x, y, x + 31, y + 11), fill=tint(colour, d.uniform(82, 114)))
    elif kind == "hedge":
        for _ in range(900):
            x, y, r = d.integer(0, wide), d.integer(0, bottom), d.integer(6, 20)
            draw.ellipse((x - r, y - r, x + r, y + r * 3 // 4), fill=tint(colour, d.uniform(45, 135)))
        for x in range(60, wide, 170):
            draw.rectangle((x, 0, x + d.integer(12, 22), bottom), fill=tint((92, 72, 54), d.uniform(70, 110)))
    elif kind == "panel":
        for x in range(0, wide, 124):
            draw.rectangle((x, 0, x + 121, bottom), fill=tint(colour, d.uniform(88, 108)))
            draw.line((x, bottom // 2, x + 124, bottom // 2), fill=tint(colour, 70), width=2)
        for x in range(40, wide, 210):
            paper = d.pick(((200, 70, 60), (70, 110, 180), (230, 220, 180), (60, 140, 110)))
            draw.rectangle((x, bottom - 110, x + 56, bottom - 36), fill=paper)
            draw.rectangle((x + 8, bottom - 98, x + 48, bottom - 70), fill=tint(paper, 130))
    elif kind == "corridor":
        draw.rectangle((0, bottom - 78, wide, bottom), fill=tint(colour, 84))
        for x in range(30, wide, 180):
            draw.rectangle((x, bottom - 210, x + 84, bottom), fill=tint((140, 108, 78), d.uniform(80, 115)))
            draw.rectangle((x + 8, bottom - 202, x + 76, bottom), outline=(90, 66, 46), width=3)
            draw.rectangle((x + 112, bottom - 190, x + 150, bottom - 130), fill=(210, 190, 90), outline=(60, 60, 60))
        draw.rectangle((0, bottom - 10, wide, bottom), fill=tint(colour, 55))
    elif kind in ("shop", "glass"):
        pane = (96, 128) if kind == "shop" else (62, 88)
        for x in range(0, wide, pane[0]):
            for y in range(bottom, -pane[1], -pane[1]):
                shade = tint(colour, d.uniform(65, 125))
                draw.rectangle((x + 4, y - pane[1] + 5, x + pane[0] - 4, y - 8), fill=shade)
                draw.polygon([(x + 12, y - 10), (x + 34, y - 10), (x + 60, y - pane[1] + 8), (x + 38, y - pane[1] + 8)],
                             fill=tint(shade, 122))  # fmt: skip
                if kind == "shop" and d.chance(0.6):
                    goods = d.pick(((236, 200, 120), (200, 90, 70), (120, 170, 200), (240, 230, 210)))
                    draw.rectangle((x + 20, y - 50, x + 20 + d.integer(14, 54), y - 12), fill=goods)
            if kind == "shop":
                draw.rectangle((x, bottom - 152, x + pane[0], bottom - 126), fill=(150, 46, 50))
    elif kind == "fence":
        for x in range(0, wide, 46):
            r = d.integer(26, 60)
            draw.ellipse((x - r, bottom - 90 - r, x + r, bottom - 20), fill=tint((92, 112, 84), d.uniform(70, 115)))
        for x in range(0, wide, 16):
            draw.rectangle((x, bottom - 118, x + 4, bottom), fill=(54, 58, 62))
        for y in (bottom - 112, bottom - 18):
            draw.rectangle((0, y, wide, y + 5), fill=(54, 58, 62))
    elif kind == "cars":
        for x in range(20, wide, 110):
            draw.rectangle((x, bottom - 190, x + 48, bottom - 110), fill=(88, 100, 116), outline=(230, 224, 210), width=4)
        for x in range(-30, wide, 236):
            paint = d.pick(((150, 40, 40), (60, 84, 130), (206, 206, 204), (52, 54, 58)))
            draw.rounded_rectangle((x + 40, bottom - 82, x + 160, bottom - 20), 26, fill=tint(paint, 80))
            draw.rounded_rectangle((x + 54, bottom - 74, x + 146, bottom - 40), 16, fill=(52, 64, 76))
            draw.rounded_rectangle((x, bottom - 50, x + 206, bottom - 4), 18, fill=paint)
            for wheel in (x + 34, x + 150):
                draw.ellipse((wheel, bottom - 26, wheel + 32, bottom + 6), fill=(30, 30, 32))


def _ground(draw: ImageDraw.ImageDraw, d: Draws, kind: str, colour: RGB, top: int) -> None:
    wide, tall = STREET
    lines, y, step = [], float(top), 7.0
    while y < tall:
        lines.append(round(y))
        y, step = y + step, step * 1.28
    if kind in ("slabs", "tiles"):
        for y0, y1 in zip(lines, [*lines[1:], tall], strict=True):
            size = (y1 - y0) * (2 if kind == "slabs" else 1) + 12
            for x in range(-d.integer(0, size), wide, size):
                draw.rectangle((x, y0, x + size - 2, y1 - 2), fill=tint(colour, d.uniform(92, 108)))
    elif kind == "grass":
        for _ in range(1500):
            x, y = d.integer(0, wide), d.integer(top, tall)
            draw.line((x, y, x + d.integer(-4, 5), y - d.integer(4, 14)), fill=tint(colour, d.uniform(70, 130)), width=2)
        draw.polygon([(0, tall - 40), (wide, tall - 90), (wide, tall - 30), (0, tall + 40)], fill=(178, 162, 132))
    elif kind == "road":
        draw.rectangle((0, top, wide, top + 16), fill=(170, 168, 164))
        draw.rectangle((0, top + 16, wide, top + 22), fill=(62, 62, 64))
        for x in range(-20, wide, 150):
            draw.polygon([(x, tall - 66), (x + 92, tall - 66), (x + 84, tall - 52), (x - 8, tall - 52)], fill=(222, 216, 190))
    elif kind == "zebra":
        for x in range(-200, wide + 200, 88):
            far, near = wide // 2 + (x - wide // 2) * 3 // 4, wide // 2 + (x - wide // 2) * 5 // 4
            draw.polygon([(far, top + 46), (far + 30, top + 46), (near + 54, tall), (near, tall)], fill=(226, 226, 220))
    elif kind == "cobbles":
        for y0, y1 in zip(lines, [*lines[1:], tall], strict=True):
            size = (y1 - y0) * 4 // 3 + 3
            for x in range(-d.integer(0, size), wide, size):
                draw.ellipse((x, y0, x + size - 2, y1), fill=tint(colour, d.uniform(78, 118)))


@lru_cache(maxsize=64)
def paint_street(seed: int, domain: str, camera: int) -> Image.Image:
    """Return the street of camera 1..6 of a domain, an RGB picture of STREET pixels."""
    place = CAMERAS[domain][camera - 1]
    d = Draws(seed, DOMAINS.index(domain), SCENE, camera)
    meet = round(place.horizon * STREET[1])
    image = Image.new("RGB", STREET, tint(place.wall_colour, 74 if place.wall in ("brick", "hedge") else 100))
    draw = ImageDraw.Draw(image)
    _wall(draw, d, place.wall, place.wall_colour, meet)
    draw.rectangle((0, meet, *STREET), fill=tint(place.ground_colour, 80 if place.ground in ("cobbles", "slabs", "tiles") else 96))
    _ground(draw, d, place.ground, place.ground_colour, meet)
    stains = Image.fromarray(d.bytes((21, 32)).astype(np.uint8)).resize(STREET, Image.Resampling.BICUBIC)
    grain = d.bytes((STREET[1], STREET[0]))
    factor = 232 + np.asarray(stains, np.int32) // 8 + grain // 16
    return Image.fromarray(np.minimum(np.asarray(image, np.int32) * factor[..., None] >> 8, 255).astype(np.uint8))


@lru_cache(maxsize=64)
def camera_of(domain: str, number: int, gap: float = 1.0) -> StreetCamera:
    """Return camera 1..6 of a domain, its light and optics moved towards a neutral camera as ``gap`` goes to 0."""
    own = CAMERAS[domain][number - 1]
    return replace(
        own, gain=tuple(1 + gap * (g - 1) for g in own.gain), exposure=1 + gap * (own.exposure - 1),
        contrast=1 + gap * (own.contrast - 1), gamma=1 + gap * (own.gamma - 1),
        rows=round(128 + gap * (own.rows - 128)), blur=round(gap * own.blur), noise=round(gap * own.noise),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _curves(camera: StreetCamera) -> list[int]:
    """Return the three tone curves of a camera as one table of 768 values."""
    levels = [(level / 255) ** camera.gamma for level in range(256)]
    return [
        max(0, min(255, round(255 * (0.5 + camera.contrast * (camera.exposure * gain * v - 0.5)))))
        for gain in camera.gain for v in levels
    ]  # fmt: skip


def photograph(canvas: Image.Image, camera: StreetCamera, d: Draws, width: int, height: int) -> Image.Image:
    """Return the canvas as the camera sees it: lit, resampled, blurred, cast and with noise; integers only."""
    rows = round(camera.rows * d.uniform(0.85, 1.1))
    small = canvas.resize((rows // 2, rows), Image.Resampling.BOX)
    image = np.asarray(small, np.int32)
    across, down, level = d.integer(-40, 41), d.integer(-30, 31), d.integer(236, 277)
    slope_x = across * (2 * np.arange(rows // 2) - rows // 2) // (rows // 2)
    slope_y = down * (2 * np.arange(rows) - rows) // rows
    image = image * (level + slope_x + slope_y[:, None])[..., None] >> 8
    for _ in range(camera.blur):
        for axis in (0, 1):
            image = np.moveaxis(image, axis, 0)
            padded = np.concatenate([image[:1], image, image[-1:]])
            image = np.moveaxis((padded[:-2] + 2 * padded[1:-1] + padded[2:] + 2) >> 2, 0, axis)
    curves = np.array(_curves(camera)).reshape(3, 256)
    image = curves[np.arange(3), np.clip(image, 0, 255)]
    noise = d.bytes((2, *image.shape))
    image = np.clip(image + ((noise[0] - noise[1]) * camera.noise >> 7), 0, 255)
    return Image.fromarray(image.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
