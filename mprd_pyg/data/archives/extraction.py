"""Unpacking archives into checked files: it can be stopped at any moment, goes on, and never touches the archive."""
import hashlib
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from tqdm import tqdm

from mprd_pyg.data.archives.cuhk03 import open_cuhk03
from mprd_pyg.data.cards.layouts import is_image_name
from mprd_pyg.data.images import open_rgb
from mprd_pyg.files import replacing, working_in
from mprd_pyg.manifest import one_line, refusing_damage

BLOCK = 1 << 22  # bytes of a member that are in memory at once


class Member(NamedTuple):
    """One file to write: posix path below the output folder, its size where it is known, and its content in blocks."""

    path: str
    size: int
    content: Callable[[], Iterator[bytes]]


def extract(archive: str | Path, out: str | Path, progress: bool = True) -> dict:
    """Write everything an archive holds, check it, and record it in ``<archive name>.extracted.json``.

    Each file is written whole or not at all, read again, compared, and decoded if it is an image. A journal keeps
    size and sha256 of each file that is done: a second call skips those that are still what they were, and writes
    what is missing or damaged.

    Args:
        archive: ``cuhk-03.mat``, a zip file or a tar file (also compressed); it is only read.
        out: folder to write to.
        progress: show a progress bar.

    Returns:
        The record: ``source`` (name, bytes, sha256) and ``files``, path -> [bytes, sha256].

    Raises:
        FileNotFoundError: no such archive.
        ValueError: it is damaged, of no known kind, larger than what is free on the disk, or ``out`` holds the
            extraction of another of its name, or another process writes there.
        OSError: ``out`` cannot be written to; before the archive is read.
    """
    archive, out = Path(archive).expanduser(), Path(out).expanduser()
    if not archive.is_file():
        raise FileNotFoundError(f"no archive {archive}")
    record, journal = out / f"{archive.name}.extracted.json", out / f"{archive.name}.extracting"
    with working_in(out), _open(archive, out) as members:
        _check_paths(archive, members)
        source = {"name": archive.name, "bytes": archive.stat().st_size, "sha256": _sha256(archive, progress)}
        with refusing_damage(record, f"remove it and {journal.name}, and what was extracted before is read again"):
            done, before = _already_done(record, journal)
        for earlier in before:
            if earlier != source:
                raise ValueError(f"{out} already holds files of another {source['name']}, or of other content: give "
                                 f"another --out, or remove that folder's files, {record.name} and {journal.name}")
        _check_room(out, [member for member in members if member.path not in done])
        files = {}
        with open(journal, "a", encoding="utf-8") as log:
            if log.tell() == 0:
                log.write(json.dumps(source) + "\n")
            for member in tqdm(members, desc=archive.name, leave=False, disable=None if progress else True):
                target = out / member.path
                if not _is_still(target, done.get(member.path)):
                    done[member.path] = _write(target, member.content())
                    log.write(json.dumps([member.path, *done[member.path]]) + "\n")
                    log.flush()
                files[member.path] = done[member.path]
    result = {"source": source, "files": files}
    with replacing(record) as part:
        part.write_text(json.dumps(result, indent=0) + "\n", encoding="utf-8")
    journal.unlink()
    return result


@contextmanager
def _open(archive: Path, out: Path) -> Iterator[list[Member]]:
    if archive.suffix == ".mat":
        folders = dict.fromkeys((archive.parent, archive.parent.parent, out))
        with open_cuhk03(archive, [folder for folder in folders if folder.is_dir()]) as files:
            yield [Member(path, 0, lambda content=content: iter([content()])) for path, content in files]
    else:
        with ExitStack() as stack:
            try:
                kind = zipfile.ZipFile if zipfile.is_zipfile(archive) else tarfile.open
                members = _packed(archive, stack.enter_context(kind(archive)))
            except (tarfile.ReadError, zipfile.BadZipFile) as error:
                raise ValueError(f"{archive} is damaged or of no known kind: expected cuhk-03.mat, a zip file or a tar "
                                 f"file ({one_line(error)})") from error
            except Exception as error:  # each format has errors of its own
                raise ValueError(f"{archive} cannot be unpacked: {one_line(error)}; get it again, or unpack it "
                                 f"by hand") from error
            yield [member for member in members if not _is_hidden(member.path)]


