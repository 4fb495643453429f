"""What is on disk against what a card promises: counts, unreadable files, and files that are the same."""
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from mprd_pyg.data.cards.card import DataCard
from mprd_pyg.data.cards.counts import compare_counts, deviations, shared_identities
from mprd_pyg.data.images import find_unreadable
from mprd_pyg.data.table import table_root


@dataclass
class Inspection:
    """What was found.

    Args:
        figures: split -> figure -> (found, promised or None).
        differences: what is not as promised, one sentence each: counts, names that fit no pattern, identities that
            training and test share, and unreadable files.
        unreadable: (path, reason).
        duplicates: groups of paths whose files are the same byte for byte. No card promises that there are none.
    """

    figures: dict[str, dict[str, tuple[int, int | None]]]
    differences: list[str]
    unreadable: list[tuple[str, str]]
    duplicates: list[list[str]]


def inspect_root(card: DataCard, root: str | Path, decode: bool = True, workers: int = 8) -> Inspection:
    """Scan a root and compare it with its card.

    Args:
        card: the card.
        root: the data root; errors as of :meth:`DataCard.scan`.
        decode: read every image whole, and compare files of one size.
        workers: threads.
    """
    frame = card.scan(root)
    unreadable = find_unreadable(frame, workers=workers) if decode else []
    differences = deviations(card, frame) + shared_identities(card, frame)
    if frame.attrs["unmatched"]:
        differences.append(f"{len(frame.attrs['unmatched']):,} images fit no pattern, first: "
                           + ", ".join(frame.attrs["unmatched"][:3]))
    if unreadable:
        differences.append(f"{len(unreadable):,} images cannot be read")
    duplicates = find_duplicates(table_root(frame), frame["path"].tolist(), workers) if decode else []
    return Inspection(compare_counts(card, frame), differences, unreadable, duplicates)


def find_duplicates(root: Path, paths: Sequence[str], workers: int = 8) -> list[list[str]]:
    """Groups of files with the same bytes (sha256 of the files whose sizes agree), sorted."""
    sizes = defaultdict(list)
    for path in paths:
        if (root / path).is_file():
            sizes[os.stat(root / path).st_size].append(path)
    alike = [path for group in sizes.values() if len(group) > 1 for path in group]
    same = defaultdict(list)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for path, digest in zip(alike, pool.map(lambda path: sha256((root / path).read_bytes()).digest(), alike),
                                strict=True):
            same[digest].append(path)
    return sorted(sorted(group) for group in same.values() if len(group) > 1)
