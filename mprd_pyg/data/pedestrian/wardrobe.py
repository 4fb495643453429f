"""Who a synthetic pedestrian is: body, hair, clothes, shoes and bag, drawn from a stable random stream.

Clothing colours come from a short weighted list, so that many identities share both of them and have to be
told apart by cut, pattern, hair, shoes and bag. The two domains dress differently.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

DOMAINS = ("source", "target")
PERSON, DISTRACTOR, JUNK, SCENE = range(4)  # third number of every seed: what is drawn


class Draws:
    """Random choices made from raw PCG64 words only, the stream NumPy promises never to change (NEP 19).

    Args:
        *entropy: Non-negative integers naming what is drawn; the same numbers give the same choices.
    """

    def __init__(self, *entropy: int):
        self._bits = np.random.PCG64(np.random.SeedSequence(entropy))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number in [low, high)."""
        return low + (high - low) * ((int(self._bits.random_raw()) >> 11) * 2.0**-53)

    def integer(self, low: int, high: int) -> int:
        """Return an integer in [low, high)."""
        return low + int(self.uniform() * (high - low))

    def chance(self, probability: float) -> bool:
        """Return True with the given probability."""
        return self.uniform() < probability

    def pick(self, options: Sequence | dict):
        """Return one option; a dictionary maps options to integer weights."""
        if isinstance(options, dict):
            options = [option for option, weight in options.items() for _ in range(weight)]
        return options[self.integer(0, len(options))]

    def bytes(self, shape: tuple[int, ...]) -> np.ndarray:
        """Return an int32 array of the given shape, uniform on 0..255."""
        count = int(np.prod(shape))
        words = self._bits.random_raw(-(-count // 8)).astype("<u8")
        return np.frombuffer(words.tobytes(), np.uint8)[:count].reshape(shape).astype(np.int32)


PALETTE = {
    "black": (30, 30, 35), "charcoal": (72, 74, 82), "grey": (142, 144, 148), "white": (234, 233, 228),
    "navy": (36, 48, 96), "blue": (46, 98, 184), "sky": (134, 182, 220), "denim": (78, 102, 146),
    "red": (186, 40, 44), "maroon": (112, 32, 48), "orange": (222, 116, 44), "yellow": (226, 190, 62),
    "green": (50, 116, 70), "olive": (100, 102, 60), "teal": (38, 124, 130), "beige": (200, 178, 140),
    "brown": (108, 74, 50), "pink": (224, 146, 166), "purple": (104, 68, 136),
}
SKIN = ((244, 208, 180), (228, 184, 150), (204, 154, 116), (166, 114, 80), (122, 80, 56), (88, 58, 44))
HAIR = {(34, 28, 28): 6, (66, 44, 34): 4, (112, 76, 48): 2, (196, 158, 96): 2, (142, 66, 40): 1, (168, 166, 164): 2}
UPPER = {
    "target": {"black": 5, "white": 3, "grey": 3, "navy": 3, "red": 2, "green": 2, "beige": 2, "blue": 1},
    "source": {"white": 4, "sky": 3, "black": 2, "orange": 2, "yellow": 2, "teal": 2, "purple": 2, "red": 2},
}
LOWER = {
    "target": {"black": 4, "denim": 4, "charcoal": 2, "beige": 2},
    "source": {"denim": 4, "olive": 2, "black": 2, "white": 1, "brown": 2},
}
UPPER_KIND = {
    "target": {"tee": 3, "long": 3, "hoodie": 3, "jacket": 4, "coat": 3, "dress": 1},
    "source": {"tee": 5, "long": 3, "hoodie": 2, "jacket": 3, "coat": 1, "dress": 3},
}
LOWER_KIND = {"target": {"trousers": 6, "shorts": 2, "skirt": 2}, "source": {"trousers": 4, "shorts": 4, "skirt": 2}}
UPPER_PATTERN = {"plain": 5, "hoops": 3, "stripes": 2, "checks": 2, "logo": 3, "two-tone": 3}
LOWER_PATTERN = {"plain": 7, "side stripe": 2, "checks": 1}
HAIR_STYLE = {"short": 5, "long": 3, "ponytail": 2, "bun": 1, "bald": 1, "cap": 3, "beanie": 1, "hood": 1}
BAG = {"none": 4, "backpack": 4, "shoulder": 3, "handbag": 2}
SECOND = ("white", "black", "red", "yellow", "sky", "navy", "grey", "green")
ACCENT = ("black", "red", "brown", "blue", "yellow", "green", "grey", "pink", "white")
SHOES = {"black": 4, "white": 4, "brown": 2, "red": 2, "blue": 1, "yellow": 1}


@dataclass(frozen=True)
class Identity:
    """Everything about a person that stays the same in every image; colours are RGB or names in PALETTE."""

    build: float  # widths of trunk and limbs relative to the average
    shoulders: float
    hips: float
    head: float
    legs: float  # height of the hip joint relative to the average
    skin: tuple[int, int, int]
    hair_style: str
    hair: tuple[int, int, int]
    beard: bool
    hat: str
    upper_kind: str
    upper: str
    upper_second: str
    upper_pattern: str
    period: int  # of the upper pattern, in canvas pixels
    inner: str
    lower_kind: str
    lower: str
    lower_second: str
    lower_pattern: str
    lower_width: float
    bare_legs: bool  # else dark tights, below a skirt or dress
    shoes: str
    boots: bool
    bag: str
    bag_colour: str
    bag_side: int
    scarf: str | None


@lru_cache(maxsize=4096)
def draw_identity(seed: int, domain: str, kind: int, number: int) -> Identity:
    """Return identity ``number`` of a domain, the same whatever else is drawn."""
    d = Draws(seed, DOMAINS.index(domain), kind, number)
    upper_kind = d.pick(UPPER_KIND[domain])
    upper, lower = d.pick(UPPER[domain]), d.pick(LOWER[domain])
    return Identity(
        build=d.uniform(0.84, 1.28), shoulders=d.uniform(0.9, 1.1), hips=d.uniform(0.9, 1.12),
        head=d.uniform(0.93, 1.1), legs=d.uniform(0.95, 1.05), skin=d.pick(SKIN),
        hair_style=d.pick(HAIR_STYLE), hair=d.pick(HAIR), beard=d.chance(0.15), hat=d.pick(ACCENT),
        upper_kind=upper_kind, upper=upper, upper_second=d.pick([c for c in SECOND if c != upper]),
        upper_pattern=d.pick(UPPER_PATTERN), period=d.pick((14, 18, 24)),
        inner=d.pick([c for c in SECOND if c != upper]),
        lower_kind="dress" if upper_kind == "dress" else d.pick(LOWER_KIND[domain]),
        lower=lower, lower_second=d.pick([c for c in SECOND if c != lower]),
        lower_pattern=d.pick(LOWER_PATTERN), lower_width=d.uniform(0.85, 1.35), bare_legs=d.chance(0.6),
        shoes=d.pick(SHOES), boots=d.chance(0.2), bag=d.pick(BAG), bag_colour=d.pick(ACCENT),
        bag_side=d.pick((-1, 1)), scarf=d.pick(ACCENT) if d.chance(0.15) else None,
    )
