"""Checkpoints: written whole or not at all, read without running anything from the file."""
from pathlib import Path
from typing import Any

import torch

from mprd_pyg.files import replacing

FORMAT = 1


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``path``; an interruption leaves the old file as it was."""
    with replacing(path) as part, open(part, "wb") as file:
        torch.save({"format": FORMAT, **state}, file)


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint with ``weights_only=True``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, or is of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is not a readable checkpoint ({error})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this library (format {FORMAT} expected)")
    return state


def load_weights(module: torch.nn.Module, state: dict[str, torch.Tensor], what: str) -> None:
    """Load a state dict strictly, telling what differs.

    Raises:
        ValueError: keys or shapes differ; names the first ones.
    """
    own = module.state_dict()
    shapes = [f"{k}: {tuple(state[k].shape)} in the file, {tuple(own[k].shape)} here"
              for k in own if k in state and state[k].shape != own[k].shape]
    missing, unknown = [k for k in own if k not in state], [k for k in state if k not in own]
    if shapes or missing or unknown:
        raise ValueError(f"{what} is of another model: shapes differ in {len(shapes)} ({shapes[:2]}), {len(missing)} "
                         f"keys are missing ({missing[:2]}), {len(unknown)} are unknown ({unknown[:2]}); build the "
                         f"network with the options the checkpoint was made with")
    module.load_state_dict(state)


def load_parts(parts: dict[str, Any], state: dict[str, Any], source: str) -> None:
    """Load each part of a method from what a checkpoint holds of it.

    Args:
        parts: modules, optimisers and other objects with ``load_state_dict``, by name.
        state: their states, by name.
        source: named in errors.

    Raises:
        ValueError: the checkpoint is of other parts, or of a part of another shape.
    """
    missing, unknown = sorted(parts.keys() - state.keys()), sorted(state.keys() - parts.keys())
    if missing or unknown:
        lacks = f"it lacks {', '.join(missing)}" if missing else "it lacks nothing"
        more = f" and holds {', '.join(unknown)} besides" if unknown else ""
        raise ValueError(f"{source} is of another method ({lacks}{more}): use the options it was made with")
    for name, part in parts.items():
        if isinstance(part, torch.nn.Module):
            load_weights(part, state[name], f"{source}, {name},")
        else:
            part.load_state_dict(state[name])
