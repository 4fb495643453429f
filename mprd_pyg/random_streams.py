"""Random numbers named by integers (seed, epoch, row, ...): the same on every machine and device, in any order."""
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

Integers = TypeVar("Integers", Tensor, int)


def splitmix64(x: Integers) -> Integers:
    """One step of splitmix64 (Steele et al., OOPSLA 2014): seemingly random integers.

    Args:
        x: int64 tensor, or an int.

    Returns:
        int64 tensor of the same shape, or an int whose low 64 bits are the result.
    """
    # The constants as signed numbers; the masks make int64's arithmetic shifts logical.
    x = x - 7046029254386353131
    x = (x ^ ((x >> 30) & (1 << 34) - 1)) * -4658895280553007687
    x = (x ^ ((x >> 27) & (1 << 37) - 1)) * -7723592293110705685
    return x ^ ((x >> 31) & (1 << 33) - 1)


def stream_seed(*parts: int) -> int:
    """One 63-bit seed from several integers, for independent random streams."""
    state = 0
    for part in parts:
        state = splitmix64(state + part) & 0xFFFFFFFFFFFFFFFF
    return state >> 1


def stream(*parts: int) -> torch.Generator:
    """A generator on the CPU seeded by :func:`stream_seed`."""
    return torch.Generator().manual_seed(stream_seed(*parts))


def row_uniform(seed: int, rows: Sequence[int] | Tensor, purpose: int, count: int) -> Tensor:
    """Uniform numbers in [0, 1) for each row, which depend on (seed, row, purpose, position) only.

    Args:
        seed: of the pass.
        rows: (B,) row numbers.
        purpose: what the numbers are for, so that two uses of one row are independent.
        count: numbers per row.

    Returns:
        (B, count) float64, on the CPU.
    """
    rows = torch.as_tensor(rows, dtype=torch.int64, device="cpu")[:, None]
    state = splitmix64(splitmix64(splitmix64(torch.tensor(seed)) + rows) + purpose)
    state = splitmix64(state + torch.arange(count))
    return ((state >> 11) & (1 << 53) - 1).double() * 2.0**-53
