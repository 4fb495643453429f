"""The parts of a data card: splits, the table, counts, repeated splits, and how it is evaluated."""
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from mprd_pyg.data.cards.typed_yaml import CardError, Checked, nearest

SPLITS = ("train", "query", "gallery")
"""The values of a table's ``split`` column, in the order in which its rows are sorted."""

IGNORED = {"camera": "single query; gallery images of the query's identity and camera are ignored",
           "itself": "leave one out: single query against all other images; an image that is the only one of its "
                     "identity is no query"}
"""What a ranking leaves out of the gallery -> the protocol in words."""

PUBLISHED_FIGURES = ("mAP", "rank1", "rank5", "rank10")
"""The published figures that a card may name, in percent."""


LEFT_OUT = "none"
"""What a table's ``split_names`` says of images that belong to no split."""


class DataRootError(ValueError):
    """A data root that does not hold what the card promises; the message names the remedy."""


class TableError(DataRootError):
    """A table of images that cannot be used; the message, of one line, names file, value and remedy."""


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
class Table(Checked):
    """A file that lists the images, and which of its columns say what.

    A column of a default name need not be there, but for ``path`` and ``identity``; None reads none.

    Args:
        file: ``.parquet``, or text with a line of names (``.csv``, ``.tsv``), below the root.
        path: column of the image paths, relative to the root.
        identity: column of the identities; an empty cell is an unknown one.
        camera: column of the cameras.
        split: column of the splits; without it, all images train.
        date: column kept in the image table as it is.
        tracklet: column of the tracklets; images of one show one individual.
        split_names: value of the split column -> ``train``, ``query``, ``gallery``, or ``none`` for images left out.
    """

    file: str
    path: str = "path"
    identity: str | None = "identity"
    camera: str | None = "camera"
    split: str | None = "split"
    date: str | None = "date"
    tracklet: str | None = "tracklet"
    split_names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        super().__post_init__()
        check_below(self.file)
        for value, name in self.split_names.items():
            if name not in (*SPLITS, LEFT_OUT):
                raise CardError(f"split_names: {value}: {name!r}: expected {', '.join(SPLITS)} or {LEFT_OUT}")


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
        protocol: what is ranked and which gallery images are ignored, in words; empty for those of ``ignore``.
        cross_camera_valid: false when camera labels are meaningless, so that no cross-camera figure is.
        single_shot: also rank a gallery of one image per identity, of the camera that the query is not from,
            drawn ``draws`` times; needs exactly two cameras.
        draws: how often; the figures are means over the draws.
        draw_seed: of the draws.
        query_cameras: cameras whose test images are queries; empty for all.
        ignore: ``camera``, the gallery images of the query's identity and camera; or ``itself``, nothing but the query
            (leave one out), for which no cameras are needed.
    """

    protocol: str = ""
    cross_camera_valid: bool = True
    single_shot: bool = False
    draws: int = 10
    draw_seed: int = 0
    query_cameras: tuple[int, ...] = ()
    ignore: str = "camera"

    def __post_init__(self):
        super().__post_init__()
        if self.draws < 1:
            raise CardError(f"draws={self.draws}: expected at least 1")
        if self.ignore not in IGNORED:
            raise CardError(f"ignore: {self.ignore!r}{nearest(self.ignore, IGNORED)} (known: {', '.join(IGNORED)})")
        if self.leave_one_out and self.single_shot:
            raise CardError("single_shot ranks images of another camera; it does not go with ignore: itself")

    @property
    def leave_one_out(self) -> bool:
        """Whether a query is ranked against all others."""
        return self.ignore == "itself"

    @property
    def words(self) -> str:
        """The protocol in words."""
        return self.protocol or IGNORED[self.ignore]
