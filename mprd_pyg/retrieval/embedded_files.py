"""Features of image files, part by part, past those that cannot be read."""
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from mprd_pyg import processes
from mprd_pyg.data.images import read_image
from mprd_pyg.models.embedding import embed_images


def embed_files(embedder: nn.Module, root: Path, paths: Sequence[str], size: tuple[int, int],
                device: str | torch.device = "cpu", batch_size: int = 64, workers: int = 4, progress: bool = True,
                chunk: int = 512) -> Iterator[tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]]:
    """Embed image files; the next part is decoded while one is embedded. Several processes share a part's batches.

    Args:
        embedder: (B, 3, H, W) normalised images -> (B, M, d).
        root: folder that ``paths`` are relative to.
        paths: of the files; rank 0's are embedded.
        size: (H, W) that images are resized to.
        device: where the embedder runs.
        batch_size: images per forward pass.
        workers: threads that decode.
        progress: show a bar.
        chunk: files per part.

    Yields:
        places among ``paths`` (n,), their unit features (n, M d) float32, and (path, reason) of what is no image.
    """
    paths = processes.broadcast(paths)

    def read(place: int) -> Tensor:
        return read_image(root / paths[place], size)

    def read_or_say(place: int) -> Tensor | str:
        try:
            return read(place)
        except (ValueError, FileNotFoundError) as error:
            return str(error.__cause__ or error)

    def own(part: range) -> list[int]:
        return [place for batch in processes.share([part[i:i + batch_size] for i in range(0, len(part), batch_size)])
                for place in batch]

    parts = [range(len(paths))[start:start + chunk] for start in range(0, len(paths), chunk)]
    with ThreadPoolExecutor(workers) as pool, tqdm(total=len(paths), desc="images", unit="image", leave=False,
                                                   disable=None if progress else True) as bar:
        ahead = pool.map(read_or_say, own(parts[0])) if parts else None
        for number, part in enumerate(parts):
            images = _Decoded(read, zip(own(part), ahead, strict=True))
            if number + 1 < len(parts):
                ahead = pool.map(read_or_say, own(parts[number + 1]))
            failed = {place: image for place, image in images.items() if isinstance(image, str)}
            failed = {place: reason for of_rank in processes.gather_values(failed) for place, reason in of_rank.items()}
            good = np.array([place for place in part if place not in failed], dtype=np.int64)
            bad = [(paths[place], reason) for place, reason in failed.items()]
            features = np.zeros((0, 0), np.float32)
            if len(good):
                x = embed_images(embedder, images, torch.from_numpy(good), device=device, batch_size=batch_size)
                features = F.normalize(x.flatten(1).float(), dim=1).cpu().numpy()
            yield good, features, bad
            bar.update(len(part))


class _Decoded(dict[int, Tensor | str]):
    """What this process has read; it reads another file where unreadable ones before shift that into its batches."""

    def __init__(self, read: Callable[[int], Tensor], images: Iterable[tuple[int, Tensor | str]]):
        super().__init__(images)
        self.read = read

    def __missing__(self, place: int) -> Tensor:
        return self.read(place)
