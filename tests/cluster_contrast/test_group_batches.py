"""Batches of P groups x Z images."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.cluster_contrast import group_batches


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 6), st.integers(1, 3),
       st.one_of(st.none(), st.integers(0, 9)), st.integers(0, 10_000))
@settings(deadline=None, max_examples=60)
def test_what_a_batch_holds(groups, p, z, cameras, count, seed):
    generator = torch.Generator().manual_seed(seed)
    group = torch.cat([torch.arange(groups), torch.randint(-1, groups, (40,), generator=generator)])
    camera = torch.randint(cameras, (len(group),), generator=generator)
    batches = group_batches(group, camera, p, z, count, generator=generator)
    assert len(batches) == (groups // min(p, groups) if count is None else count)
    for batch in batches:
        parts = torch.tensor(batch).split(z)
        assert len(parts) == min(p, groups) == len({int(group[part[0]]) for part in parts})
        for part in parts:
            assert bool((group[part] == group[part[0]]).all()) and bool((group[part] >= 0).all())
            members = (group == group[part[0]]).nonzero().flatten()
            others = members[camera[members] != camera[part[0]]]
            if len(others):
                assert bool((camera[part[1:]] != camera[part[0]]).all())
            else:
                others = members[members != part[0]]
            if len(others) >= z:
                assert len(set(part.tolist())) == z


def test_each_group_once_a_pass_and_every_image_in_time():
    group, camera = torch.arange(60) // 6, torch.arange(60) % 2
    generator = torch.Generator().manual_seed(0)
    one_pass = group_batches(group, camera, 5, 4, generator=generator)
    assert sorted(int(group[row]) for batch in one_pass for row in batch[::4]) == list(range(10))
    many = group_batches(group, camera, 5, 4, 80, generator=generator)
    counts = torch.bincount(torch.tensor(many).flatten(), minlength=60)
    assert counts.sum() == 80 * 20 and counts.min() > 10
    again = group_batches(group, camera, 5, 4, generator=torch.Generator().manual_seed(0))
    assert again == one_pass


def test_bad_input():
    generator = torch.Generator()
    with pytest.raises(ValueError, match="no image is in a group"):
        group_batches(torch.tensor([-1]), torch.tensor([0]), generator=generator)
    with pytest.raises(ValueError, match="got 0 and 4"):
        group_batches(torch.tensor([0]), torch.tensor([0]), 0, 4, generator=generator)
