"""Drawing pedestrians: the same pixels everywhere, shapes as their definitions say, views that differ."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.data.pedestrian import DISTRACTOR, JUNK, PERSON, draw_identity, render
from mprd_pyg.data.pedestrian.brush import Pose
from mprd_pyg.data.pedestrian.figure import Figure
from mprd_pyg.data.pedestrian.materials import BAG, INNER, SECOND, SKIN, UPPER
from mprd_pyg.data.pedestrian.raster import Raster, resample
from mprd_pyg.data.pedestrian.wardrobe import Draws

PLACES = st.integers(-15, 45)


def pixels(*numbers, **options):
    return np.asarray(render(*numbers, **options), dtype=np.int64)


# the same everywhere ----------------------------------------------------------------------------------------


def test_same_numbers_same_pixels_any_other_number_other_pixels():
    base = {"domain": "target", "seed": 3, "kind": PERSON}
    first = pixels(5, 2, 1, **base)
    pixels(9, 1, 0, domain="source")  # what was drawn in between does not matter
    assert (pixels(5, 2, 1, **base) == first).all()
    others = [
        pixels(6, 2, 1, **base), pixels(5, 1, 1, **base), pixels(5, 2, 2, **base),
        pixels(5, 2, 1, **{**base, "seed": 4}), pixels(5, 2, 1, **{**base, "domain": "source"}),
        pixels(5, 2, 1, **{**base, "kind": DISTRACTOR}),
    ]  # fmt: skip
    assert all(abs(other - first).mean() > 2 for other in others)


@pytest.mark.parametrize(
    ("numbers", "domain", "mean"),
    [
        ((1, 1, 0), "target", (138.7, 98.8, 76.8)),
        ((62, 4, 3), "target", (62.8, 38.4, 24.1)),
        ((17, 3, 2), "source", (79.6, 81.2, 94.7)),
    ],
)
def test_mean_colours_stay_as_recorded(numbers, domain, mean):
    """A guard against platforms and library versions that draw something else."""
    np.testing.assert_allclose(pixels(*numbers, domain=domain).mean((0, 1)), mean, atol=0.1)


def test_random_stream_is_the_documented_one():
    """Draws uses raw PCG64 words as NumPy's Generator.random does: 53 bits of each."""
    ours, numpys = Draws(1, 2, 3), np.random.Generator(np.random.PCG64(np.random.SeedSequence((1, 2, 3))))
    np.testing.assert_array_equal([ours.uniform() for _ in range(20)], numpys.random(20))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(-5, 5), st.integers(1, 9), st.integers(1, 60))
def test_draws_stay_in_their_ranges(seed, low, span, count):
    d = Draws(seed)
    assert all(low <= d.integer(low, low + span) < low + span for _ in range(count))
    assert d.pick({"a": 0, "b": 1}) == "b"
    values = d.bytes((count, 3))
    assert values.shape == (count, 3) and values.min() >= 0 and values.max() <= 255


# shapes, against slow references ----------------------------------------------------------------------------


def drawn(shape, *numbers):
    canvas = np.zeros((30, 20), dtype=np.uint8)
    getattr(Raster(canvas), shape)(*numbers, 7)
    return canvas == 7


@settings(deadline=None, max_examples=60)
@given(PLACES, PLACES, st.integers(0, 20), st.integers(0, 20))
def test_oval_is_the_ellipse_equation(x, y, rx, ry):
    i, j = np.mgrid[:30, :20]
    expected = ((j - x) / (rx + 0.5)) ** 2 + ((i - y) / (ry + 0.5)) ** 2 <= 1
    np.testing.assert_array_equal(drawn("oval", x, y, rx, ry), expected)


