"""The most memory that each process of a run has held."""
import math
import sys

import torch

from mprd_pyg import processes


def peak_memory(device: torch.device) -> list[float]:
    """MB (10^6 bytes) of each rank since its start: allocated on a CUDA device, otherwise resident on the host.

    NaN where the system does not tell.
    """
    if device.type == "cuda":
        peak = float(torch.cuda.max_memory_allocated(device))
    else:
        try:
            import resource
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
        except ImportError:  # Windows
            peak = math.nan
    return processes.gather(torch.tensor([round(peak / 1e6, 1)], dtype=torch.float64), [1] * processes.count()).tolist()
