"""Features of many images, without gradients: all of them, or some after the other for one who keeps them."""
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torchvision.transforms import v2
from tqdm import tqdm

from mprd_pyg import processes
from mprd_pyg.data.views import SeededViews, load, plain_view
from mprd_pyg.random_streams import stream

Into = Callable[[Tensor, Tensor], None]
ROWS = 1024  # of each process that are handed on at once


@torch.no_grad()
def map_images(function: Callable[[Tensor], Tensor], store: Sequence[Tensor], rows: Tensor | None = None,
               device: str | torch.device = "cpu", batch_size: int = 64, workers: int = 0,
               view: v2.Transform | None = None, seed: int = 0, progress: str = "",
               into: Into | None = None) -> Tensor | None:
    """Apply ``function`` to views of images, batch by batch; several processes share the batches.

    Args:
        function: (B, 3, H, W) normalised images -> (B, ...).
        store: i -> uint8 (3, H, W).
        rows: (R,) which images; all by default.
        device: where ``function`` runs and the result stays.
        batch_size: images per call.
        workers: processes that read images.
        view: transform; :func:`plain_view` by default.
        seed: of a random view.
        progress: label of a progress bar; none when empty.
        into: takes the results instead: called with the places in ``rows`` of some (P,) and their results (P, ...).

    Returns:
        (R, ...) results in the order of ``rows``; None with ``into``.
    """
    rows = torch.arange(len(store)) if rows is None else rows.cpu()
    if not len(rows):
        raise ValueError("there are no images to embed")
    # The batches themselves do not depend on the number of processes, so that no result does.
    batches = [part.tolist() for part in rows.split(batch_size)]
    sizes = [sum(map(len, part)) for part in processes.shares(batches)]
    own = processes.share(batches) or batches[:1]  # a process without a batch gathers nothing of this one
    loader = load(SeededViews(store, view or plain_view(), seed), own, workers)
    results = (function(to_device(images, device)) for images, _ in
               tqdm(loader, total=len(own), desc=progress, leave=False,
                    disable=None if progress and processes.is_first() else True))
    if into is None:
        return processes.gather(torch.cat(list(results)), sizes)
    starts, most = [sum(sizes[:number]) for number in range(len(sizes))], max(1, ROWS // batch_size) * batch_size
    x = None
    for done in range(0, max(sizes), most):
        sent = [min(max(size - done, 0), most) for size in sizes]
        number = -(-sent[processes.rank()] // batch_size)
        if number or x is None:  # a process that has nothing left to send still shows the shape
            x = torch.cat(list(itertools.islice(results, max(number, 1))))
        place = torch.cat([torch.arange(start + done, start + done + size)
                           for start, size in zip(starts, sent, strict=True)])
        into(place.to(x.device), processes.gather(x, sent))
    return None


def embed_images(embedder: nn.Module, store: Sequence[Tensor], rows: Tensor | None = None,
                 **options) -> Tensor | None:
    """Evaluation-mode features (R, M, d); the module's mode is restored. Options as :func:`map_images`."""
    training = embedder.training
    embedder.eval()
    try:
        return map_images(embedder, store, rows, **options)
    finally:
        embedder.train(training)


def embed_in_training_mode(embedder: nn.Module, store: Sequence[Tensor], batch_size: int = 80, seed: int = 0,
                           into: Into | None = None, **options) -> Tensor | None:
    """Features that the training mode's BatchNorm gives, leaving its running statistics as they are.

    The batches are full and drawn at random, as in training: tables are sorted by identity, and a small last batch has
    poor statistics (it is filled up with other images).

    Args:
        embedder: (B, 3, H, W) -> (B, M, d).
        store: N images, i -> uint8 (3, H, W).
        batch_size: images per batch.
        seed: of their order, and of a random view.
        into: as of :func:`map_images`.
        options: of :func:`map_images`.

    Returns:
        (N, M, d) features, in the order of the images; None with ``into``.
    """
    count = len(store)
    size = min(batch_size, count)
    rows = torch.randperm(count, generator=stream(seed, 0))
    padded = torch.cat([rows, rows[:(-count) % size]])

    def in_order(place: Tensor, features: Tensor) -> None:
        real = place < count
        number, order = padded[place[real].cpu()].to(features.device).sort()
        into(number, features[real][order])
    before = {name: buffer.clone() for name, buffer in embedder.named_buffers()}
    training = embedder.training
    embedder.train()
    try:
        x = map_images(embedder, store, padded, batch_size=size, seed=seed, **options,
                       into=None if into is None else in_order)
    finally:
        with torch.no_grad():
            for name, buffer in embedder.named_buffers():
                buffer.copy_(before[name])
        embedder.train(training)
    return None if x is None else x[rows.argsort().to(x.device)]


def to_device(images: Tensor, device: str | torch.device) -> Tensor:
    """Images on the device, channels last: measured several times faster for ResNets on the CPU."""
    return images.to(device, non_blocking=True, memory_format=torch.channels_last)
