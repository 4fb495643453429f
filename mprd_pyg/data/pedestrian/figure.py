"""One whole figure, painted from far to near: bags and hair that are behind, body, head, what is in front."""

import math

import numpy as np

from mprd_pyg.data.pedestrian import materials as m
from mprd_pyg.data.pedestrian.body import Body
from mprd_pyg.data.pedestrian.brush import SIDES, Point

HEAD = 0.925  # height of the centre of the head
DOME = ((-1, 0.1), (-0.93, -0.4), (-0.7, -0.75), (-0.35, -0.95), (0, -1), (0.35, -0.95), (0.7, -0.75),
        (0.93, -0.4), (1, 0.1))  # outline of a cap, in its radii


class Figure(Body):
    """Paints one identity in one pose; the arguments are those of :class:`Body`."""

    def codes(self) -> np.ndarray:
        """Return the painted canvas, (384, 192) uint8: 0 where nothing was drawn."""
        back_is_hidden = self.cos > 0
        far = [side for side in SIDES if self.toward(side, 0) < -0.4]
        self.oval(self.at(-0.05 * self.pose.light * self.cos, 0.012, 0), 0.19, 0.032, m.SHADOW)
        if back_is_hidden:
            self._backpack()
            self._down_the_back()
        for side in far:
            self._side_bag(side)
            self.arm(side, dim=True)
        self.legs()
        self.hem()
        self.top()
        self._head()
        if not back_is_hidden:
            self._down_the_back()
            self._backpack()
        for side in SIDES:
            if side not in far:
                self._side_bag(side)
                self.arm(side)
        return self.canvas

    def _bag(self, centre: Point, x: float, y: float, z: float) -> None:
        """Draw a box of half sizes x, y, z around a body point, with a strap across."""
        cx, cy = self.at(*centre)
        w, h = math.hypot(x * self.cos, z * self.sin) * self.pose.height, y * self.pose.height
        outline = ((0.8, -1), (0.95, -0.8), (1, 1))
        for tone, edge in ((m.SHADE, -1.0), (m.LIT, -0.35)):
            near, far = edge * self.pose.light * w, self.pose.light * w
            rim = [(cx + far * a, cy + h * b) for a, b in reversed(outline)]
            self.polygon([(cx + near * a, cy + h * b) for a, b in outline] + rim, m.BAG, tone)
        strap = [(cx + a * w, cy + b * h) for a, b in ((-1, -0.1), (1, -0.1), (1, 0.08), (-1, 0.08))]
        self.polygon(strap, m.DARK)

    def _backpack(self) -> None:
        if self.who.bag == "backpack":
            self._bag((0, 0.695, 0.6 * self.pose.lean - self.deep - 0.04), 0.095, 0.115, 0.055)

    def _side_bag(self, side: int) -> None:
        if side != self.who.bag_side:
            return
        if self.who.bag == "shoulder":
            self._bag((0.125 * side, self.hip - 0.01, 0.0), 0.034, 0.052, 0.072)
        elif self.who.bag == "handbag":
            x, y, z = self.arm_joints(side)[2]
            self._bag((x, y - 0.09, z), 0.03, 0.056, 0.066)

    def _down_the_back(self) -> None:
        """Draw long hair, a ponytail, a bun or a hood that is down."""
        style, lean = self.who.hair_style, self.pose.lean
        if style == "long":
            self.sheath([(0.95, 0.055, 0.05, lean - 0.015), (0.87, 0.07, 0.05, lean - 0.03),
                         (0.755, 0.066, 0.03, lean - 0.055)], m.HAIR)
        elif style == "ponytail":
            self.limb(((0, 0.945, lean - 0.06), 0.022), ((0, 0.82, lean - 0.085), 0.014), material=m.HAIR)
        elif style == "bun":
            self.oval(self.at(0, 0.985, lean - 0.04), 0.03, 0.027, m.HAIR, m.SHADE)
        elif self.who.upper_kind == "hoodie" and style != "hood":
            self.sheath([(0.86, 0.05, 0.05, lean - 0.02), (0.83, 0.07, 0.06, lean - 0.03),
                         (0.79, 0.045, 0.05, lean - 0.04)], m.UPPER)

    def _head(self) -> None:
        who, light, lean, tall = self.who, self.pose.light, self.pose.lean, self.pose.height
        rx, ry = 0.053 * who.head, 0.066 * who.head
        wide, high = rx * tall, ry * tall
        x, y = self.at(0, HEAD, lean + 0.01)
        self.limb(((0, 0.88, lean), 0.028), ((0, 0.845, lean), 0.032), material=m.SKIN, dim=True)
        cover = {"bald": m.SKIN, "hood": m.UPPER}.get(who.hair_style, m.HAIR)
        size = 1.18 if who.hair_style == "hood" else 1.05
        self.oval((x, y - 0.09 * high), rx * size, ry * size, cover, m.SHADE)
        self.oval((x + 0.25 * light * wide, y - 0.18 * high), 0.75 * rx * size, 0.85 * ry * size, cover)
        if self.cos > -0.45:
            self._face(x, y, rx, ry)
        if who.hair_style in ("cap", "beanie"):
            brow = y - 0.22 * high
            for tone, edge in ((m.SHADE, -1.0), (m.LIT, -0.4)):
                dome = [(1.12 * light * max(px, edge), 0.95 * py) for px, py in DOME]
                self.polygon([(x + px * wide, brow + py * high) for px, py in dome], m.HAT, tone)
            if who.hair_style == "cap" and self.cos > -0.6:
                brim = (x + 1.1 * self.sin * wide, brow + 0.05 * high)
                self.oval(brim, rx * (0.62 + 0.25 * abs(self.sin)), 0.014, m.HAT, m.SHADE)

    def _face(self, x: float, y: float, rx: float, ry: float) -> None:
        """Draw the face on the head at pixel (x, y); it moves aside and narrows as the head turns."""
        wide, high, light = rx * self.pose.height, ry * self.pose.height, self.pose.light
        narrow = min(1.0, 0.62 + 0.4 * max(self.cos, 0.0) + 0.3 * min(self.cos, 0.0))
        fx, fy = x + 0.42 * self.sin * wide, y + 0.22 * high
        self.oval((fx, fy), 0.84 * rx * narrow, 0.8 * ry, m.SKIN, m.SHADE)
        self.oval((fx + 0.12 * light * wide, fy), 0.72 * rx * narrow, 0.76 * ry, m.SKIN)
        if self.who.beard:
            self.oval((fx, fy + 0.5 * high), 0.66 * rx * narrow, 0.36 * ry, m.HAIR, m.SHADE)
        for side in SIDES:
            if self.toward(0.4 * side, 0.8) > 0.1:
                eye = x + (0.42 * side * self.cos + 0.75 * self.sin) * wide
                self.oval((eye, fy - 0.12 * high), 0.0085, 0.0065, m.DARK)