@settings(deadline=None, max_examples=60)
@given(PLACES, PLACES, st.lists(st.tuples(st.integers(0, 25), PLACES, PLACES), min_size=1, max_size=4))
def test_polygon_fills_each_row_between_its_edges(x, y, steps):
    """Two boundaries going down from one point: rows are filled from the leftmost to the rightmost edge."""
    down, left, right = y, [(x, y)], [(x, y)]
    for drop, a, b in steps:
        down += drop
        left.append((min(a, b), down))
        right.append((max(a, b), down))
    points = left + right[::-1]
    expected = np.zeros((30, 20), dtype=bool)
    for i in range(30):
        crossings = []
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
            if ay == by == i:
                crossings += [ax, bx]
            elif min(ay, by) <= i <= max(ay, by) and ay != by:
                (ay, ax), (by, bx) = sorted([(ay, ax), (by, bx)])
                crossings.append(ax + math.floor((bx - ax) * (i - ay) / (by - ay) + 0.5))
        if crossings:
            expected[i, max(0, min(crossings)) : max(0, max(crossings) + 1)] = True
    np.testing.assert_array_equal(drawn("polygon", points), expected)


@settings(deadline=None, max_examples=30)
@given(PLACES, PLACES, PLACES, PLACES)
def test_rectangle_is_cut_at_the_border(x0, y0, x1, y1):
    expected = [[x0 <= j <= x1 and y0 <= i <= y1 for j in range(20)] for i in range(30)]
    np.testing.assert_array_equal(drawn("rectangle", x0, y0, x1, y1), expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_resample_is_area_mean_down_and_linear_up(have, want, seed):
    column = Draws(seed).bytes((have, 1, 1))
    if want <= have:  # each new row covers have / want old ones
        fine = np.repeat(column.ravel(), want).reshape(want, have)
        expected = fine.mean(1)
    else:
        expected = np.interp((np.arange(want) + 0.5) * have / want - 0.5, np.arange(have), column.ravel())
    np.testing.assert_allclose(resample(column, want, 1).ravel(), expected, atol=1.6)
    np.testing.assert_array_equal(resample(column.reshape(1, have, 1), 1, want).ravel(),
                                  resample(column, want, 1).ravel())  # fmt: skip


# what is seen -----------------------------------------------------------------------------------------------


def share(who, yaw, material, second=False):
    """Return how many pixels of a figure facing ``yaw`` degrees are of a material."""
    pose = Pose(96, 370, 340, math.radians(yaw), 0.3, ("swing", "swing"), 0.02, 0.1, 1)
    codes = Figure(who, pose).codes()
    return int(((codes % SECOND // 2 == material) & ((codes >= SECOND) | (not second))).sum())


def test_front_and_back_show_different_things():
    who = dataclasses.replace(
        draw_identity(0, "target", PERSON, 1), upper_kind="jacket", upper_pattern="plain", bag="backpack",
        hair_style="short", scarf=None,
    )  # fmt: skip
    assert share(who, 0, INNER) > 1000 and share(who, 180, INNER) == 0
    assert share(who, 180, BAG) > 2 * share(who, 0, BAG) > 0
    assert share(who, 0, SKIN) > share(who, 90, SKIN) > share(who, 180, SKIN) + 100
    tee = dataclasses.replace(who, upper_kind="tee", upper_pattern="logo", bag="none")
    assert share(tee, 0, UPPER, second=True) > 300 and share(tee, 180, UPPER, second=True) == 0
    assert share(tee, 0, UPPER) > 1.15 * share(tee, 90, UPPER)  # narrower from the side


def test_junk_is_not_a_whole_person():
    """Averaged over many images, a person stands in the middle of a picture and junk does not."""
    def middle(kind):
        images = np.stack([pixels(n, 1, 0, kind=kind) for n in range(40)])
        return images.std(0)[40:100, 26:38].mean()

    assert middle(PERSON) > 1.15 * middle(JUNK)


def test_camera_gap_can_be_turned_down():
    def spread(gap):
        images = [pixels(p, c, 0, camera_gap=gap) for c in range(1, 5) for p in range(8)]
        return np.stack(images)[:, 40:90, 24:40].mean((1, 2)).reshape(4, 8, 3).mean(1).std(0).mean()

    assert spread(1.0) > 2 * spread(0.0)
