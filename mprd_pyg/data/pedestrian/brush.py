"""Painting a body by number: points in body coordinates become polygons and ovals of material codes.

Body coordinates are x to the person's left, y up and z forward, in body heights, seen without perspective
from the direction of the pose.
"""

import math
from dataclasses import dataclass

import numpy as np

from mprd_pyg.data.pedestrian.materials import LIT, SHADE
from mprd_pyg.data.pedestrian.raster import Raster
from mprd_pyg.data.pedestrian.wardrobe import Draws

CANVAS = (192, 384)  # width and height of the picture in which figures are drawn
SIDES = (-1, 1)
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Pose:
    """Where a figure stands on the canvas (pixels), how it moves (radians) and from where it is seen."""

    x: float
    ground: float
    height: float
    yaw: float  # 0 faces the viewer
    swing: float  # of the left leg
    arms: tuple[str, str]  # right, left
    lean: float
    pitch: float  # how far the viewer looks down
    light: int  # the side the light comes from, -1 or 1

    @classmethod
    def draw(cls, d: Draws, heading: float, pitch: float) -> "Pose":
        """Return a random pose; most people walk along the camera's ``heading`` (degrees), either way."""
        height = d.uniform(312, 364)
        along = heading + 180 * d.integer(0, 2) + d.uniform(-40, 40)
        anywhere = d.uniform(0, 360)
        arms = {"swing": 6, "pocket": 2, "phone": 1, "down": 2}
        return cls(
            x=CANVAS[0] / 2 + d.uniform(-13, 13), ground=(CANVAS[1] + height) / 2 + d.uniform(-10, 10),
            height=height, yaw=math.radians(anywhere if d.chance(0.35) else along),
            swing=d.pick(SIDES) * (d.uniform(0.2, 0.5) if d.chance(0.75) else d.uniform(0, 0.1)),
            arms=(d.pick(arms), d.pick(arms)), lean=d.uniform(-0.01, 0.05), pitch=pitch, light=d.pick(SIDES),
        )


class Brush:
    """The shapes a figure is made of, drawn on a canvas of codes.

    Args:
        pose: Position and size of the figure, direction of view and of light.
    """

    def __init__(self, pose: Pose):
        self.pose = pose
        self.canvas = np.zeros((CANVAS[1], CANVAS[0]), dtype=np.uint8)
        self._raster = Raster(self.canvas)
        self.cos, self.sin = round(math.cos(pose.yaw), 4), round(math.sin(pose.yaw), 4)

    def toward(self, x: float, z: float) -> float:
        """Return how far a point is in front of the body's axis, as seen by the viewer."""
        return z * self.cos - x * self.sin

    def at(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Return the canvas pixel of a body point."""
        pose = self.pose
        across, up = x * self.cos + z * self.sin, y - pose.pitch * self.toward(x, z)
        return pose.x + across * pose.height, pose.ground - up * pose.height

    def polygon(self, points, material: int, tone: int = LIT) -> None:
        """Fill a polygon given in canvas pixels."""
        self._raster.polygon([(round(x), round(y)) for x, y in points], 2 * material + tone)

    def oval(self, point, rx: float, ry: float, material: int, tone: int = LIT) -> None:
        """Fill an ellipse: centre in canvas pixels, radii in body heights."""
        (x, y), rx, ry = point, rx * self.pose.height, ry * self.pose.height
        self._raster.oval(round(x), round(y), round(rx), round(ry), 2 * material + tone)

    def limb(self, *joints: tuple[Point, float], material: int, dim: bool = False) -> None:
        """Draw a limb through (point, radius) joints: its shaded shape and, unless ``dim``, the lit part."""
        tall, light = self.pose.height, self.pose.light
        for tone, share in ((SHADE, 1.0),) if dim else ((SHADE, 1.0), (LIT, 0.72)):
            discs = []
            for point, radius in joints:
                x, y = self.at(*point)
                discs.append((x + light * (1 - share) * radius * tall, y, radius * share))
                self.oval(discs[-1][:2], radius * share, radius * share, material, tone)
            for (ax, ay, ra), (bx, by, rb) in zip(discs, discs[1:], strict=False):
                length = max(math.hypot(bx - ax, by - ay), 1e-6) / tall
                nx, ny = (ay - by) / length, (bx - ax) / length
                sides = [(ax + nx * ra, ay + ny * ra), (ax - nx * ra, ay - ny * ra),
                         (bx - nx * rb, by - ny * rb), (bx + nx * rb, by + ny * rb)]
                self.polygon(sides, material, tone)

    def sheath(self, sections, material: int) -> None:
        """Draw a body of elliptical sections: rows of height, half width, half depth, shift forward."""
        tall, light = self.pose.height, self.pose.light
        rows = [(*self.at(0, y, f), math.hypot(x * self.cos, z * self.sin) * tall) for y, x, z, f in sections]
        rim = [(x + light * w, y) for x, y, w in reversed(rows)]
        self.polygon([(x - light * w, y) for x, y, w in rows] + rim, material, SHADE)
        self.polygon([(x - 0.5 * light * w, y) for x, y, w in rows] + rim, material, LIT)

    def patch(self, corners, z: float, material: int, tone: int = LIT) -> None:
        """Draw a flat patch across the body at depth ``z``, with corners (x, y), where that side is seen."""
        if z * self.cos > 0.2 * abs(z):
            self.polygon([self.at(x, y, z) for x, y in corners], material, tone)
