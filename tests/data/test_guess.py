"""Names of known conventions are read as their makers meant them; what is no identity is not taken for one."""
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.data.cards.guess import choose, find_fields, make_pattern, usual_depth

MARKET = [f"{p:04d}_c{c}s1_{k * 31:06d}_0{k}.jpg" for p in range(2, 12) for c in (1, 2, 5) for k in range(3)]
NAMES = {
    "Market-1501": (MARKET, ("0002", "1")),
    "Market-1501 with junk": ([*MARKET, *(f"-1_c{c}s1_{c:06d}_00.jpg" for c in (1, 2, 5))], ("-1", "1")),
    "DukeMTMC": ([f"{p:04d}_c{c}_f{k * 37 + p:07d}.jpg" for p in range(20) for c in range(1, 9) for k in range(3)],
                 ("0000", "1")),
    "a folder per person": ([f"{p:03d}/{c:02d}_{k}.png" for p in range(9) for c in (1, 2) for k in range(8)],
                            ("000", "01")),
    "named people": ([f"{n}/cam{c}_{k:04d}.JPG" for n in ("alice", "bob", "eve") for c in range(3) for k in range(9)],
                     ("alice", "0")),
    "folders of cameras in folders of people": (
        [f"id_{p}/camera-{c}/{k:05d}.jpeg" for p in range(7) for c in range(1, 4) for k in range(5)], ("0", "1")),
    "numbers only": ([f"{p:03d}-{c}-{k:02d}.jpg" for p in range(20) for c in range(4) for k in range(12)],
                     ("000", "0")),
    "camera first": ([f"cam{c}_frame{k:05d}_person{p}.jpg" for p in range(8) for c in range(2) for k in range(6)],
                     ("0", "0")),
    "people, one camera": ([f"{p:04d}/{k:04d}.jpg" for p in range(9) for k in range(7)], ("0000", None)),
    "cameras, no identities": ([f"cam{c}/{k:04d}.png" for c in range(3) for k in range(100)], (None, "0")),
    "a camera's letter": ([f"cam_{c}/{p:03d}_{p % 3}.bmp" for p in range(60) for c in "ab"], (None, "cam_a")),
    "running numbers": ([f"{k:06d}.png" for k in range(100)], (None, None)),
    "no numbers": ([f"crop{'x' * k}.png" for k in range(30)], (None, None)),
}


def guess(paths):
    fields = find_fields(usual_depth(paths))
    return make_pattern(usual_depth(paths), *choose([None, *fields], [None, *fields]))


@pytest.mark.parametrize("names", NAMES)
def test_known_conventions(names):
    paths, expected = NAMES[names]
    pattern = guess(paths)
    found = [re.fullmatch(pattern, path) for path in paths]
    assert all(found), pattern
    first = re.fullmatch(pattern, min(paths)).groupdict()
    assert (first.get("person"), first.get("camera")) == expected, pattern


def test_the_pattern_keeps_constant_text_and_reads_other_depths():
    pattern = guess(MARKET)
    assert pattern == r"(?P<person>\d+)_c(?P<camera>\d+)[^/]*\.(?i:jpg)"
    paths = [f"day1/{path}" for path in MARKET]
    assert re.fullmatch(guess(paths), "elsewhere/day2/" + MARKET[0])["person"] == "0002"


def test_a_forced_field_is_taken_whatever_its_score():
    paths = [f"cam{c}/{k:04d}.png" for c in range(3) for k in range(10)]
    fields = find_fields(paths)
    person, camera = choose([fields[1]], [None, *fields])
    assert str(person) == "number 1 of the file name" and str(camera) == "number 1 of folder 1"
    assert choose([None], [None]) == (None, None)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("ab01_-. c/", min_size=1, max_size=12).map(lambda t: t.strip("/. ") or "a"), min_size=1,
                max_size=30))
def test_any_names_give_a_pattern_that_compiles_and_reads_the_images_it_was_made_from(texts):
    paths = sorted({"/".join(p for p in text.split("/") if p) + ".jpg" for text in texts})
    usual = usual_depth(paths)
    pattern = re.compile(guess(paths))
    assert sum(pattern.fullmatch(path) is not None for path in usual) >= 0.98 * len(usual) - 1
