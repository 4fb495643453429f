"""The files of saved pair subgraphs, and the commit record that says how much of them counts."""
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FORMAT, VERSION, RECORD = "mprd-pyg pair subgraphs", 1, "manifest.json"
BLOCK = 1 << 24  # bytes read at once when a file is checked


@dataclass(frozen=True)
class Field:
    """One flat file: ``width`` numbers of ``dtype`` for every pair, node or edge, pair after pair."""

    per: str
    dtype: str
    width: int = 1

    @property
    def bytes(self) -> int:
        """Bytes of one entry."""
        return self.width * int(self.dtype[-1])


FIELDS = {
    "node_end": Field("pairs", "<i8"),        # nodes of this pair and all before it
    "edge_end": Field("pairs", "<i8"),        # edges of this pair and all before it
    "root_index": Field("pairs", "<i4", 2),   # places of i and j among the pair's nodes
    "n_id": Field("nodes", "<i4"),            # node of the graph = row of the image table
    "z": Field("nodes", "<i4"),               # DRNL label
    "edge_index": Field("edges", "<i4", 2),   # places of both ends among the pair's nodes
    "edge_attr": Field("edges", "<f4"),       # similarity along the edge; optional
}


@dataclass
class Record:
    """What is committed: everything beyond it in the files is the remainder of a write that never ended.

    Args:
        fields: names of the flat files.
        parts: one per append: counts, the checksum of its stretch of each flat file, and its table's file.
        files: other files by role (``images``, ``features``): name, size, checksum, and what is known of them.
        about: plain values that the writer was given.
    """

    fields: list[str] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def total(self, per: str) -> int:
        """Committed pairs, nodes or edges."""
        return sum(part[per] for part in self.parts)

    def write(self, folder: Path) -> None:
        """Commit: from here on the files count as far as this record says."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        write_whole(folder / RECORD, json.dumps(content | {"crc32": _own_checksum(content)}, indent=1).encode())
        sync_folder(folder)

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """Read it back.

        Raises:
            FileNotFoundError: the folder holds no store.
            ValueError: the record is damaged or of another format; names the file.
        """
        path = folder / RECORD
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no saved pair subgraphs: {path} does not exist")
        try:
            content = json.loads(path.read_bytes())
            checksum = content.pop("crc32")
            if content.pop("format") != FORMAT:
                raise ValueError("it is a record of something else")
            if (version := content.pop("version")) != VERSION:
                raise ValueError(f"it is of version {version!r}, this library reads version {VERSION}")
            record = cls(**content)
            if checksum != _own_checksum({"format": FORMAT, "version": VERSION, **content}):
                raise ValueError("its content does not fit its checksum")
            for name in (*(part["table"]["file"] for part in record.parts),
                         *(file["file"] for file in record.files.values())):
                if Path(name).name != name:
                    raise ValueError(f"it names a file outside the folder: {name!r}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is cut short, edited or of another format ({error}): the store cannot be "
                             f"read; restore the file from a copy, or save the subgraphs anew") from error
        return record


def check_files(folder: Path, record: Record, contents: bool = True) -> None:
    """Refuse a store with a file that is missing, cut short or edited.

    Args:
        folder: of the store.
        record: its commit record.
        contents: compare checksums (about a second per GB), not only sizes.

    Raises:
        ValueError: names the first such file.
    """
    for name in record.fields:
        size, path = FIELDS[name].bytes, folder / f"{name}.bin"
        _check_size(path, size * record.total(FIELDS[name].per), exact=False)
        if contents and record.parts:
            with open(path, "rb") as file:
                for number, part in enumerate(record.parts):
                    if _checksum(file, size * part[FIELDS[name].per]) != part["crc32"][name]:
                        raise damaged(path, f"the bytes of append {number} do not fit their checksum")
    for entry in (*(part["table"] for part in record.parts), *record.files.values()):
        path = folder / entry["file"]
        _check_size(path, entry["bytes"], exact=True)
        if contents:
            with open(path, "rb") as file:
                if _checksum(file, entry["bytes"]) != entry["crc32"]:
                    raise damaged(path, "its bytes do not fit their checksum")


def damaged(path: Path, what: str) -> ValueError:
    """The error for a file that is not as it was committed."""
    return ValueError(f"{path} was cut short or edited: {what}; the store {path.parent} is not read. "
                      f"Restore the file from a copy, or save the subgraphs anew")


def write_whole(path: Path, *chunks: bytes | memoryview) -> dict[str, Any]:
    """Write a file whole or not at all; returns its name, size and checksum."""
    part = path.with_name(path.name + ".part")
    size, checksum = 0, 0
    with open(part, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
            size, checksum = size + memoryview(chunk).nbytes, zlib.crc32(chunk, checksum)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    return {"file": path.name, "bytes": size, "crc32": checksum}


def append_at(path: Path, offset: int, chunks: Iterable[bytes | memoryview]) -> int:
    """Write from ``offset`` on, dropping what an interrupted write left beyond it; returns the checksum."""
    checksum = 0
    with open(path, "r+b" if path.exists() else "w+b") as file:
        file.truncate(offset)
        file.seek(offset)
        for chunk in chunks:
            file.write(chunk)
            checksum = zlib.crc32(chunk, checksum)
        file.flush()
        os.fsync(file.fileno())
    return checksum


def sync_folder(folder: Path) -> None:
    """Make renames last through a power cut, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _own_checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _check_size(path: Path, size: int, exact: bool) -> None:
    if not path.is_file():
        raise damaged(path, "it is missing")
    found = path.stat().st_size
    if found < size or (exact and found != size):
        raise damaged(path, f"it has {found:,} bytes, {size:,} were committed")


def _checksum(file, size: int) -> int:
    checksum = 0
    while size > 0:
        block = file.read(min(size, BLOCK))
        if not block:
            return -1
        checksum, size = zlib.crc32(block, checksum), size - len(block)
    return checksum
