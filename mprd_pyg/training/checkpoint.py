"""Checkpoints: written whole or not at all, verified, and read without running anything from the file."""
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mprd_pyg import processes
from mprd_pyg.files import replacing

FORMAT = 2
BLOCK = 1024  # words of 8 bytes that are summed before the checksum is taken


def _is_random(value: Any) -> bool:
    cpu, cuda = value.get("cpu"), value.get("cuda")
    return _is_generator(cpu) and isinstance(cuda, list) and all(map(_is_generator, cuda)) and \
        torch.Generator().set_state(cpu) is not None  # which raises an error for another kind of state


def _is_generator(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8 and value.dim() == 1


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**40


def _has_numbers(value: dict) -> bool:
    return all(isinstance(name, str) and isinstance(number, int | float) for name, number in value.items())


def _are_states(value: dict) -> bool:
    return all(isinstance(state, dict) for state in value.values())


# The entries that are read: type, further condition, and what is expected in words.
ENTRIES: dict[str, tuple[type, Callable[[Any], bool], str]] = {
    "method": (dict, _are_states, "the states of its parts"), "models": (dict, _are_states, "the states of models"),
    "describe": (dict, lambda _: True, "names with values"),
    "position": (dict, lambda at: set(at) == {"epoch", "phase", "step", "total"} and all(map(_is_count, at.values()))
                 and at["epoch"] > 0, "the counts epoch, phase, step and total"),
    "sums": (dict, lambda sums: _has_numbers(sums) and all(
        name.endswith("#") or sums.get(name + "#", 0) > 0 for name in sums), "sums with the counts of their terms"),
    "before": (dict, _has_numbers, "names with numbers"),
    "history": (list, lambda rows: all(isinstance(row, dict) and _has_numbers(row) for row in rows),
                "the figures of each epoch"),
    "random": (dict, _is_random, "states of random generators")}


class Checkpoint(dict[str, Any]):
    """What a checkpoint holds, by name; an entry that it lacks is a ``ValueError`` that names the file."""

    def __init__(self, path: Path, state: dict[str, Any]):
        super().__init__(state)
        self.path = path

    def __missing__(self, name: str) -> Any:
        raise ValueError(f"{self.path} lacks {name!r}: give a checkpoint of this kind of run")


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to ``path``; an interruption leaves the old file as it was."""
    with replacing(path) as part, open(part, "wb") as file:
        torch.save({**state, "format": FORMAT, "checksum": checksum(state)}, file)


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu", mapped: bool = False) -> Checkpoint:
    """Read a checkpoint with ``weights_only=True`` and verify it.

    The structure, with all plain values, is verified by the container's CRC-32; the tensors by :func:`checksum`, which
    costs a tenth of what the CRC-32 of their bytes would.

    Args:
        path: of the checkpoint.
        device: of its tensors.
        mapped: leave the tensors in the file, of which they are private views: half the time, for states that are
            copied at once.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it cannot be read, was changed since it was written, or is of another format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    try:
        with zipfile.ZipFile(path) as container:
            for entry in container.infolist():
                if entry.compress_type != zipfile.ZIP_STORED:
                    raise ValueError("it is compressed")
                if "/data/" not in entry.filename:  # those are tensors
                    with container.open(entry) as file:
                        while file.read(1 << 24):
                            pass
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except PermissionError:
        raise
    except Exception as error:  # a damaged file makes the readers raise any kind
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} is not a readable checkpoint ({reason}): take an earlier copy, or make the run "
                         f"again") from error
    if not isinstance(state, dict) or state.pop("format", None) != FORMAT:
        raise ValueError(f"{path} is not a checkpoint of this library (format {FORMAT} expected)")
    kept = state.pop("checksum", None)
    with _naming(path, "was not read"):
        if kept != checksum(state):
            raise ValueError("its tensors do not fit their checksum; it was changed since it was written: take an "
                             "earlier copy, or make the run again")
        for name, (kind, fits, expected) in ENTRIES.items():
            if name in state and not (isinstance(state[name], kind) and fits(state[name])):
                raise ValueError(f"{name!r} holds something other than {expected}")
    return Checkpoint(path, state if torch.device(device).type == "cpu" else moved(state, device))


