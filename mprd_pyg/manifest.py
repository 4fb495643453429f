"""Files named by a manifest with their sizes and checksums: it is replaced last, and checked before they are read."""
import json
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mprd_pyg.files import replacing

BLOCK = 1 << 24  # bytes read at once


@dataclass(frozen=True)
class FileEntry:
    """A file beside the manifest, as it was when it was written.

    Raises:
        ValueError: values of other types, or a name that is not a plain one: it could lead outside the folder.
    """

    name: str
    bytes: int
    crc32: int

    def __post_init__(self):
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(f"it names a file outside the folder: {self.name!r}")
        if type(self.bytes) is not int or type(self.crc32) is not int:
            raise ValueError(f"size and checksum of {self.name} are {self.bytes!r} and {self.crc32!r}, no integers")

    @classmethod
    def of(cls, path: Path) -> "FileEntry":
        """Of a file that was just written."""
        return cls(path.name, path.stat().st_size, checksum_of(path))


@dataclass(frozen=True)
class Manifest:
    """Which files count, and what is known of them.

    Args:
        kind: format and version of what the files are together.
        files: in the order in which they are checked.
        about: plain values.
    """

    kind: str
    files: tuple[FileEntry, ...]
    about: dict[str, Any]

    def write(self, path: Path) -> None:
        """Replace the manifest at ``path``: from here on the files count."""
        content = json.loads(json.dumps(asdict(self)))
        with replacing(path) as part:
            part.write_text(json.dumps(content | {"crc32": _own_checksum(content)}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path, kind: str, remedy: str) -> "Manifest":
        """Read a manifest; the files that it names are another matter: :meth:`check_files`.

        Args:
            path: of the manifest.
            kind: that is expected.
            remedy: what to do about a damaged one.

        Raises:
            ValueError: it is damaged or of another format; names the file.
        """
        with refusing_damage(path, remedy):
            content = json.loads(path.read_bytes())
            if content.get("kind") != kind:
                raise ValueError(f"it is not of the format {kind!r}")
            if content.pop("crc32", None) != _own_checksum(content):
                raise ValueError("its content does not fit its checksum")
            manifest = cls(kind, tuple(FileEntry(**entry) for entry in content["files"]), content["about"])
            if not isinstance(manifest.about, dict):
                raise ValueError(f"about is {manifest.about!r}")
        return manifest

    def check_files(self, folder: Path, remedy: str) -> None:
        """Compare size and content of every file, about a second per GB.

        Raises:
            ValueError: one is missing, cut short or edited; the message names it and says what to do.
        """
        for entry in self.files:
            path = folder / entry.name
            with refusing_damage(path, remedy):
                if not path.is_file():
                    raise ValueError("it is missing")
                if (found := path.stat().st_size) != entry.bytes:
                    raise ValueError(f"it has {found:,} bytes, {entry.bytes:,} were written")
                if checksum_of(path) != entry.crc32:
                    raise ValueError("its content does not fit its checksum")


@contextmanager
def refusing_damage(path: Path, remedy: str) -> Iterator[None]:
    """Report any error in the block as damage to ``path``, by a ``ValueError`` of one line."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path} was cut short or edited: {one_line(error)}; {remedy}") from error


def one_line(error: Exception) -> str:
    """What an error says, without line breaks; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def _own_checksum(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def checksum_of(path: Path) -> int:
    """CRC-32 of a file's content."""
    checksum = 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
