"""A walking body in its clothes: legs, trunk and arms placed by the pose, with the cut of each garment."""

import math
from functools import cached_property

from mprd_pyg.data.pedestrian import materials as m
from mprd_pyg.data.pedestrian.brush import SIDES, Brush, Point, Pose
from mprd_pyg.data.pedestrian.wardrobe import Identity

BULK = {"hoodie": 1.06, "jacket": 1.1, "coat": 1.12}  # of the upper garment, relative to the body
THIGH, UPPER_ARM, FOREARM, SOLE_HEIGHT = 0.225, 0.16, 0.15, 0.035
ARMS = {"pocket": (-0.35, 0.75), "phone": (0.15, 1.9), "down": (0.03, 0.12)}  # angles of shoulder and elbow


def between(a: Point, b: Point, share: float) -> Point:
    """Return the point ``share`` of the way from ``a`` to ``b``."""
    return tuple(p + share * (q - p) for p, q in zip(a, b, strict=True))


def bar(top: tuple[float, float], bottom: tuple[float, float], wide: float) -> list[tuple[float, float]]:
    """Return the corners (x, y) of a strip of half width ``wide`` from ``top`` to ``bottom``."""
    return [(top[0] - wide, top[1]), (top[0] + wide, top[1]), (bottom[0] + wide, bottom[1]),
            (bottom[0] - wide, bottom[1])]


