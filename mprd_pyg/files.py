"""Files and folders that are written whole or not at all, and locks between processes."""
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        if sync:
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
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
