"""Where people walk: a painted wall above a painted ground, wider than a picture, seen at a random offset."""

from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from mprd_pyg.data.pedestrian.raster import Raster, resample
from mprd_pyg.data.pedestrian.wardrobe import DOMAINS, SCENE, Draws

STREET = (640, 420)  # width and height in canvas pixels of the whole painted place
WIDE, TALL = STREET
RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Place:
    """A kind of wall and of ground, their colours, and the share of the height where they meet."""

    wall: str
    wall_colour: RGB
    ground: str
    ground_colour: RGB
    horizon: float


def tint(colour: RGB, percent: float) -> RGB:
    """Return the colour lightened (above 100) or darkened."""
    return tuple(max(0, min(255, round(c * percent / 100))) for c in colour)


def _brick(draw: Raster, d: Draws, colour: RGB, bottom: int) -> None:
    draw.rectangle(0, 0, WIDE, bottom, tint(colour, 74))
    for row in range(bottom // 14 + 1):
        for column in range(-1, WIDE // 34 + 1):
            x, y = column * 34 + 17 * (row % 2), bottom - 14 * (row + 1)
            draw.rectangle(x, y, x + 31, y + 11, tint(colour, d.uniform(82, 114)))


def _hedge(draw: Raster, d: Draws, colour: RGB, bottom: int) -> None:
    draw.rectangle(0, 0, WIDE, bottom, tint(colour, 74))
    for _ in range(900):
        x, y, r = d.integer(0, WIDE), d.integer(0, bottom), d.integer(6, 20)
        draw.oval(x, y, r, r * 7 // 8, tint(colour, d.uniform(50, 135)))
    for x in range(60, WIDE, 170):
        draw.rectangle(x, 0, x + d.integer(12, 22), bottom, tint((92, 72, 54), d.uniform(70, 110)))


def _panel(draw: Raster, d: Draws, colour: RGB, bottom: int) -> None:
    for x in range(0, WIDE, 124):
        draw.rectangle(x, 0, x + 121, bottom, tint(colour, d.uniform(88, 108)))
        draw.rectangle(x, bottom // 2, x + 124, bottom // 2 + 1, tint(colour, 70))
    for x in range(40, WIDE, 210):
        paper = d.pick(((200, 70, 60), (70, 110, 180), (230, 220, 180), (60, 140, 110)))
        draw.rectangle(x, bottom - 110, x + 56, bottom - 36, paper)
        draw.rectangle(x + 8, bottom - 98, x + 48, bottom - 70, tint(paper, 130))


def _corridor(draw: Raster, d: Draws, colour: RGB, bottom: int) -> None:
    draw.rectangle(0, bottom - 78, WIDE, bottom, tint(colour, 80))
    for x in range(30, WIDE, 180):
        door = tint((140, 108, 78), d.uniform(80, 115))
        draw.rectangle(x, bottom - 210, x + 84, bottom, door)
        draw.rectangle(x + 8, bottom - 202, x + 76, bottom, (90, 66, 46))
        draw.rectangle(x + 11, bottom - 199, x + 73, bottom, door)
        draw.rectangle(x + 112, bottom - 190, x + 150, bottom - 130, (60, 60, 60))
        draw.rectangle(x + 113, bottom - 189, x + 149, bottom - 131, (210, 190, 90))
    draw.rectangle(0, bottom - 10, WIDE, bottom, tint(colour, 55))


def _glass(draw: Raster, d: Draws, colour: RGB, bottom: int, wide: int = 62, tall: int = 88) -> None:
    for x in range(0, WIDE, wide):
        for y in range(bottom, -tall, -tall):
            shade = tint(colour, d.uniform(65, 125))
            draw.rectangle(x + 4, y - tall + 5, x + wide - 4, y - 8, shade)
            glare = [(x + 12, y - 10), (x + 34, y - 10), (x + 60, y - tall + 8), (x + 38, y - tall + 8)]
            draw.polygon(glare, tint(shade, 122))


def _shop(draw: Raster, d: Draws, colour: RGB, bottom: int) -> None:
    _glass(draw, d, colour, bottom, 96, 128)
    for x in range(0, WIDE, 96):
        for y in range(bottom, -128, -128):
            goods = d.pick(((236, 200, 120), (200, 90, 70), (120, 170, 200), (240, 230, 210)))
            draw.rectangle(x + 20, y - 50, x + 20 + d.integer(4, 54), y - 12, goods)
    draw.rectangle(0, bottom - 152, WIDE, bottom - 126, (150, 46, 50))


def _fence(draw: Raster, d: Draws, colour: RGB, bottom: int) -> None:
    for x in range(0, WIDE, 46):
        r, leaves = d.integer(26, 60), tint((92, 112, 84), d.uniform(70, 115))
        draw.oval(x, bottom - 55 - r // 2, r, 35 + r // 2, leaves)
    for x in range(0, WIDE, 16):
        draw.rectangle(x, bottom - 118, x + 4, bottom, (54, 58, 62))
    for y in (bottom - 112, bottom - 18):
        draw.rectangle(0, y, WIDE, y + 5, (54, 58, 62))


def _cars(draw: Raster, d: Draws, colour: RGB, bottom: int) -> None:
    for x in range(20, WIDE, 110):
        draw.rectangle(x, bottom - 190, x + 48, bottom - 110, (230, 224, 210))
        draw.rectangle(x + 4, bottom - 186, x + 44, bottom - 114, (88, 100, 116))
    for x in range(-30, WIDE, 236):
        paint = d.pick(((150, 40, 40), (60, 84, 130), (206, 206, 204), (52, 54, 58)))
        draw.rounded(x + 40, bottom - 82, x + 160, bottom - 20, 26, tint(paint, 80))
        draw.rounded(x + 54, bottom - 74, x + 146, bottom - 40, 16, (52, 64, 76))
        draw.rounded(x, bottom - 50, x + 206, bottom - 4, 18, paint)
        for wheel in (x + 50, x + 166):
            draw.oval(wheel, bottom - 10, 16, 16, (30, 30, 32))


def _courses(top: int) -> list[tuple[int, int]]:
    """Return the rows of a paved ground, growing towards the viewer."""
    lines, y, step = [], float(top), 7.0
    while y < TALL:
        lines.append(round(y))
        y, step = y + step, step * 1.28
    return list(zip(lines, [*lines[1:], TALL], strict=True))


def _slabs(draw: Raster, d: Draws, colour: RGB, top: int, longer: int = 2) -> None:
    draw.rectangle(0, top, *STREET, tint(colour, 80))
    for y0, y1 in _courses(top):
        size = (y1 - y0) * longer + 12
        for x in range(-d.integer(0, size), WIDE, size):
            draw.rectangle(x, y0, x + size - 2, y1 - 2, tint(colour, d.uniform(92, 108)))


def _cobbles(draw: Raster, d: Draws, colour: RGB, top: int) -> None:
    draw.rectangle(0, top, *STREET, tint(colour, 80))
    for y0, y1 in _courses(top):
        size = (y1 - y0) * 4 // 3 + 3
        for x in range(-d.integer(0, size), WIDE, size):
            stone = tint(colour, d.uniform(78, 118))
            draw.oval(x + size // 2, (y0 + y1) // 2, size // 2 - 1, (y1 - y0) // 2, stone)


def _grass(draw: Raster, d: Draws, colour: RGB, top: int) -> None:
    for _ in range(1500):
        x, y, blade = d.integer(0, WIDE), d.integer(top, TALL), tint(colour, d.uniform(70, 130))
        tip, high = x + d.integer(-4, 5), y - d.integer(4, 14)
        draw.polygon([(x, y), (x + 1, y), (tip + 1, high), (tip, high)], blade)
    path = [(0, TALL - 40), (WIDE, TALL - 90), (WIDE, TALL - 30), (0, TALL + 40)]
    draw.polygon(path, (178, 162, 132))


def _road(draw: Raster, d: Draws, colour: RGB, top: int) -> None:
    draw.rectangle(0, top, WIDE, top + 16, (170, 168, 164))
    draw.rectangle(0, top + 16, WIDE, top + 22, (62, 62, 64))
    for x in range(-20, WIDE, 150):
        dash = [(x, TALL - 66), (x + 92, TALL - 66), (x + 84, TALL - 52), (x - 8, TALL - 52)]
        draw.polygon(dash, (222, 216, 190))


def _zebra(draw: Raster, d: Draws, colour: RGB, top: int) -> None:
    for x in range(-200, WIDE + 200, 88):
        far, near = WIDE // 2 + (x - WIDE // 2) * 3 // 4, WIDE // 2 + (x - WIDE // 2) * 5 // 4
        bar = [(far, top + 46), (far + 30, top + 46), (near + 54, TALL), (near, TALL)]
        draw.polygon(bar, (226, 226, 220))


WALLS = {"brick": _brick, "hedge": _hedge, "panel": _panel, "corridor": _corridor, "glass": _glass,
         "shop": _shop, "fence": _fence, "cars": _cars}
GROUNDS = {"slabs": _slabs, "tiles": partial(_slabs, longer=1), "cobbles": _cobbles, "grass": _grass, "road": _road,
           "zebra": _zebra}


@lru_cache(maxsize=64)
def paint_place(place: Place, seed: int, domain: str, camera: int) -> np.ndarray:
    """Return the place of camera 1..6 of a domain, (420, 640, 3) uint8; not to be changed."""
    d = Draws(seed, DOMAINS.index(domain), SCENE, camera)
    meet = round(place.horizon * TALL)
    image = np.empty((TALL, WIDE, 3), dtype=np.uint8)
    image[:] = place.wall_colour
    draw = Raster(image)
    WALLS[place.wall](draw, d, place.wall_colour, meet)
    draw.rectangle(0, meet, *STREET, tint(place.ground_colour, 96))
    GROUNDS[place.ground](draw, d, place.ground_colour, meet)
    stains, grain = resample(d.bytes((21, 32, 1)), TALL, WIDE), d.bytes((TALL, WIDE, 1))
    worn = np.minimum(image * (232 + stains // 8 + grain // 16) >> 8, 255).astype(np.uint8)
    worn.flags.writeable = False  # it is shared by all callers
    return worn