class Body(Brush):
    """Paints the legs, the trunk and the arms of one identity in one pose."""

    def __init__(self, who: Identity, pose: Pose):
        super().__init__(pose)
        self.who = who
        self.hip = 0.495 * who.legs
        self.wide = 0.118 * who.shoulders * (0.6 + 0.4 * who.build)
        self.deep = 0.07 * who.build
        self.chest = 0.8 * self.deep  # where flat things lie on the trunk
        self.bulk, lean = BULK.get(who.upper_kind, 1.0), pose.lean
        sections = (
            (0.850, 0.034, 0.036, lean), (0.832, 0.066, 0.044, lean), (0.815, 0.86 * self.wide, 0.05, lean),
            (0.785, self.wide, 0.85 * self.deep, 0.9 * lean),
            (0.700, 0.88 * self.wide, self.deep, 0.6 * lean),
            (0.600, 0.086 * who.build, 0.9 * self.deep, 0.25 * lean),
            (self.hip, 0.092 * who.build * who.hips, self.deep, 0.0),
        )
        self.trunk = [(y, x * self.bulk, z * self.bulk, forward) for y, x, z, forward in sections]
        self.waist, self.seat = self.trunk[-2], self.trunk[-1]

    @cached_property
    def steps(self) -> list[tuple[float, Point, Point, Point]]:
        """Each leg as (nearness, hip, knee, ankle), the far one first; the lower foot is on the ground."""
        steps, swing, shin = [], self.pose.swing, self.hip - THIGH - SOLE_HEIGHT
        for side in SIDES:
            forward = swing * side
            back = forward - 0.08 - (0.9 * abs(swing) if forward < 0 else 0.0)
            x = 0.044 * side * self.who.build
            knee = (x, self.hip - THIGH * math.cos(forward), THIGH * math.sin(forward))
            ankle = (x, knee[1] - shin * math.cos(back), knee[2] + shin * math.sin(back))
            steps.append((self.toward(x, 0.3 * ankle[2]), (x, self.hip, 0.0), knee, ankle))
        drop = min(ankle[1] for *_, ankle in steps) - SOLE_HEIGHT
        return [(near, *((x, y - drop, z) for x, y, z in joints)) for near, *joints in sorted(steps)]

    def legs(self) -> None:
        """Draw both legs with their trousers or shorts, and the shoes; the far leg is darker."""
        apart = self.steps[1][0] - self.steps[0][0] > 0.05
        for order, (_, *joints) in enumerate(self.steps):
            self._leg(*joints, dim=apart and order == 0)

    def _leg(self, hip: Point, knee: Point, ankle: Point, dim: bool) -> None:
        who, thick, cut = self.who, 0.5 + 0.5 * self.who.build, self.who.lower_width
        x, y, z = ankle
        toe, heel = (1.25 * x, y - 0.002, z + 0.068), (x, y, z - 0.012)
        if who.lower_kind != "trousers":
            bare = m.SKIN if who.bare_legs or who.lower_kind == "shorts" else m.TIGHTS
            calf = between(knee, ankle, 0.3)
            radii = zip((hip, knee, calf, ankle), (0.05, 0.036, 0.035, 0.02), strict=True)
            self.limb(*((point, radius * thick) for point, radius in radii), material=bare, dim=dim)
        sole = ((toe[0], y - 0.016, toe[2]), 0.019), ((x, y - 0.018, heel[2]), 0.021)
        self.limb(*sole, material=m.SOLE, dim=dim)
        self.limb((toe, 0.020), (heel, 0.027), material=m.SHOES, dim=dim)
        if who.boots:
            self.limb((between(ankle, knee, 0.45), 0.036 * thick), (heel, 0.03), material=m.SHOES, dim=dim)
        if who.lower_kind not in ("trousers", "shorts"):
            return
        joints = [(hip, (0.045 + 0.016 * cut) * thick), (between(knee, hip, 0.06), 0.041 * cut * thick)]
        if who.lower_kind == "trousers":
            joints.append((between(ankle, knee, 0.4 if who.boots else 0.14), 0.033 * cut * thick))
        self.limb(*joints, material=m.LOWER, dim=dim)
        seam = math.copysign(0.042 * cut * thick, x)
        if who.lower_pattern == "side stripe" and self.toward(seam, 0) > -0.025:
            stripe = [((j[0] + seam * (1 - 0.12 * n), *j[1:]), 0.012) for n, (j, _) in enumerate(joints)]
            self.limb(*stripe, material=m.LOWER + m.SECOND // 2, dim=dim)

    def hem(self) -> None:
        """Draw what hangs from the waist: the seat, a skirt, the lower half of a coat or dress."""
        who, stride, (_, x, z, _) = self.who, 0.12 * abs(self.pose.swing), self.seat
        if who.lower_kind in ("trousers", "shorts"):
            self.sheath([self.waist, self.seat, (self.hip - 0.025, x, z, 0)], m.LOWER)
        for kind, material, low, flare in (
            ("skirt", m.LOWER, 0.31, 1.3), ("dress", m.UPPER, 0.27, 1.5), ("coat", m.UPPER, 0.29, 1.2),
        ):
            if kind in (who.lower_kind, who.upper_kind):
                half = ((self.hip + low) / 2, x * (1 + flare) / 2, z * (1 + flare) / 2 + stride / 2, 0)
                self.sheath([self.waist, self.seat, half, (low, x * flare, z * flare + stride, 0)], material)

    def top(self) -> None:
        """Draw the upper garment with what is on it: opening, collar, logo, belt, scarf and straps."""
        who, hip, front, kind = self.who, self.hip, self.chest, self.who.upper_kind
        self.sheath(self.trunk, m.UPPER)
        if kind == "jacket":
            self.patch([(-0.03, 0.845), (0.03, 0.845), (0.055, hip), (-0.055, hip)], front, m.INNER)
        elif kind == "coat":
            self.patch(bar((0, 0.8), (0, 0.3), 0.006), front, m.UPPER, m.SHADE)
            self.patch([(-0.04, 0.845), (0.04, 0.845), (0.0, 0.73)], front, m.INNER)
        elif kind == "hoodie":
            self.patch([(-0.06, 0.62), (0.06, 0.62), (0.08, 0.54), (-0.08, 0.54)], front, m.UPPER, m.SHADE)
        else:
            self.patch([(-0.03, 0.855), (0.03, 0.855), (0.0, 0.81)], front, m.SKIN)
        if who.upper_pattern == "logo" and kind not in ("jacket", "coat"):
            self.patch(bar((0, 0.76), (0, 0.67), 0.055), front, m.UPPER + m.SECOND // 2)
        if kind in ("dress", "coat"):
            self.sheath([(y, *self.waist[1:]) for y in (0.612, 0.586)], m.DARK)
        if who.scarf:
            knot = ((0.868, 0.045, 0.045), (0.842, 0.066, 0.06), (0.815, 0.05, 0.05))
            self.sheath([(*section, self.pose.lean) for section in knot], m.SCARF)
            self.patch(bar((0.022, 0.83), (0.03, 0.69), 0.016), front, m.SCARF, m.SHADE)
        if who.bag == "backpack":
            for side in SIDES:
                self.patch(bar((0.062 * side, 0.825), (0.075 * side, 0.66), 0.012), front, m.BAG, m.SHADE)
        if who.bag == "shoulder":
            strap = bar((-0.07 * who.bag_side, 0.825), (0.095 * who.bag_side, hip), 0.012)
            for z in (front, -front):
                self.patch(strap, z, m.BAG, m.SHADE)

    def arm_joints(self, side: int) -> tuple[Point, Point, Point]:
        """Return shoulder, elbow and hand of the right (-1) or left (1) arm."""
        who, pose = self.who, self.pose
        kind = "down" if who.bag == "handbag" and side == who.bag_side else pose.arms[side > 0]
        swing, bend = ARMS.get(kind, (-0.9 * pose.swing * side, 0.35))
        x, y, z = side * (self.wide - 0.02), 0.782, 0.9 * pose.lean
        elbow = (x + 0.026 * side, y - UPPER_ARM * math.cos(swing), z + UPPER_ARM * math.sin(swing))
        inward = 0.03 * side if bend > 0.5 else 0.0
        hand = (elbow[0] - inward, elbow[1] - FOREARM * math.cos(swing + bend),
                elbow[2] + FOREARM * math.sin(swing + bend))
        return (x, y, z), elbow, hand

    def arm(self, side: int, dim: bool = False) -> None:
        """Draw one arm with its hand and sleeve."""
        shoulder, elbow, hand = self.arm_joints(side)
        thick = (0.55 + 0.45 * self.who.build) * self.bulk
        self.limb((hand, 0.022), material=m.SKIN, dim=dim)
        if self.who.upper_kind in ("tee", "dress"):
            self.limb((shoulder, 0.03 * thick), (elbow, 0.027 * thick), (hand, 0.019), material=m.SKIN, dim=dim)
            sleeve = [(between(shoulder, elbow, 0.6), 0.036 * thick)]
        else:
            sleeve = [(elbow, 0.032 * thick), (between(elbow, hand, 0.82), 0.025 * thick)]
        self.limb((shoulder, 0.036 * thick), *sleeve, material=m.UPPER, dim=dim)
