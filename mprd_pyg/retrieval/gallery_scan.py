"""What a gallery folder holds now, and what an update of its index did."""
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = ["path", "bytes", "mtime_ns"]


@dataclass(frozen=True)
class GalleryUpdate:
    """What an update of the index did, in images.

    Attributes:
        added, changed, removed, kept: counts.
        skipped: (path, reason) of every file of the gallery that is no readable image.
    """

    added: int
    changed: int
    removed: int
    kept: int
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return (f"{self.added} added, {self.changed} changed, {self.removed} removed, {self.kept} kept, "
                f"{len(self.skipped)} skipped")


def list_files(root: Path, leave_out: Path | None = None) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Every file below ``root`` in sorted order (columns path, bytes, mtime_ns), and what cannot be listed.

    Hidden files and folders are passed over, links to folders not followed.

    Raises:
        FileNotFoundError: no such folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no gallery folder {root}")
    rows, bad = [], []

    def unlisted(error: OSError) -> None:
        bad.append({"path": os.path.relpath(error.filename, root), "reason": f"cannot be listed: {error.strerror}"})

    for folder, folders, files in os.walk(root, onerror=unlisted):
        folders[:] = [name for name in folders if not name.startswith(".") and Path(folder) / name != leave_out]
        for name in files:
            path = Path(folder, name)
            shown = path.relative_to(root).as_posix()
            try:
                shown.encode()
                stat = path.stat()
            except (OSError, UnicodeEncodeError) as error:
                bad.append({"path": shown.encode("utf-8", "replace").decode(), "reason": str(error)})
                continue
            if not name.startswith(".") and path.is_file():
                rows.append((shown, stat.st_size, stat.st_mtime_ns))
    frame = pd.DataFrame(sorted(rows), columns=COLUMNS).astype({"path": "object"})
    return frame.astype({"bytes": "int64", "mtime_ns": "int64"}), bad
