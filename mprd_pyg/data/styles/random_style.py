"""Training images in a random camera's style, drawn from the stream of (seed, image): CamStyle's or our own."""
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mprd_pyg.data.styles.camstyle import style_columns
from mprd_pyg.data.styles.colour_statistics import CameraStatistics, StyleTransfer, positions
from mprd_pyg.data.table import ImageTable
from mprd_pyg.data.views import CAMERA, read_batch
from mprd_pyg.random_streams import row_uniform


class StatisticsStyle:
    """Each image in the colours of a camera drawn uniformly, its own included; ``camera_id`` (N,) are the images'."""

    def __init__(self, statistics: CameraStatistics, camera_id: Tensor):
        self.transfer, self.own = StyleTransfer(statistics), positions(statistics.cameras, camera_id)

    def read(self, store: Sequence[Tensor], rows: Sequence[int], seed: int) -> Tensor:
        """The images as they are, (B, 3, H, W) uint8."""
        return read_batch(store, rows)

    def draw(self, rows: Sequence[int], seed: int) -> Tensor:
        """(B,) the cameras drawn, by their position among the sorted ones."""
        return _choose(rows, seed, torch.full((len(rows),), len(self.transfer.cameras)))

    def apply(self, images: Tensor, rows: Sequence[int], seed: int) -> Tensor:
        """The images in the colours of the cameras drawn, on the images' device."""
        return self.transfer(images, self.own[torch.as_tensor(rows)], self.draw(rows, seed))


class CamStyleImages:
    """Each image, or the one that CamStyle made of it for another camera: one of them, drawn uniformly.

    Args:
        frame: training table with the columns of :func:`~mprd_pyg.data.find_camstyle`.
        open_store: makes a store of the generated images, a list of paths below ``attrs["style_root"]``.
    """

    def __init__(self, frame: ImageTable, open_store: Callable[[list[str]], Sequence[Tensor]]):
        made = frame[style_columns(frame)].to_numpy(dtype=object)
        there = torch.from_numpy(made != "")
        if not bool(there.any()):
            raise ValueError(f"there are no CamStyle images in {frame.attrs.get('style_root')}")
        self.count, self.num_made = 1 + there.sum(1), int(there.sum())
        number = torch.where(there, there.flatten().cumsum(0).view(there.shape) - 1, -1)
        # Position 0 is the image itself, then its generated ones.
        order = torch.cat([torch.ones(len(frame), 1, dtype=torch.bool), there], dim=1).int().argsort(
            dim=1, descending=True, stable=True)
        self.choice = torch.cat([torch.full((len(frame), 1), -1), number], dim=1).gather(1, order)
        self.made = open_store(made[made != ""].tolist())

    def draw(self, rows: Sequence[int], seed: int) -> Tensor:
        """(B,) which generated image was drawn for each row, -1 for the image itself."""
        rows = torch.as_tensor(rows)
        return self.choice[rows, _choose(rows, seed, self.count[rows])]

    def read(self, store: Sequence[Tensor], rows: Sequence[int], seed: int) -> Tensor:
        """The images drawn, (B, 3, H, W) uint8."""
        drawn = self.draw(rows, seed)
        own, places = torch.as_tensor(rows)[drawn < 0], drawn[drawn >= 0]
        result = None
        for mask, part, wanted in ((drawn < 0, store, own), (drawn >= 0, self.made, places)):
            if len(wanted):
                images = read_batch(part, wanted.tolist())
                result = images.new_empty((len(drawn), *images.shape[1:])) if result is None else result
                result[mask] = images
        return result

    def apply(self, images: Tensor, rows: Sequence[int], seed: int) -> Tensor:
        """Nothing is left to do."""
        return images


def _choose(rows: Sequence[int], seed: int, count: Tensor) -> Tensor:
    """(B,) a number below ``count`` for each row."""
    return (row_uniform(seed, rows, CAMERA, 1)[:, 0] * count).long().clamp_max(count - 1)
