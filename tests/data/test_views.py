"""Views depend on (seed, image) only."""
import torch

from mprd_pyg.data.views import SeededViews, load, plain_view, shuffled_batches, training_view
from mprd_pyg.random_streams import stream


def store(n=7):
    return [torch.randint(256, (3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
            for i in range(n)]


def test_views_do_not_depend_on_order_workers_or_the_global_generator():
    views = SeededViews(store(), training_view(32, 16, perturbed=True), seed=3)
    torch.manual_seed(1)
    forward = [views[i][0] for i in range(7)]
    before = torch.get_rng_state()
    torch.testing.assert_close([views[i][0] for i in reversed(range(7))][::-1], forward, rtol=0, atol=0)
    assert torch.equal(before, torch.get_rng_state())
    images, rows = next(load(views, [[4, 2]], workers=1))
    assert rows.tolist() == [4, 2] and torch.equal(images, torch.stack([forward[4], forward[2]]))
    assert not torch.equal(SeededViews(store(), training_view(32, 16), seed=4)[0][0],
                           SeededViews(store(), training_view(32, 16), seed=3)[0][0])


def test_the_perturbed_view_is_sometimes_grey_and_sometimes_blurred():
    views = SeededViews(store(1) * 60, training_view(32, 16, perturbed=True, erasing=0.0), seed=0)
    mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    grey = [bool((x.permute(1, 2, 0) * std + mean).std(2).max() < 1e-2) for x, _ in (views[i] for i in range(60))]
    assert 15 < sum(grey) < 45


def test_plain_view_normalises():
    assert torch.allclose(plain_view()(torch.full((3, 2, 2), 255, dtype=torch.uint8))[:, 0, 0],
                          (1 - torch.tensor((0.485, 0.456, 0.406))) / torch.tensor((0.229, 0.224, 0.225)))


def test_batches_cover_all_rows_once():
    batches = shuffled_batches(torch.arange(10, 31), 4, stream(0))
    assert [len(batch) for batch in batches] == [4] * 5     # the single last row is left out
    assert len({row for batch in batches for row in batch} & set(range(10, 31))) == 20
    batches = shuffled_batches(torch.arange(10, 32), 4, stream(0))
    assert sorted(row for batch in batches for row in batch) == list(range(10, 32))
