"""Group numbers last: the same groups keep theirs, and every other change is told."""
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mprd_pyg.grouping import GroupChange, keep_numbers


@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 4)), min_size=1, max_size=25), st.integers(0, 5))
def test_changes_tell_every_difference_and_numbers_are_not_given_twice(both, new):
    before, found = (np.array(column) for column in zip(*both, strict=True))
    found = np.concatenate([found, np.arange(new) + 2])
    label, changes, free = keep_numbers(before, found, 5)
    assert all((label == label[i]).tolist() == (found == found[i]).tolist() for i in range(len(found)))  # same groups
    for i, (old, now) in enumerate(zip(before, label, strict=False)):
        told = [change for change in changes if (change.before, change.after) == (old, now)]
        assert len(told) == (old != now), i
    assert sum(change.images for change in changes) == (before != label[:len(before)]).sum()
    assert all(change.gone == (change.before not in label) for change in changes if change.before >= 0)
    assert free == max(5, label.max(initial=-1) + 1)
    # the largest share of all keeps its number
    cells = {(old, now): ((before == old) & (found[:len(before)] == now)).sum()
             for old, now in both if min(old, now) >= 0}
    if cells:
        assert any(label[:len(before)][(before == old) & (found[:len(before)] == now)][0] == old
                   for (old, now), count in cells.items() if count == max(cells.values()))


def test_a_merge_a_move_and_a_first_group():
    before = np.array([0, 0, 0, 1, 1, 2, 2, 2, -1])
    found = np.array([7, 7, 7, 7, 7, 3, 3, 9, 9, 9, 4, 4])
    label, changes, free = keep_numbers(before, found, 3)
    assert label.tolist() == [0] * 5 + [2, 2] + [3, 3, 3] + [4, 4]
    assert free == 5
    assert [str(change) for change in changes] == [
        "1 image of no group joined group 3", "group 1 was merged into group 0 (2 images)",
        "1 image of group 2 moved to group 3"]
    assert str(GroupChange(2, -1, 3, False)) == "3 images of group 2 left it and are in no group"
