"""Camera styles from the cameras' own colours: a stand-in, under its own name, for CamStyle's generated images."""
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mprd_pyg.data.styles.colour import bytes_to_lab, lab_to_bytes, rgb_to_lab
from mprd_pyg.files import replacing
from mprd_pyg.random_streams import stream


@dataclass(frozen=True)
class CameraStatistics:
    """Mean and covariance of each camera's colours in CIELAB, and the maps between cameras they give.

    A camera's pixels become another's by the linear map that carries the one Gaussian to the other with the least
    displacement (Monge; Pitie and Kokaram, CVMP 2007): with covariances S and T,
    :math:`A = S^{-1/2} (S^{1/2} T S^{1/2})^{1/2} S^{-1/2}`, and x goes to A (x - mean_S) + mean_T. The map belongs to
    the pair of cameras, not to the image: how an image differs from its camera's average stays in it.

    Args:
        cameras: (C,) camera ids, ascending.
        mean: (C, 3) float64.
        covariance: (C, 3, 3) float64.
        images: (C,) how many images they were estimated from.
    """

    cameras: Tensor
    mean: Tensor
    covariance: Tensor
    images: Tensor

    @classmethod
    def estimate(cls, store: Sequence[Tensor], camera_id: Tensor, sample: int = 128, seed: int = 0,
                 progress: bool = False) -> "CameraStatistics":
        """Estimate them from up to ``sample`` random images, uint8 (3, H, W), of each camera in ``camera_id`` (N,)."""
        cameras, camera = camera_id.cpu().unique(return_inverse=True)
        moments = torch.zeros(len(cameras), 13, dtype=torch.float64)    # pixels, sums, sums of products
        chosen = []
        for c in range(len(cameras)):
            rows = (camera == c).nonzero()[:, 0]
            order = torch.randperm(len(rows), generator=stream(seed, 31, int(cameras[c])))
            chosen += [(c, int(row)) for row in rows[order[:sample]]]
        for c, row in tqdm(chosen, desc="camera colours", leave=False, disable=None if progress else True):
            x = rgb_to_lab(store[row].double() / 255).flatten(1)
            moments[c] += torch.cat([torch.tensor([x.shape[1]]).double(), x.sum(1), (x @ x.T).flatten()])
        mean = moments[:, 1:4] / moments[:, :1]
        covariance = (moments[:, 4:] / moments[:, :1]).view(-1, 3, 3) - mean[:, :, None] * mean[:, None]
        images = torch.bincount(torch.tensor([c for c, _ in chosen]), minlength=len(cameras))
        return cls(cameras, mean, covariance, images)

    def maps(self) -> tuple[Tensor, Tensor]:
        """Matrices A (C, C, 3, 3) and offsets b (C, C, 3), float64: x of camera s becomes A[s, t] x + b[s, t] in t."""
        # A tenth of a unit of L*, a*, b* is invisible; it keeps a camera of a single grey invertible.
        covariance = self.covariance + 0.01 * torch.eye(3, dtype=torch.float64)
        root, inverse = _power(covariance, 0.5), _power(covariance, -0.5)
        middle = _power(root[:, None] @ covariance[None] @ root[:, None], 0.5)
        matrix = inverse[:, None] @ middle @ inverse[:, None]
        offset = self.mean[None] - (matrix @ self.mean[:, None, :, None])[..., 0]
        return matrix, offset

    def save(self, path: str | Path, key: dict[str, Any]) -> None:
        """Write them as JSON, whole or not at all, with what they were estimated from."""
        text = json.dumps({"key": key, "cameras": self.cameras.tolist(), "mean": self.mean.tolist(),
                           "covariance": self.covariance.tolist(), "images": self.images.tolist()}, indent=1)
        with replacing(path) as part:
            part.write_text(text)

    @classmethod
    def load(cls, path: str | Path, key: dict[str, Any]) -> "CameraStatistics | None":
        """Read them; None if there are none of that key, or the file is damaged."""
        try:
            saved = json.loads(Path(path).read_text())
            if saved["key"] != json.loads(json.dumps(key)):
                return None
            cameras, images = (torch.tensor(saved[name], dtype=torch.int64) for name in ("cameras", "images"))
            mean, covariance = (torch.tensor(saved[name], dtype=torch.float64) for name in ("mean", "covariance"))
            found = cls(cameras, mean.view(len(cameras), 3), covariance.view(len(cameras), 3, 3), images)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError):
            return None
        return found if bool(mean.isfinite().all() and covariance.isfinite().all()) else None


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of symmetric positive matrices."""
    value, vector = torch.linalg.eigh(matrix)
    return vector @ (value.clamp_min(1e-12).pow(exponent)[..., None] * vector.mT)


class StyleTransfer:
    """Images of one camera in the colours of another, by the maps of ``statistics``."""

    def __init__(self, statistics: CameraStatistics):
        self.cameras = statistics.cameras
        self.matrix, self.offset = (part.float() for part in statistics.maps())

    def __call__(self, images: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """Transfer a batch; one's own camera changes nothing.

        Args:
            images: (B, 3, H, W) uint8, on any device.
            source: (B,) their cameras, by position in ``cameras``, on the CPU.
            target: (B,) the cameras wanted, likewise.

        Returns:
            (B, 3, H, W) uint8.
        """
        changed = (source != target).nonzero()[:, 0]
        if not len(changed):
            return images
        matrix, offset = (part[source[changed], target[changed]].to(images.device, non_blocking=True)
                          for part in (self.matrix, self.offset))
        changed = changed.to(images.device, non_blocking=True)
        lab = bytes_to_lab(images[changed])
        lab = (matrix @ lab.flatten(2) + offset[..., None]).view(lab.shape)
        result = images.clone()
        result[changed] = lab_to_bytes(lab)
        return result


def positions(cameras: Tensor, camera_id: Tensor) -> Tensor:
    """(N,) where each camera id stands among the sorted ``cameras``; an unknown one raises ``ValueError``."""
    place = np.searchsorted(cameras.numpy(), camera_id.cpu().numpy())
    if bool((place == len(cameras)).any()) or bool((cameras.numpy()[place] != camera_id.cpu().numpy()).any()):
        raise ValueError(f"camera style knows the cameras {cameras.tolist()}; the images have "
                         f"{camera_id.unique().tolist()}")
    return torch.from_numpy(place)
