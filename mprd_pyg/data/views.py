"""Random views of images that depend only on (seed, epoch, image), never on workers or on what ran before."""
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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


class SeededViews(Dataset):
    """Views of the images of ``store``: item i is (view, i), drawn from the random state of (seed, i).

    Args:
        store: indexable, i -> uint8 (3, H, W).
        view: the transform; it draws from torch's global generator, which is put back afterwards.
        seed: of this pass; give each epoch its own (see :func:`stream_seed`).
    """

    def __init__(self, store: Sequence[Tensor], view: v2.Transform, seed: int = 0):
        self.store, self.view, self.seed = store, view, seed

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        before = torch.get_rng_state()
        # Not torch.manual_seed: that also queues a seed for every CUDA device, each time with a stack trace.
        torch.default_generator.manual_seed(stream_seed(self.seed, i))
        try:
            return self.view(self.store[i]), i
        finally:
            torch.set_rng_state(before)


def stream_seed(*parts: int) -> int:
    """One 63-bit seed from several integers (a splitmix step each), for independent random streams."""
    state = 0
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def stream(*parts: int) -> torch.Generator:
    """A generator on the CPU seeded by :func:`stream_seed`."""
    return torch.Generator().manual_seed(stream_seed(*parts))


def shuffled_batches(rows: Tensor, batch_size: int, generator: torch.Generator, least: int = 2) -> list[list[int]]:
    """Rows in random order, cut into batches; a last batch of fewer than ``least`` rows is left out."""
    order = rows[torch.randperm(len(rows), generator=generator)]
    batches = [part.tolist() for part in order.split(batch_size)]
    return batches if len(batches[-1]) >= least or len(batches) == 1 else batches[:-1]


def load(views: SeededViews, batches: list[list[int]], workers: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Iterate over (images (B, 3, H, W), rows (B,)) of the given batches."""
    # Its own generator: a loader would otherwise draw a number from the global one, which a resumed run would miss.
    return iter(DataLoader(views, batch_sampler=batches, num_workers=workers, pin_memory=torch.cuda.is_available(),
                           generator=torch.Generator()))
