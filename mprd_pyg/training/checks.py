"""What is refused before it can spoil a memory or a run."""
from collections.abc import Sequence

import torch
from torch import Tensor


def check_finite(x: Tensor, rows: Tensor, store: Sequence[Tensor]) -> None:
    """Refuse NaN or infinite features (V * B, ...), V views of each, of the images ``rows`` (B,), naming the first.

    Raises:
        FloatingPointError: there are some.
    """
    bad = ~torch.isfinite(x.detach()).flatten(1).all(1)
    if bool(bad.any()):
        first = int(rows[int(bad.nonzero()[0]) % len(rows)])
        name = store.paths[first] if hasattr(store, "paths") else f"row {first}"
        raise FloatingPointError(f"the feature of {name} is NaN or infinite ({int(bad.sum())} of {len(bad)} "
                                 f"of the batch): lower the learning rate, or look at the image")
