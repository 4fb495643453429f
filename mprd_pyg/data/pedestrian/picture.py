"""One synthetic picture: a street, the person in it, perhaps someone or something in the way, and a camera."""

from __future__ import annotations

import dataclasses
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from mprd_pyg.data.pedestrian import brush
from mprd_pyg.data.pedestrian.brush import CANVAS, LOWER, SECOND, SHADOW, UPPER, Pose
from mprd_pyg.data.pedestrian.figure import Figure
from mprd_pyg.data.pedestrian.street import STREET, camera_of, paint_street, photograph, tint
from mprd_pyg.data.pedestrian.wardrobe import (
    DISTRACTOR, DOMAINS, JUNK, PALETTE, PERSON, Draws, Identity, draw_identity,
)  # fmt: skip

PASSER_BY = 1_000_000  # numbers of the strangers who come into the picture start here


@lru_cache(maxsize=4096)
def _colours(who: Identity) -> tuple[int, ...]:
    """Return the RGB table of all codes of one identity, 256 x 3 values."""
    first = {
        brush.SKIN: who.skin, brush.HAIR: who.hair, UPPER: PALETTE[who.upper], brush.INNER: PALETTE[who.inner],
        LOWER: PALETTE[who.lower], brush.SHOES: PALETTE[who.shoes], brush.BAG: PALETTE[who.bag_colour],
        brush.SCARF: PALETTE[who.scarf or "red"], brush.HAT: PALETTE[who.hat], brush.DARK: (34, 32, 36),
        brush.SOLE: (226, 224, 216), brush.TIGHTS: (50, 46, 52),
    }  # fmt: skip
    second = {UPPER: PALETTE[who.upper_second], LOWER: PALETTE[who.lower_second]}
    table = []
    for code in range(256):
        material = code % SECOND // 2
        colour = (second if code & SECOND else first).get(material, (0, 0, 0))
        table += tint(colour, 100 if code & 1 else 72)
    return tuple(table)


def _patterned(codes: np.ndarray, who: Identity, pose: Pose) -> np.ndarray:
    """Return the codes with the second colour where the clothes' patterns have it."""
    material = codes % SECOND // 2
    period = who.period
    y = (np.arange(CANVAS[1]) - round(pose.ground))[:, None]
    x = (np.arange(CANVAS[0]) - round(pose.x))[None, :]
    height = -y * 1000 // round(pose.height)
    rows, columns = y % period < period // 2, x % period < period // 2
    upper = {"hoops": rows, "stripes": columns, "checks": rows ^ columns, "two-tone": height < 690}
    if who.upper_pattern in upper:
        codes = codes | (SECOND * ((material == UPPER) & upper[who.upper_pattern])).astype(np.uint8)
    if who.lower_pattern == "checks":
        codes = codes | (SECOND * ((material == LOWER) & (y % 12 < 6) & (x % 12 < 6))).astype(np.uint8)
    return codes


def _place(picture: Image.Image, who: Identity, pose: Pose) -> None:
    """Draw a figure into the picture."""
    codes = _patterned(Figure(who, pose).codes(), who, pose)
    opacity = np.where(codes == 0, 0, np.where(codes % SECOND // 2 == SHADOW, 96, 255)).astype(np.uint8)
    painted = Image.fromarray(codes)
    painted.putpalette(_colours(who))
    picture.paste(painted.convert("RGB"), mask=Image.fromarray(opacity))


def _obstacle(draw: ImageDraw.ImageDraw, d: Draws) -> None:
    """Draw something that stands between the camera and the person."""
    (wide, tall), kind = CANVAS, d.pick(("pole", "bin", "rail", "bush", "board"))
    x = d.integer(20, wide - 20)
    if kind == "pole":
        w = d.integer(12, 24)
        draw.rectangle((x, 0, x + w, tall), fill=(96, 98, 100))
        draw.rectangle((x, 0, x + w // 3, tall), fill=(140, 142, 144))
    elif kind == "bin":
        draw.rounded_rectangle((x - 44, tall - d.integer(70, 120), x + 44, tall + 20), 8, fill=(58, 82, 74))
        draw.rectangle((x - 44, tall - 52, x + 44, tall - 44), fill=(40, 58, 52))
    elif kind == "rail":
        for y in (tall - d.integer(60, 130), tall - 40):
            draw.rectangle((0, y, wide, y + 9), fill=(188, 186, 180))
    elif kind == "bush":
        for _ in range(26):
            cx, cy, r = x + d.integer(-60, 60), tall - d.integer(0, 80), d.integer(12, 26)
            draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=tint((62, 104, 54), d.uniform(60, 125)))
    else:
        side = d.pick((0, 1))
        edge = d.integer(20, 60)
        box = (0, 40, edge, tall) if side else (wide - edge, 40, wide, tall)
        draw.rectangle(box, fill=d.pick(((200, 196, 186), (64, 84, 120), (150, 60, 54))))


def render(
    person: int, camera: int, frame: int, *, domain: str = "target", seed: int = 0, kind: int = PERSON,
    width: int = 64, height: int = 128, camera_gap: float = 1.0,
) -> Image.Image:  # fmt: skip
    """Draw one picture; it depends on these numbers only, not on what was drawn before.

    Args:
        person: Number of the identity within its kind.
        camera: 1 to 6.
        frame: Number of the picture of this person under this camera.
        domain: ``"source"`` or ``"target"``: other streets, cameras and fashions.
        seed: Seed of the whole world.
        kind: PERSON, DISTRACTOR (other people) or JUNK (bad crops: half a person or none).
        width: Pixels of the result.
        height: Pixels of the result.
        camera_gap: Strength of the cameras' light and optics, 0 to 1.

    Returns:
        RGB image of ``width`` x ``height``.
    """
    d = Draws(seed, DOMAINS.index(domain), kind, person, camera, frame)
    optics = camera_of(domain, camera, camera_gap)
    left, top = d.integer(0, STREET[0] - CANVAS[0]), d.integer(0, STREET[1] - CANVAS[1])
    picture = paint_street(seed, domain, camera).crop((left, top, left + CANVAS[0], top + CANVAS[1]))
    pose = Pose.draw(d, optics.heading, optics.pitch)
    other = Pose.draw(d, optics.heading, optics.pitch)
    stranger = draw_identity(seed, domain, DISTRACTOR, PASSER_BY + d.integer(0, 500))
    behind, before, obstacle = d.chance(0.08), d.chance(0.06), d.chance(0.12)
    side = d.pick((-1, 1))
    if behind:
        far = dataclasses.replace(other, x=other.x + 62 * side, height=0.8 * other.height, ground=0.9 * other.ground)
        _place(picture, stranger, far)
    if kind == JUNK:
        shift = d.pick((None, (side * 100, 0), (0, 190), (0, -180)))
        if shift is not None:
            pose = dataclasses.replace(pose, x=pose.x + shift[0], ground=pose.ground + shift[1])
    if kind != JUNK or shift is not None:
        _place(picture, draw_identity(seed, domain, kind, person), pose)
    if before and not behind:
        _place(picture, stranger, dataclasses.replace(other, x=other.x + 104 * side, ground=other.ground + 14))
    if obstacle:
        _obstacle(ImageDraw.Draw(picture), d)
    return photograph(picture, optics, d, width, height)
