"""What is done to a file: bytes changed, or content forged so that its checksums are right."""
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mprd_pyg.training import save_checkpoint
from pipelines.runs.run_folder import HELD, RunFolder


def change_bytes(path: Path, content: bytes, rng: np.random.Generator) -> None:
    """Write the content with something changed."""
    path.write_bytes(mutated(content, rng))


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one bit, some bytes, a block or its end changed; of text also hostile words put in."""
    data, size = bytearray(content), len(content)
    kind = rng.integers(8)
    place = int(rng.integers(size))
    length = int(rng.integers(1, 64))
    if kind <= 1:
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        for _ in range(int(rng.integers(1, 20))):
            data[int(rng.integers(size))] = int(rng.integers(256))
    elif kind == 3:
        del data[place:]
    elif kind == 4:
        data[place:place + length] = bytes(length)
    elif kind == 5:
        data[place:place + length] = data[place // 2:place // 2 + length]
    elif kind == 6:
        number = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 10**9])).to_bytes(8, "little")
        data[place:place + int(rng.choice([4, 8]))] = number
    else:
        word = rng.choice(["\n- a\n", "{class_path: hostile.Mine}", "\nrelation: hostile.Mine\n", "[" * 200, "NaN",
                           "!!python/object/apply:os.system ['touch executed']", "999999999", "../../x", "\x00", "é",
                           "\nloss: {class_path: os.system}\n", "1e400", "(a+)+$", "\n&a [*a]\n"]).encode("utf-8")
        data[place:place] = word
    return bytes(data)


def forged(value: Any, rng: np.random.Generator) -> Any:
    """A nested value, in which one entry is another, is missing, or is there twice."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[int(rng.integers(len(keys)))]
        copy = dict(value) if isinstance(value, dict) else list(value)
        if rng.random() < 0.12:
            del copy[key]
        elif isinstance(copy, list) and rng.random() < 0.1:
            copy.append(copy[key])
        else:
            copy[key] = forged(value[key], rng)
        return copy
    if isinstance(value, torch.Tensor) and rng.random() < 0.8:
        return forged_tensor(value, rng)
    plain = [None, -1, 0, 1, 2**31, 2**62, 0.5, float("nan"), float("inf"), "", "x", "../../x", "/etc/passwd",
             "a" * 5000, [], {}, [1], {"a": 1}, [[]], True]
    return plain[int(rng.integers(len(plain)))]


def forged_tensor(value: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Of another shape, type or content."""
    changed = value.clone()
    if value.numel():
        number = [-1, 0, 1, 2**31 - 1, 10**9, 127][int(rng.integers(6))]
        changed.view(-1)[int(rng.integers(value.numel()))] = number if value.dtype != torch.uint8 else abs(number) % 256
    rows = value if value.dim() else value[None]
    others = [rows[:-1], rows.flip(0), value.flatten(), value[None], value.double(), value.long(), value.new_zeros(0),
              value * -1, value * float("nan"), changed, changed, changed]
    return others[int(rng.integers(len(others)))].contiguous()


def forge_checkpoint(path: Path, content: bytes, rng: np.random.Generator) -> None:
    """Another state, under its own checksum."""
    path.write_bytes(content)
    state = torch.load(path, weights_only=True)
    state = {name: value for name, value in state.items() if name not in ("format", "checksum")}
    changed = forged(state, rng)
    save_checkpoint(path, changed if isinstance(changed, dict) else {})


def forge_json(path: Path, content: bytes, rng: np.random.Generator) -> None:
    """Change the manifest, or bytes of a file beside the manifest that is then told its new checksum."""
    manifest = path if path.suffix == ".json" else next(path.parent.glob("*.json"))
    if path == manifest:
        about = forged(without_checksum(content), rng)
    else:
        change_bytes(path, content, rng)
        about = without_checksum(manifest.read_bytes())
        entry = next(entry for entry in about["files"] if entry["name"] == path.name)
        entry |= {"bytes": path.stat().st_size, "crc32": zlib.crc32(path.read_bytes())}
    if isinstance(about, dict):
        about["crc32"] = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    manifest.write_text(json.dumps(about))


def without_checksum(content: bytes) -> dict[str, Any]:
    """What a manifest holds."""
    return {name: value for name, value in json.loads(content).items() if name != "crc32"}


def forge_table(path: Path, content: bytes, rng: np.random.Generator) -> None:
    """Another table in a run folder, under its own checksum."""
    path.write_bytes(content)
    table = pd.read_parquet(path)
    column = table.columns[int(rng.integers(len(table.columns)))]
    row = int(rng.integers(len(table)))
    changed = table[column].astype(object).copy()
    changed[row] = [None, -1, 10**9, 2**62, 0.5, "x", "../../x", "/etc/passwd"][int(rng.integers(8))]
    same = changed.map(type).nunique() == 1
    others = [table.drop(columns=column), table.assign(**{column: changed if same else changed.astype(str)}), table[:0],
              table.assign(**{column: None}), table.rename(columns={column: "y"}), table.iloc[::-1], table.head(row),
              table.assign(**{column: pd.to_numeric(changed, errors="coerce")}), pd.concat([table, table])]
    folder = next(parent for parent in path.parents if (parent / "config.yaml").is_file())
    with HELD:
        RunFolder(str(folder), "x", resume=True).write_table(
            str(path.relative_to(folder)), others[int(rng.integers(len(others)))])
