"""Files and folders that are written whole or not at all, and locks between processes."""
import errno
import glob
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on the disk, in the quota, or by the limit of a file's size


class NoRoomError(OSError):
    """There was no room for a file; what stood there before is unharmed, and what was written of it is removed."""

    def __init__(self, number: int, path: Path, written: int):
        super().__init__(number, os.strerror(number), str(path))
        self.written, self.free = written, shutil.disk_usage(path.parent).free


def lacks_room(error: BaseException | None) -> int | None:
    """Which of ``FULL`` an error comes from; libraries wrap those of the system, or only cite them."""
    while error is not None:
        for number in FULL:
            if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
                return number
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def replacing(path: str | Path, sync: bool = True) -> Iterator[Path]:
    """Yield a path to write to, in the folder of ``path``, which takes its place when the block ends well.

    The folder is made where it is missing. An error or an interruption leaves the old file as it was, and removes
    what was written; after a loss of power the file is the old or the new one. Example::

        with replacing("results.json") as part:
            part.write_text(text)

    Args:
        path: of the file.
        sync: wait until the disk has it. False is faster for many files, and for those that are checked when they
            are read or can be made again: after a loss of power they may be cut short.

    Raises:
        NoRoomError: there was no room.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # what a killed process left; through a link, another file would be written
    try:
        yield part
        if sync:
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        written = part.stat().st_size if part.is_file() else 0
        part.unlink(missing_ok=True)
        if isinstance(error, Exception) and (number := lacks_room(error)):
            raise NoRoomError(number, path, written) from error
        raise


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``, which becomes ``path`` when the block ends well.

    ``path`` must be missing or empty; if another process filled it meanwhile, that one stays. An error or an
    interruption removes what was written; what a killed process left of ``path`` is removed first.
    """
    path = Path(path).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with locked(old, wait=False) as free:
            if free:
                shutil.rmtree(old, ignore_errors=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    part.mkdir()
    try:
        with locked(part):
            yield part
            if not path.is_dir() or not any(path.iterdir()):
                os.replace(part, path)  # over an empty folder too
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def locked(path: str | Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock of a folder, or of a file that is made where it is missing, between processes.

    It is released when the block or the process ends. Yields whether it is held: not if another process holds it and
    ``wait`` is False, nor where the system has no such locks.
    """
    handle, held = None, False
    try:
        try:
            import fcntl
            handle = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT)
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except (ImportError, OSError):
            pass
        yield held
    finally:
        if handle is not None:
            os.close(handle)


@contextmanager
def working_in(folder: str | Path) -> Iterator[None]:
    """Keep a folder, which is made where it is missing, to this process until the block or the process ends.

    Who works there stands in ``.running`` meanwhile. An empty folder is removed at the end. The lock is one of the
    process (POSIX): workers that outlive a killed process do not hold it. Where the system has none, nothing is kept.

    Raises:
        ValueError: another process works there; the message names it.
        OSError: the folder cannot be made or written to.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".running"
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
        try:
            if not _lock_of_process(handle):
                who = os.read(handle, 500).decode(errors="replace").strip() or "another process"
                raise ValueError(f"{folder} is in use by {who}: wait until it ends, stop it, or give another --out")
            if path.exists() and os.path.samestat(os.fstat(handle), os.stat(path)):
                break
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # the process before removed it in between
    try:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%F %T')}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _lock_of_process(handle: int) -> bool:
    try:
        import fcntl
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        pass
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)  # anything else: a file system without locks
    return True
