"""Random views of images that depend only on (seed, epoch, image), never on workers or on what ran before."""
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from mprd_pyg.random_streams import stream_seed

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CAMERA, VIEW = 1, 2     # purposes of :func:`~mprd_pyg.random_streams.row_uniform`


def plain_view() -> v2.Transform:
    """uint8 (3, H, W) -> normalised float, for evaluation."""
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])


def training_view(height: int, width: int, perturbed: bool = False, min_area: float = 0.64, rotation: float = 10.0,
                  jitter: float = 0.2, erasing: float = 0.5) -> v2.Transform:
    """The augmentation of MPRD (Ji et al., ICCV 2021, Sec. 5.2), with the ranges of MLCR's released code.

    Args:
        height: H of the output.
        width: W of the output.
        perturbed: add random grayscale and Gaussian blur, the perturbed view x' of Sec. 4.2.
        min_area: least area of the crop, at height/width between 2 and 3.
        rotation: largest rotation in degrees.
        jitter: brightness, contrast and saturation factor range.
        erasing: probability of erasing 2 to 20 % of the area.
    """
    steps = [v2.RandomResizedCrop((height, width), scale=(min_area, 1.0), ratio=(1 / 3, 1 / 2), antialias=True),
             v2.RandomHorizontalFlip(), v2.RandomRotation(rotation), v2.ColorJitter(jitter, jitter, jitter)]
    if perturbed:
        steps += [v2.RandomGrayscale(0.5), v2.RandomApply([v2.GaussianBlur(5, (0.1, 2.0))], 0.5)]
    return v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
                       v2.RandomErasing(erasing, scale=(0.02, 0.2))])


class CameraStyle(Protocol):
    """Puts images into a random camera's style: first what is read, then what is done to whole batches."""

    def read(self, store: Sequence[Tensor], rows: Sequence[int], seed: int) -> Tensor:
        """Read (B, 3, H, W) uint8."""

    def apply(self, images: Tensor, rows: Sequence[int], seed: int) -> Tensor:
        """Finish them on their device."""


class StyledView:
    """A view of the image in another camera's style.

    Args:
        view: what is done then: a transform of one image, or a :class:`BatchView`.
        style: the camera style.
    """

    def __init__(self, view: Any, style: CameraStyle):
        self.view, self.style = view, style


class BatchView(Protocol):
    """A view of a whole batch at once, on the device; ``batched`` tells it from a transform of one image."""

    batched: bool
    device: torch.device

    def __call__(self, images: Tensor, rows: Sequence[int], seed: int) -> Tensor:
        """uint8 (B, 3, H, W) -> normalised float; row i's view depends on (seed, i) only."""


class SeededViews(Dataset):
    """Views of the images of ``store``: item i is (view, i), drawn from the random state of (seed, i).

    Args:
        store: indexable, i -> uint8 (3, H, W).
        view: the transform; it draws from torch's global generator, which is put back afterwards. Also a
            :class:`StyledView`; with a :class:`BatchView` items are images still to be viewed by :func:`load`.
        seed: of this pass; give each epoch its own (see :func:`stream_seed`).
    """

    def __init__(self, store: Sequence[Tensor], view: Any, seed: int = 0):
        self.store, self.seed = store, seed
        self.view, self.style = (view.view, view.style) if isinstance(view, StyledView) else (view, None)
        self.batched = getattr(self.view, "batched", False)

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        if self.batched:
            return self.finish(*self.__getitems__([i]))[0][0], i
        if self.style is None:
            image = self.store[i]
        else:
            image = self.style.apply(self.style.read(self.store, [i], self.seed), [i], self.seed)[0]
        before = torch.get_rng_state()
        # Not torch.manual_seed: that also queues a seed for every CUDA device, each time with a stack trace.
        torch.default_generator.manual_seed(stream_seed(self.seed, i))
        try:
            return self.view(image), i
        finally:
            torch.set_rng_state(before)

    def __getstate__(self) -> dict:
        # A worker that only reads has no use for a view on a device.
        return {**self.__dict__, "view": None} if self.batched else self.__dict__

    def __getitems__(self, rows: list[int]) -> Any:
        """What a loader asks for: a list of items, or (images, rows) of a whole batch still to be viewed."""
        if not self.batched:
            return [self[i] for i in rows]
        images = read_batch(self.store, rows) if self.style is None else self.style.read(self.store, rows, self.seed)
        return images, torch.tensor(rows)

    def finish(self, images: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The batched view of what :meth:`__getitems__` read."""
        images = images.to(self.view.device, non_blocking=True)
        # On a CPU a few images at a time stay in its cache: three times faster than batches of 32.
        size, done = 8 if images.device.type == "cpu" else max(1, len(rows)), []
        for part, some in zip(images.split(size), rows.split(size), strict=True):
            styled = part if self.style is None else self.style.apply(part, some, self.seed)
            done.append(self.view(styled, some, self.seed))
        return torch.cat(done), rows


def read_batch(store: Sequence[Tensor], rows: Sequence[int]) -> Tensor:
    """(B, 3, H, W) uint8, at once where the store can."""
    batch = getattr(store, "batch", None)
    return batch(rows) if batch is not None else torch.stack([store[i] for i in rows])


def shuffled_batches(rows: Tensor, batch_size: int, generator: torch.Generator, least: int = 2) -> list[list[int]]:
    """Rows in random order, cut into batches; a last batch of fewer than ``least`` rows is left out."""
    order = rows[torch.randperm(len(rows), generator=generator)]
    batches = [part.tolist() for part in order.split(batch_size)]
    return batches if len(batches[-1]) >= least or len(batches) == 1 else batches[:-1]


def load(views: SeededViews, batches: list[list[int]], workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over (images (B, 3, H, W), rows (B,)) of the given batches."""
    # Its own generator: a loader would otherwise draw a number from the global one, which a resumed run would miss.
    loader = iter(DataLoader(views, batch_sampler=batches, num_workers=workers, pin_memory=torch.cuda.is_available(),
                             generator=torch.Generator(), collate_fn=_unchanged if views.batched else None))
    return (views.finish(images, rows) for images, rows in loader) if views.batched else loader


def _unchanged(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch
