"""The file of what a person said of pairs of images: read, and appended to one whole line at a time."""
import csv
import difflib
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from torch import Tensor

from mprd_pyg.files import NoRoomError, lacks_room, locked
from mprd_pyg.relations.constraints import Constraints, ContradictionError, chain_groups, pairs_of

HEADER = ("path", "other_path", "verdict")
VERDICTS = ("same", "different", "unsure")

log = logging.getLogger(__name__)


class Statement(NamedTuple):
    """One line of the file; ``line`` counts from 1, the header included."""

    path: str
    other: str
    verdict: str
    line: int


def read_statements(file: str | Path) -> list[Statement]:
    """What holds of each pair, in the order of the file.

    The columns are ``path, other_path, verdict``, the verdict being same, different or unsure. ``unsure`` takes back
    what earlier lines said of the pair, in either order of the two, and is itself returned, so that nobody asks again.
    A last line that a killed writer left unfinished is passed over.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another header, a line that cannot be read, or both same and different of one pair; with the line.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"there is no file of constraints {file}: it has the header {','.join(HEADER)} and a "
                                f"line per pair")
    content = file.read_bytes()
    content = content[:_whole(content)]
    try:
        rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header = next(rows, None)
        if header is None or tuple(name.strip() for name in header) != HEADER:
            raise ValueError(f"{file} line 1: the header must be {','.join(HEADER)}, got "
                             f"{','.join(header or [])!r:.80}")
        said: dict[frozenset[str], Statement] = {}
        for row in rows:
            if not row:
                continue
            if len(row) != 3 or row[2].strip() not in VERDICTS or row[0] == row[1]:
                raise ValueError(f"{file} line {rows.line_num}: two different paths and one of {', '.join(VERDICTS)} "
                                 f"are expected, got {','.join(row)!r:.120}")
            new = Statement(row[0], row[1], row[2].strip(), rows.line_num)
            old = said.pop(frozenset(row[:2]), new)
            if {old.verdict, new.verdict} == {"same", "different"}:
                raise ValueError(f"{file} line {new.line}: {new.path} and {new.other} are said to be {new.verdict}, "
                                 f"but line {old.line} says {old.verdict}: remove one, or take back the first by a "
                                 f"line with unsure between them")
            said[frozenset(row[:2])] = new
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no table of constraints ({error}): it has the header {','.join(HEADER)} and a "
                         f"line per pair, in UTF-8") from error
    return list(said.values())


def read_constraints(file: str | Path | None, paths: Sequence[str], same_group: Tensor | None = None) -> Constraints:
    """The constraints of N images.

    Args:
        file: see :func:`read_statements`; None for those of ``same_group`` alone.
        paths: (N,) of the images, relative to the data root: row = place.
        same_group: (N,) tracklets, see :class:`Constraints`.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_statements` and :func:`constraints_of`.
    """
    return constraints_of([] if file is None else read_statements(file), paths, same_group, file)


def constraints_of(statements: Sequence[Statement], paths: Sequence[str], same_group: Tensor | None = None,
                   file: str | Path | None = None) -> Constraints:
    """As :func:`read_constraints`, of what stands in ``file``, which is named in errors only.

    Raises:
        ValueError: a path that no image has, or a contradiction, with the chain of must-links that makes it.
    """
    row = {path: place for place, path in enumerate(paths)}
    said: dict[str, list[tuple[int, int]]] = {verdict: [] for verdict in VERDICTS}
    line: dict[tuple[int, int], int] = {}
    for statement in statements:
        for path in statement[:2]:
            if path not in row:
                near = difflib.get_close_matches(path, row, 1, 0) if len(row) < 100_000 else []
                raise ValueError(f"{file} line {statement.line}: no image is called {path!r}: paths are relative to "
                                 f"the data root" + (f", such as {near[0]!r}" if near else ""))
        pair = row[statement.path], row[statement.other]
        said[statement.verdict].append(pair)
        line[pair] = line[pair[::-1]] = statement.line
    must, cannot = pairs_of(said["same"]), pairs_of(said["different"])
    try:
        return Constraints(must, cannot, len(paths), same_group)
    except ContradictionError as error:
        chain = error.chain
        linked = {frozenset(pair) for pair in chain_groups(same_group).T.tolist()} if same_group is not None else set()
        steps = [f"{paths[a]} = {paths[b]} (" + (f"line {line[a, b]}" if (a, b) in line else "one tracklet" if
                 frozenset((a, b)) in linked else "given") + ")" for a, b in zip(chain, chain[1:], strict=False)]
        raise ValueError(f"{file} line {line[chain[0], chain[-1]]}: {paths[chain[0]]} and {paths[chain[-1]]} are said "
                         f"to be different, but {', '.join(steps)}: take one of these back") from error


def append_statements(file: str | Path, statements: Sequence[tuple[str, str, str]]) -> None:
    """Append lines (path, other path, verdict): all of them or none, on the disk before this returns.

    The file and its header are made where they are missing. Several processes may append at a time. What a killed
    writer left unfinished at the end is removed.

    Raises:
        ValueError: another verdict, two equal paths, or the file is another table.
        NoRoomError: there was no room; the file is as it was.
    """
    for path, other, verdict in statements:
        if verdict not in VERDICTS or path == other:
            raise ValueError(f"two different paths and one of {', '.join(VERDICTS)} are expected, got {path!r}, "
                             f"{other!r}, {verdict!r}")
    file = Path(file)
    lines = io.StringIO(newline="")
    csv.writer(lines, lineterminator="\n").writerows(statements)
    with locked(file), open(file, "rb+" if file.exists() else "wb+") as opened:
        content = opened.read()
        end = _whole(content)
        if end < len(content):
            log.warning("%s: its last line is unfinished and is removed", file)
        text = lines.getvalue() if end else ",".join(HEADER) + "\n" + lines.getvalue()
        if end and not content[:len(",".join(HEADER)) + 3].decode("utf-8-sig", "replace").startswith(",".join(HEADER)):
            raise ValueError(f"{file} is no table of constraints: its header must be {','.join(HEADER)}")
        _replace_tail(opened, file, end, ("\n" if end and content[end - 1:end] != b"\n" else "") + text)
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(file.absolute().parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _replace_tail(opened: BinaryIO, file: Path, end: int, text: str) -> None:
    try:
        opened.seek(end)
        opened.truncate()
        opened.write(text.encode())
        opened.flush()
        os.fsync(opened.fileno())
    except OSError as error:
        opened.truncate(end)
        if number := lacks_room(error):
            raise NoRoomError(number, file, 0) from error
        raise


def _whole(content: bytes) -> int:
    """How many bytes are whole lines; a last one without its line feed counts if it can be read."""
    end = content.rfind(b"\n") + 1
    tail = content[end:].decode("utf-8-sig", "replace")
    whole = tail == ",".join(HEADER) or tail.rpartition(",")[2].strip() in VERDICTS and tail.count(",") >= 2
    return len(content) if whole else end
