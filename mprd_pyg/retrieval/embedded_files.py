"""Features of image files, part by part, past those that cannot be read."""
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from mprd_pyg.data.images import read_image
from mprd_pyg.models.embedding import embed_images


def embed_files(embedder: nn.Module, root: Path, paths: Sequence[str], size: tuple[int, int],
                device: str | torch.device = "cpu", batch_size: int = 64, workers: int = 4, progress: bool = True,
                chunk: int = 512) -> Iterator[tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]]:
    """Embed image files; the next part is decoded while one is embedded.

    Args:
        embedder: (B, 3, H, W) normalised images -> (B, M, d).
        root: folder that ``paths`` are relative to.
        paths: of the files.
        size: (H, W) that images are resized to.
        device: where the embedder runs.
        batch_size: images per forward pass.
        workers: threads that decode.
        progress: show a bar.
        chunk: files per part.

    Yields:
        places among ``paths`` (n,), their unit features (n, M d) float32, and (path, reason) of what is no image.
    """
    def read(path: str) -> Tensor | str:
        try:
            return read_image(root / path, size)
        except (ValueError, FileNotFoundError) as error:
            return str(error.__cause__ or error)

    parts = [paths[start:start + chunk] for start in range(0, len(paths), chunk)]
    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(paths), desc="images", unit="image", leave=False,
                                                   disable=None if progress else True) as bar:
        ahead = pool.map(read, parts[0]) if parts else None
        for number, part in enumerate(parts):
            images = list(ahead)
            if number + 1 < len(parts):
                ahead = pool.map(read, parts[number + 1])
            good = np.array([place for place, image in enumerate(images) if not isinstance(image, str)], dtype=np.int64)
            bad = [(path, image) for path, image in zip(part, images, strict=True) if isinstance(image, str)]
            features = np.zeros((0, 0), np.float32)
            if len(good):
                x = embed_images(embedder, [images[place] for place in good], device=device, batch_size=batch_size)
                features = F.normalize(x.flatten(1).float(), dim=1).cpu().numpy()
            yield number * chunk + good, features, bad
            bar.update(len(part))
