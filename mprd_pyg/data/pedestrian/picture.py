"""One synthetic picture: a place, the person in it, perhaps someone or something in the way, and a camera."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
from PIL import Image

from mprd_pyg.data.pedestrian import materials as m
from mprd_pyg.data.pedestrian.brush import CANVAS, Pose
from mprd_pyg.data.pedestrian.figure import Figure
from mprd_pyg.data.pedestrian.places import STREET, paint_place, tint
from mprd_pyg.data.pedestrian.raster import Raster
from mprd_pyg.data.pedestrian.street_cameras import camera_of, photograph
from mprd_pyg.data.pedestrian.wardrobe import (
    DISTRACTOR,
    DOMAINS,
    JUNK,
    PALETTE,
    PERSON,
    Draws,
    Identity,
    draw_identity,
)

STRANGERS = 1_000_000  # numbers of the people who come into the picture start here


@lru_cache(maxsize=4096)
def _colours(who: Identity) -> np.ndarray:
    """Return the RGB of each code as one identity wears it, (64, 3) uint8."""
    first = {
        m.SKIN: who.skin, m.HAIR: who.hair, m.DARK: (34, 32, 36), m.SOLE: (226, 224, 216),
        m.TIGHTS: (50, 46, 52), m.UPPER: PALETTE[who.upper], m.LOWER: PALETTE[who.lower],
        m.INNER: PALETTE[who.inner], m.SHOES: PALETTE[who.shoes], m.BAG: PALETTE[who.bag_colour],
        m.SCARF: PALETTE[who.scarf or "red"], m.HAT: PALETTE[who.hat],
    }
    second = {m.UPPER: PALETTE[who.upper_second], m.LOWER: PALETTE[who.lower_second]}
    table = np.zeros((2 * m.SECOND, 3), dtype=np.uint8)
    for code in range(2 * m.SECOND):
        colours = second if code & m.SECOND else first
        table[code] = tint(colours.get(code % m.SECOND // 2, (0, 0, 0)), 100 if code & 1 else 72)
    return table


def _patterned(codes: np.ndarray, who: Identity, pose: Pose) -> np.ndarray:
    """Return the codes with the second colour where the clothes' patterns have it."""
    material, period = codes % m.SECOND // 2, who.period
    y = (np.arange(CANVAS[1]) - round(pose.ground))[:, None]
    x = (np.arange(CANVAS[0]) - round(pose.x))[None, :]
    rows, columns = y % period < period // 2, x % period < period // 2
    low = -1000 * y < 690 * round(pose.height)
    upper = {"hoops": rows, "stripes": columns, "checks": rows ^ columns, "two-tone": low}
    if who.upper_pattern in upper:
        codes = codes | (m.SECOND * ((material == m.UPPER) & upper[who.upper_pattern])).astype(np.uint8)
    if who.lower_pattern == "checks":
        codes = codes | (m.SECOND * ((material == m.LOWER) & (y % 12 < 6) & (x % 12 < 6))).astype(np.uint8)
    return codes


def _place_figure(picture: np.ndarray, who: Identity, pose: Pose) -> None:
    """Draw a figure and its shadow into the picture."""
    codes, pixels = _patterned(Figure(who, pose).codes(), who, pose).ravel(), picture.reshape(-1, 3)
    painted = np.flatnonzero(codes)
    shaded = codes[painted] == 2 * m.SHADOW + m.LIT
    shadow, body = painted[shaded], painted[~shaded]
    pixels[shadow] = pixels[shadow] // 8 * 5
    pixels[body] = _colours(who).take(codes[body], axis=0)


def _place_obstacle(draw: Raster, d: Draws) -> None:
    """Draw something that stands between the camera and the person."""
    (wide, tall), kind = CANVAS, d.pick(("pole", "bin", "rail", "bush", "board"))
    x = d.integer(20, wide - 20)
    if kind == "pole":
        w = d.integer(12, 24)
        draw.rectangle(x, 0, x + w, tall, (96, 98, 100))
        draw.rectangle(x, 0, x + w // 3, tall, (140, 142, 144))
    elif kind == "bin":
        draw.rounded(x - 44, tall - d.integer(70, 120), x + 44, tall + 20, 8, (58, 82, 74))
        draw.rectangle(x - 44, tall - 52, x + 44, tall - 44, (40, 58, 52))
    elif kind == "rail":
        for y in (tall - d.integer(60, 130), tall - 40):
            draw.rectangle(0, y, wide, y + 9, (188, 186, 180))
    elif kind == "bush":
        for _ in range(26):
            cx, cy, r = x + d.integer(-60, 60), tall - d.integer(0, 80), d.integer(12, 26)
            draw.oval(cx, cy, r, r, tint((62, 104, 54), d.uniform(60, 125)))
    else:
        edge, paint = d.integer(20, 60), d.pick(((200, 196, 186), (64, 84, 120), (150, 60, 54)))
        x = 0 if d.chance(0.5) else wide - edge
        draw.rectangle(x, 40, x + edge, tall, paint)


def render(
    person: int, camera: int, frame: int, *, domain: str = "target", seed: int = 0, kind: int = PERSON,
    width: int = 64, height: int = 128, camera_gap: float = 1.0,
) -> Image.Image:
    """Draw one picture; it depends on these numbers only, not on what was drawn before.

    Args:
        person: Number of the identity within its kind.
        camera: 1 to 6.
        frame: Number of the picture of this person under this camera.
        domain: ``"source"`` or ``"target"``: other places, cameras and fashions.
        seed: Seed of the whole world.
        kind: PERSON, DISTRACTOR (other people) or JUNK (bad crops: half a person or none).
        camera_gap: Strength of the cameras' light and optics, 0 to 1.

    Returns:
        RGB image of ``width`` x ``height``.

    Raises:
        ValueError: If there is no such domain or camera.
    """
    if domain not in DOMAINS or not 1 <= camera <= 6:
        raise ValueError(f"domain={domain!r}, camera={camera}: expected {' or '.join(DOMAINS)}, and 1 to 6")
    d = Draws(seed, DOMAINS.index(domain), kind, person, camera, frame)
    lens = camera_of(domain, camera, camera_gap)
    left, top = d.integer(0, STREET[0] - CANVAS[0]), d.integer(0, STREET[1] - CANVAS[1])
    place = paint_place(lens.place, seed, domain, camera)
    picture = place[top : top + CANVAS[1], left : left + CANVAS[0]].copy()
    pose, other = (Pose.draw(d, lens.heading, lens.pitch) for _ in range(2))
    stranger = draw_identity(seed, domain, DISTRACTOR, STRANGERS + d.integer(0, 500))
    behind, before, obstacle = d.chance(0.08), d.chance(0.06), d.chance(0.12)
    side, fault = d.pick((-1, 1)), d.pick(("empty", "aside", "legs only", "head only"))
    if behind:
        far = replace(other, x=other.x + 62 * side, height=0.8 * other.height, ground=0.9 * other.ground)
        _place_figure(picture, stranger, far)
    if kind == JUNK:
        dx, dy = {"aside": (100 * side, 0), "legs only": (0, -180), "head only": (0, 190)}.get(fault, (0, 0))
        pose = replace(pose, x=pose.x + dx, ground=pose.ground + dy)
    if kind != JUNK or fault != "empty":
        _place_figure(picture, draw_identity(seed, domain, kind, person), pose)
    if before and not behind:
        _place_figure(picture, stranger, replace(other, x=other.x + 104 * side, ground=other.ground + 14))
    if obstacle:
        _place_obstacle(Raster(picture), d)
    return Image.fromarray(photograph(picture, lens, d, width, height))
