"""Features before the first epoch, as training will see them."""
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mprd_pyg.data.views import stream
from mprd_pyg.models.embedding import embed_images, map_images


def feature_maker(mode: str) -> Callable[..., Tensor]:
    """:func:`embed_images` for the mode ``"eval"``, :func:`training_mode_features` for ``"train"``."""
    return embed_images if mode == "eval" else training_mode_features


def training_mode_features(embedder: nn.Module, store: Sequence[Tensor], batch_size: int = 80, seed: int = 0,
                           **options) -> Tensor:
    """Features that the training mode's BatchNorm gives, leaving its running statistics as they are.

    The batches are full and drawn at random, as in training: tables are sorted by identity, and a small last
    batch has poor statistics (it is filled up with other images).

    Args:
        embedder: (B, 3, H, W) -> (B, M, d).
        store: N images, i -> uint8 (3, H, W).
        batch_size: images per batch.
        seed: of their order, and of a random view.
        options: of :func:`mprd_pyg.models.embedding.map_images`.

    Returns:
        (N, M, d) features, in the order of the images.
    """
    count = len(store)
    size = min(batch_size, count)
    rows = torch.randperm(count, generator=stream(seed, 0))
    padded = torch.cat([rows, rows[:(-count) % size]])
    before = {name: buffer.clone() for name, buffer in embedder.named_buffers()}
    training = embedder.training
    embedder.train()
    try:
        x = map_images(embedder, store, padded, batch_size=size, seed=seed, **options)
    finally:
        with torch.no_grad():
            for name, buffer in embedder.named_buffers():
                buffer.copy_(before[name])
        embedder.train(training)
    return x[rows.argsort().to(x.device)]