def checksum(state: Any) -> int:
    """CRC-32 over all tensors of nested dicts and lists; of large ones over the sums of blocks of 8 KiB.

    A sum modulo 2^64 changes with every bit. It is as fast as memory is read.

    Raises:
        ValueError: a tensor that is not dense, or of more elements than its storage holds.
    """
    crc = 0
    for tensor in _tensors(state):
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or \
                tensor.nbytes > tensor.untyped_storage().nbytes():
            raise ValueError(f"it holds a tensor {tuple(tensor.shape)} that is not plainly stored")
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        whole = len(data) // (8 * BLOCK) * 8 * BLOCK if len(data) > 1 << 16 else 0
        if whole:
            crc = zlib.crc32(data[:whole].view(np.int64).reshape(-1, BLOCK).sum(1), crc)
        crc = zlib.crc32(data[whole:], crc)
    return crc


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors(item)


def moved(value: Any, device: str | torch.device) -> Any:
    """Nested dicts, lists and tuples with their tensors on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: moved(item, device) for name, item in value.items()}
    return type(value)(moved(item, device) for item in value) if isinstance(value, list | tuple) else value


@contextmanager
def _naming(source: str | Path, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error if isinstance(error, ValueError) else repr(error)).split())
        raise ValueError(f"{source} {what}: {reason[:400]}") from error


def load_weights(module: torch.nn.Module, state: dict[str, torch.Tensor], what: str) -> None:
    """Load a state dict strictly, telling what differs.

    Raises:
        ValueError: keys, shapes or types differ, or a value is no tensor or not finite; names the first ones.
    """
    own = module.state_dict()
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{what} holds no weights: expected tensors by name")
    shapes = [f"{k}: {tuple(state[k].shape)} in the file, {tuple(own[k].shape)} here"
              for k in own if k in state and state[k].shape != own[k].shape]
    missing, unknown = [k for k in own if k not in state], [k for k in state if k not in own]
    if shapes or missing or unknown:
        raise ValueError(f"{what} is of another model: shapes differ in {len(shapes)} ({shapes[:2]}), {len(missing)} "
                         f"keys are missing ({missing[:2]}), {len(unknown)} are unknown ({unknown[:2]}); build the "
                         f"network with the options the checkpoint was made with")
    for name, value in state.items():
        if value.dtype.is_floating_point != own[name].dtype.is_floating_point or value.is_complex():
            raise ValueError(f"{what} holds {name} as {value.dtype}, expected {own[name].dtype}")
        if value.is_floating_point() and not math.isfinite(float(value.sum(dtype=torch.float64))):
            raise ValueError(f"{what} holds NaN or infinite values in {name}: take an earlier checkpoint")
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
            continue
        with _naming(f"{source}, {name},", "was not loaded"):
            own = part.state_dict()
            if set(state[name]) != set(own):
                raise ValueError(f"it holds {sorted(map(str, state[name]))}, expected {sorted(own)}")
            if "param_groups" in own:
                _check_optimizer(part, state[name]["state"])
            part.load_state_dict(state[name])


def send_parts(parts: dict[str, Any]) -> None:
    """Give all processes the state that a method's parts have on rank 0.

    Optimisers are left as they are: they saw the same gradients.
    """
    for part in parts.values():
        if isinstance(part, torch.nn.Module):
            processes.broadcast_tensors([*part.parameters(), *part.buffers()])
        elif not isinstance(part, torch.optim.Optimizer):
            state = processes.broadcast(moved(part.state_dict(), "cpu"))
            if not processes.is_first():
                part.load_state_dict(state)


def _check_optimizer(optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Any]]) -> None:
    """Raise ValueError where what was kept of a parameter is not of its shape; torch finds out while training."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, kept in state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.dim() and value.shape != parameters[number].shape:
                raise ValueError(f"{name} of parameter {number} has shape {tuple(value.shape)}, expected "
                                 f"{tuple(parameters[number].shape)}")
