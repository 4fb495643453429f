"""Random streams against splitmix64 in plain integers, and against values that must never change."""
import torch
from hypothesis import given
from hypothesis import strategies as st

from mprd_pyg.random_streams import row_uniform, splitmix64, stream, stream_seed

UINT64 = 2**64 - 1


def reference(x):
    """Steele, Lea, Flood, "Fast splittable pseudorandom number generators", with unsigned integers."""
    x = (x + 0x9E3779B97F4A7C15) & UINT64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & UINT64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & UINT64
    return x ^ (x >> 31)


@given(st.lists(st.integers(-2**63, 2**63 - 1), min_size=1))
def test_splitmix64_of_tensors_and_integers_is_the_reference(values):
    expected = [reference(value & UINT64) for value in values]
    assert [splitmix64(value) & UINT64 for value in values] == expected
    assert [value & UINT64 for value in splitmix64(torch.tensor(values)).tolist()] == expected


def test_the_first_output_is_the_published_one():
    assert splitmix64(0) & UINT64 == 0xE220A8397B1DCDAF  # of java.util.SplittableRandom(0)


def test_seeds_are_distinct_and_never_change():
    seeds = {stream_seed(a, b) for a in range(30) for b in range(30)}
    assert len(seeds) == 900 and all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed(1, 2) != stream_seed(2, 1)
    assert stream_seed(1, 3, 5) == 351682037112964008  # or resumed runs would change
    assert stream(1, 3, 5).initial_seed() == stream_seed(1, 3, 5)


@given(st.integers(0, 2**63 - 1), st.lists(st.integers(0, 2**40), min_size=1, max_size=3), st.integers(0, 9))
def test_uniform_numbers_are_those_of_the_named_streams(seed, rows, purpose):
    u = row_uniform(seed, rows, purpose, 4)
    assert u.dtype == torch.float64 and u.shape == (len(rows), 4)
    for b, row in enumerate(rows):
        for k in range(4):
            assert int(u[b, k] * 2**53) == stream_seed(seed, row, purpose, k) >> 10
