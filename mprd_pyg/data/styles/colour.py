"""sRGB and CIELAB (IEC 61966-2-1; CIE 1976, white point D65), on tensors: exactly, and by tables for bytes."""
import functools

import torch
from torch import Tensor

_TO_XYZ = torch.tensor([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                        [0.0193339, 0.1191920, 0.9503041]], dtype=torch.float64)
_WHITE = torch.tensor([0.95047, 1.0, 1.08883], dtype=torch.float64)
_TO_LAB = torch.tensor([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]], dtype=torch.float64)
_KNEE = 6 / 29


def rgb_to_lab(image: Tensor) -> Tensor:
    """sRGB in 0..1, (..., 3, H, W), to L* (0..100), a*, b* of the same shape."""
    return _offset(_mix(_TO_LAB, _root(_mix(_TO_XYZ / _WHITE[:, None], _linear(image)))), -16.0)


def bytes_to_lab(image: Tensor) -> Tensor:
    """uint8 sRGB to L*, a*, b*, several times faster: the powers are looked up, which moves L* by 0.02 at most."""
    linear, root, _ = _tables(image.device)
    t = _mix(_TO_XYZ / _WHITE[:, None], linear.take(image.long()))
    return _offset(_mix(_TO_LAB, root.take(t.mul_(len(root) - 1).round_().long().clamp_(0, len(root) - 1))), -16.0)


def lab_to_bytes(lab: Tensor) -> Tensor:
    """L*, a*, b*, (..., 3, H, W), to uint8 sRGB, at most one level from the exact value.

    Colours that no screen shows are clipped.
    """
    f = _mix(torch.linalg.inv(_TO_LAB), _offset(lab, 16.0))
    t = torch.where(f > _KNEE, f.pow(3), f.sub(4 / 29).mul_(3 * _KNEE ** 2))
    linear, gamma = _mix(torch.linalg.inv(_TO_XYZ) * _WHITE, t).clamp_(0, 1), _tables(lab.device)[2]
    return gamma.take(linear.mul_(len(gamma) - 1).round_().long())


def _linear(image: Tensor) -> Tensor:
    return torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055).pow(2.4))


def _gamma(linear: Tensor) -> Tensor:
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp_min(1e-9).pow(1 / 2.4) - 0.055)


def _root(t: Tensor) -> Tensor:
    return torch.where(t > _KNEE ** 3, t.clamp_min(1e-9).pow(1 / 3), t / (3 * _KNEE ** 2) + 4 / 29)


@functools.cache
def _tables(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    fine = torch.linspace(0, 1, 2**16, dtype=torch.float64)
    return (_linear(torch.arange(256, dtype=torch.float64) / 255).float().to(device), _root(fine).float().to(device),
            (_gamma(fine) * 255).round().to(torch.uint8).to(device))


def _mix(matrix: Tensor, image: Tensor) -> Tensor:
    """``matrix`` (3, 3) on the channels of (..., 3, H, W)."""
    matrix = matrix.to(image.device, image.dtype)
    return (matrix @ image.flatten(-2)).view(image.shape)


def _offset(lab: Tensor, lightness: float) -> Tensor:
    return lab + torch.tensor([lightness, 0, 0], dtype=lab.dtype, device=lab.device).view(3, 1, 1)