def _packed(archive: Path, opened: zipfile.ZipFile | tarfile.TarFile) -> list[Member]:
    if isinstance(opened, zipfile.ZipFile):
        return [Member(info.filename, info.file_size, partial(_blocks, archive, info.filename, opened.open, info))
                for info in opened.infolist() if not info.is_dir()]
    return [Member(info.name.removeprefix("./"), info.size,
                   partial(_blocks, archive, info.name, opened.extractfile, info))
            for info in opened.getmembers() if info.isfile()]


def _blocks(archive: Path, name: str, opened: Callable[[Any], BinaryIO], info: Any) -> Iterator[bytes]:
    """A member's content, never whole in memory; whatever its decoder raises is an error of the archive."""
    try:
        with opened(info) as file:
            while block := file.read(BLOCK):
                yield block
    except Exception as error:
        raise ValueError(f"{archive} cannot be unpacked: {name}: {one_line(error)}; get it again, or unpack it by "
                         f"hand") from error


def _check_room(out: Path, members: list[Member]) -> None:
    needed, free = sum(member.size for member in members), shutil.disk_usage(out).free
    if needed > free:
        raise ValueError(f"{out} has {free / 1e9:,.1f} GB free, and {needed / 1e9:,.1f} GB are to be unpacked: make "
                         f"room or give another --out; nothing was written")


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") and part != ".." or part == "__MACOSX" for part in path.split("/"))


def _check_paths(archive: Path, members: list[Member]) -> None:
    if not members:
        raise ValueError(f"{archive} holds nothing to extract")
    for path, *_ in members:
        if not path or PurePosixPath(path).is_absolute() or "\\" in path or ":" in path or ".." in path.split("/"):
            raise ValueError(f"{archive} holds {path!r}, which is no path below the output folder; nothing was written")


def _already_done(record: Path, journal: Path) -> tuple[dict[str, list], list[dict]]:
    """The files that earlier calls wrote, path -> [bytes, sha256], and the sources of those calls."""
    done, before = {}, []
    if record.is_file():
        earlier = json.loads(record.read_text(encoding="utf-8"))
        done, before = dict(earlier["files"]), [earlier["source"]]
    if journal.is_file():
        whole = journal.read_text(encoding="utf-8").split("\n")[:-1]    # a line that was cut off is not counted
        journal.write_text("".join(line + "\n" for line in whole), encoding="utf-8")
        before += [json.loads(line) for line in whole[:1]]
        done |= {path: [size, digest] for path, size, digest in map(json.loads, whole[1:])}
    for size, digest in done.values():
        if type(size) is not int or not isinstance(digest, str):
            raise ValueError(f"it names a file of {size!r} bytes with sha256 {digest!r}")
    return done, before


def _is_still(target: Path, known: list | None) -> bool:
    return (known is not None and target.is_file() and target.stat().st_size == known[0]
            and _sha256(target) == known[1])


def _write(target: Path, content: Iterator[bytes]) -> list:
    digest, size = hashlib.sha256(), 0
    with replacing(target, sync=False) as part:
        with open(part, "wb") as file:
            for block in content:
                digest.update(block)
                size += file.write(block)
        if _sha256(part) != digest.hexdigest():
            raise ValueError(f"{part} does not read back as it was written: check the disk")
        if is_image_name(target.name):
            open_rgb(part)
    return [size, digest.hexdigest()]


def _sha256(path: Path, progress: bool = False) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file, tqdm(total=path.stat().st_size, unit="B", unit_scale=True, desc="sha256",
                                        leave=False, disable=None if progress else True) as bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()
