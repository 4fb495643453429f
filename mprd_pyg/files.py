"""Files that are written whole or not at all."""
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to, in the folder of ``path``, which takes its place when the block ends well.

    The folder is made where it is missing. An error or an interruption leaves the old file as it was, and removes
    what was written; after a loss of power the file is the old or the new one. Example::

        with replacing("results.json") as part:
            part.write_text(text)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
