"""Lists of neighbours in one's own camera and in all others, against a sort of all rows."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.graph.search import lists as module
from mprd_pyg.graph.search.lists import camera_lists, nearest_lists


def exact_features(n, seed):
    """Unit rows of plus and minus a quarter: products are exact, and many are equal."""
    return torch.where(torch.randn(n, 16, generator=torch.Generator().manual_seed(seed)) > 0, 0.25, -0.25)


def slow_lists(x, camera, k, same):
    answer = []
    for i in range(len(x)):
        similarity = (x @ x[i]).tolist()
        near = sorted((-similarity[j], j) for j in range(len(x)) if j != i and (camera[j] == camera[i]) == same)
        answer.append(([j for _, j in near] + [-1] * k)[:k])
    return answer


@given(st.integers(1, 60), st.integers(1, 6), st.integers(0, 9), st.integers(0, 9), st.integers(2, 20),
       st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_equals_a_sort(n, cameras, k_own, k_other, size, seed):
    x = exact_features(n, seed)
    camera = 7 - 5 * torch.randint(cameras, (n,), generator=torch.Generator().manual_seed(seed))
    expected = slow_lists(x, camera, k_own, True), slow_lists(x, camera, k_other, False)
    for own, other in (camera_lists(x, camera, k_own, k_other), camera_lists(x, camera, k_own, k_other, "auto"),
                       module._in_one_pass(x, camera, k_own, k_other, size)):  # many blocks per camera
        assert (own.tolist(), other.tolist()) == expected
    assert nearest_lists(x, 5).tolist() == slow_lists(x, [0] * n, 5, True)


def test_threads_change_nothing():
    x, camera, threads = exact_features(3000, 0), torch.arange(3000) % 7, torch.get_num_threads()
    answers = []
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            answers.append(module._in_one_pass(x, camera, 5, 9, 64))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*answers, strict=True))


def test_bad_input():
    with pytest.raises(ValueError, match="10 rows, 3 cameras"):
        camera_lists(exact_features(10, 0), torch.zeros(3), 2, 2)
