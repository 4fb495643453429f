"""The parts of a data card: splits, counts, repeated splits, and how it is evaluated."""
from dataclasses import dataclass
from pathlib import PurePosixPath

from mprd_pyg.data.cards.typed_yaml import CardError, Checked

SPLITS = ("train", "query", "gallery")
"""The values of a table's ``split`` column, in the order in which its rows are sorted."""

PUBLISHED_FIGURES = ("mAP", "rank1", "rank5", "rank10")
"""The published figures that a card may name, in percent."""


class DataRootError(ValueError):
    """A data root that does not hold what the card promises; the message names the remedy."""


def check_below(name: str) -> None:
    """Raise :class:`CardError` unless a path lies below the root."""
    if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise CardError(f"{name!r} must lie below the root: give a relative path without '..'")


@dataclass(frozen=True)
class Split(Checked):
    """Where one split's images are.

    Args:
        folder: folder below the root; several names are alternatives, the first that exists is read.
        pattern: regular expression of this split's paths; None: the card's.
        lists: list files below the root (layout ``listfile``): one path per line, relative to ``folder``.
        optional: the folder may be absent.
        person_offset: added to the person numbers, for datasets that count each split from 0.
    """

    folder: tuple[str, ...] = (".",)
    pattern: str | None = None
    lists: tuple[str, ...] = ()
    optional: bool = False
    person_offset: int = 0

    def __post_init__(self):
        super().__post_init__()
        if not self.folder:
            raise CardError("key 'folder': at least one folder name is needed")
        for name in self.folder + self.lists:
            check_below(name)


@dataclass(frozen=True)
class Counts(Checked):
    """What a split should hold; None is not checked.

    Args:
        images: images kept.
        identities: identities among them, distractors not counted.
        cameras: cameras among them.
        junk: images dropped because their id is a junk id.
    """

    images: int | None = None
    identities: int | None = None
    cameras: int | None = None
    junk: int | None = None


@dataclass(frozen=True)
class Repeats(Checked):
    """Repeated splits of the identities into training and test, of which one at a time is used.

    Args:
        count: how many splits there are.
        train_fraction: of the identities, rounded down; the others test.
        seed: of the draw (see :func:`~mprd_pyg.data.cards.random_choices.random_split`).
        file: JSON file below the root whose ``test`` holds the test identities of each split, as they stand in
            the paths; nothing is drawn then, and all other identities train.
    """

    count: int = 10
    train_fraction: float = 0.5
    seed: int = 0
    file: str | None = None

    def __post_init__(self):
        super().__post_init__()
        if self.count < 1 or not 0 < self.train_fraction < 1:
            raise CardError(f"count={self.count}, train_fraction={self.train_fraction}: expected at least 1, and a "
                            "fraction between 0 and 1")
        if self.file is not None:
            check_below(self.file)


@dataclass(frozen=True)
class Evaluation(Checked):
    """How the dataset is evaluated.

    Args:
        protocol: what is ranked and which gallery images are ignored, in words.
        cross_camera_valid: false when camera labels are meaningless, so that no cross-camera figure is.
        single_shot: also rank a gallery of one image per identity, of the camera that the query is not from,
            drawn ``draws`` times; needs exactly two cameras.
        draws: how often; the figures are means over the draws.
        draw_seed: of the draws.
        query_cameras: cameras whose test images are queries; empty for all.
    """

    protocol: str = "single query; gallery images of the query's identity and camera are ignored"
    cross_camera_valid: bool = True
    single_shot: bool = False
    draws: int = 10
    draw_seed: int = 0
    query_cameras: tuple[int, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if self.draws < 1:
            raise CardError(f"draws={self.draws}: expected at least 1")
