"""A data card says, in one YAML file, how a dataset is laid out, split, checked, obtained and evaluated."""
import dataclasses
import functools
import logging
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mprd_pyg.bounded_yaml import parse_yaml, read_text
from mprd_pyg.data.cards import roots
from mprd_pyg.data.cards.counts import deviations, shared_identities
from mprd_pyg.data.cards.layouts import READERS, Listing
from mprd_pyg.data.cards.naming import to_table
from mprd_pyg.data.cards.rules import check_card
from mprd_pyg.data.cards.schema import Counts, DataRootError, Evaluation, Repeats, Split, Table, TableError
from mprd_pyg.data.cards.typed_yaml import CardError, Checked, build, nearest, plain
from mprd_pyg.data.table import ImageTable

logger = logging.getLogger(__name__)

TEMPLATE = "folder"
"""The shipped card that is no dataset but a template to copy."""


@dataclass(frozen=True)
class DataCard(Checked):
    """One dataset: where its images are, what their names mean, what must be there, and under which terms.

    Args:
        name: short name, by which :meth:`load` finds a shipped card.
        pattern: regular expression that a whole image path, posix and relative to its split's folder, must
            match; the named groups ``person``, ``camera`` and ``tracklet`` give the ids. Without ``person``
            identities are unknown (-1), without ``camera`` every camera is 0. Names that are not numbers are numbered
            in sorted order, and the table's ``attrs["person_names"]`` keeps which is which. Images of one tracklet
            and camera are known to show one individual.
        splits: ``train``, ``query``, ``gallery`` -> :class:`Split`; the one key ``all`` for ``by_identity`` and
            ``repeated``.
        layout: ``folders``, ``listfile`` (paths in text files), ``table`` (paths and ids in a table),
            ``by_identity`` (sorted identities, positions 0, 2, 4, ... train, the others query) or ``repeated`` (the
            identities of split number ``split`` of ``repeats`` train, the others query).
        table: the file that lists the images and its columns, in place of pattern and splits.
        title: full name.
        root_hint: what the folder to give as root is usually called.
        junk_ids: persons whose images are dropped.
        distractor_ids: persons whose images are kept but who are nobody: they count as no identity.
        camera_offset: added to the camera numbers.
        camera_names: camera as it stands in the path -> number, where several names are one camera.
        swap: ``by_identity`` only: exchange train and query, for tuning without the test identities.
        repeats: ``repeated`` only: how the identities are split, and how often.
        split: ``repeated`` only: the number of the split in use, from 0.
        gallery_includes_query: every query image is a gallery image too.
        counts: expected :class:`Counts` per split.
        counts_file: JSON file below the root whose ``counts`` stand in for missing ``counts``.
        evaluation: the protocol.
        archives: files below the root from which ``python -m pipelines.extract`` makes what this card reads.
        obtaining: where the data come from.
        terms: the licence or conditions.
        traps: what to know before trusting a figure.
        citation: the paper to cite.
        reference: published figures in percent, method -> ``mAP``, ``rank1``, ``rank5``, ``rank10``.
    """

    name: str
    pattern: str | None = None
    splits: dict[str, Split] = field(default_factory=dict)
    layout: str = "folders"
    table: Table | None = None
    title: str = ""
    root_hint: str = ""
    junk_ids: tuple[int, ...] = ()
    distractor_ids: tuple[int, ...] = ()
    camera_offset: int = 0
    camera_names: dict[str, int] = field(default_factory=dict)
    swap: bool = False
    repeats: Repeats | None = None
    split: int = 0
    gallery_includes_query: bool = False
    counts: dict[str, Counts] = field(default_factory=dict)
    counts_file: str | None = None
    evaluation: Evaluation = field(default_factory=Evaluation)
    archives: tuple[str, ...] = ()
    obtaining: str = ""
    terms: str = ""
    traps: tuple[str, ...] = ()
    citation: str = ""
    reference: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self):
        super().__post_init__()
        check_card(self)

    @classmethod
    def names(cls) -> list[str]:
        """The names of the shipped cards."""
        files = resources.files("data_cards").iterdir()
        return sorted(file.name[:-5] for file in files if file.name.endswith(".yaml"))

    @classmethod
    def load(cls, name: str) -> "DataCard":
        """Load a shipped card by its name, or, when ``name`` ends in ``.yaml`` or ``.yml``, that file."""
        if str(name).endswith((".yaml", ".yml")):
            return cls.from_yaml(name)
        known = cls.names()
        if name not in known:
            raise CardError(f"no shipped card is called {name!r}{nearest(name, known)} (shipped cards: "
                            f"{', '.join(known)}; for a card of your own give the path of its .yaml file)")
        return _shipped(name)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "DataCard":
        """Read a card of your own from a YAML file."""
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no card file {path} (shipped cards, by name: {', '.join(cls.names())})")
        return cls._parse(read_text(path), str(path))

    @classmethod
    def _parse(cls, text: str, where: str) -> "DataCard":
        try:
            values = parse_yaml(text, where)
        except ValueError as error:
            raise CardError(str(error)) from None
        if "base" in values:
            base = values.pop("base")
            if base not in cls.names():
                raise CardError(f"{where}: base: no shipped card is called {base!r}{nearest(base, cls.names())}")
            values = dataclasses.asdict(cls.load(base)) | values
        return build(cls, values, where)

    def to_yaml(self, path: str | Path | None = None) -> str:
        """The card as YAML text, defaults left out; written to ``path`` if given."""
        values = plain(self)
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
        if yaml.safe_load(text) != values:      # PyYAML loses the line break U+0085 unless it escapes all
            text = yaml.safe_dump(values, sort_keys=False, width=100)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", newline="\n")
        return text

    def replace(self, **changes: Any) -> "DataCard":
        """A copy with some keys changed, checked like a new card: ``card.replace(pattern=...)``."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return build(type(self), values | changes, f"card {self.name!r}")

    def scan(self, root: str | Path) -> ImageTable:
        """List the dataset below ``root``; every deviation from the expected counts is logged as a warning.

        Returns:
            An image table (see :func:`~mprd_pyg.data.check_table`): path, person_id, camera_id, split, where they
            are known also tracklet_id and date. Its
            ``attrs`` hold ``root``, ``card`` (the name), ``junk`` (images dropped per split), ``unmatched``
            (paths that fit no pattern), ``person_names`` and ``camera_names`` (name -> id, empty where the
            names are numbers).

        Raises:
            FileNotFoundError: the root does not exist.
            DataRootError: it does not hold what the card promises; the message names the right folder or
                card where one is found.
        """
        root = roots.check_root(self, root)
        try:
            listing = READERS[self.layout](self, root)
            if not listing.entries:
                raise DataRootError(f"no image is left (junk dropped: {sum(listing.junk.values())})")
        except TableError:
            raise
        except DataRootError as error:
            raise DataRootError(roots.explain(self, root, str(error), self._others())) from None
        unmatched = self._report_unmatched(listing, root)
        frame = to_table(self, listing)
        frame.attrs.update(root=str(root), unmatched=unmatched)
        for text in shared_identities(self, frame) + self.deviations(frame):
            logger.warning("%s: %s", self.name, text)
        return frame

    def _others(self) -> "list[DataCard]":
        return [DataCard.load(name) for name in DataCard.names() if name not in (self.name, TEMPLATE)]

    def _report_unmatched(self, listing: Listing, root: Path) -> list[str]:
        unmatched = sorted(set(listing.unmatched) - {entry.path for entry in listing.entries})
        if not unmatched:
            return []
        text = (f"{len(unmatched)} images do not match the card's pattern, first: "
                f"{', '.join(map(repr, unmatched[:5]))} (pattern {self.pattern} )")
        # mostly foreign names: another dataset in the same folders? A card of one's own may mean it
        foreign = len(unmatched) > len(listing.entries) and self.name in self.names()
        alike = roots.look_alike(root, self._others()) if foreign else None
        if alike is not None:
            raise DataRootError(f"data root {root} does not fit the card {self.name!r}: {text}; "
                                f"this looks like the data of the card {alike!r}: use that card")
        logger.warning("%s: %s; they are left out", self.name, text)
        return unmatched

    def deviations(self, frame: ImageTable) -> list[str]:
        """What differs between a scanned table and the expected counts, one sentence per figure."""
        return deviations(self, frame)

    def evaluation_sets(self, frame: ImageTable) -> tuple[np.ndarray, np.ndarray]:
        """The table rows that are queries and those that are ranked, as int64 arrays (Q,) and (G,).

        Leave one out of a table without query and gallery images ranks all its images, training images though they
        are; the queries are those of known identity.
        """
        split = frame["split"].to_numpy()
        query, gallery = split == "query", split == "gallery"
        if self.evaluation.leave_one_out and not (query | gallery).any():
            gallery = np.ones_like(gallery)
            query = ((frame["person_id"] >= 0) & ~frame["person_id"].isin(self.distractor_ids)).to_numpy()
        if self.gallery_includes_query:
            gallery = gallery | query
        if self.evaluation.query_cameras:
            query = query & frame["camera_id"].isin(self.evaluation.query_cameras).to_numpy()
        return np.flatnonzero(query), np.flatnonzero(gallery)

    def other_images(self, frame: ImageTable) -> np.ndarray:
        """(Q,) how many gallery images of its identity each query has, besides itself."""
        query, gallery = self.evaluation_sets(frame)
        person = frame["person_id"]
        return person.iloc[gallery].value_counts().reindex(person.iloc[query], fill_value=0).to_numpy() \
            - np.isin(query, gallery)

    def check_evaluable(self, frame: ImageTable) -> None:
        """Raise ``ValueError`` unless some query has another image of its identity in the gallery, of another camera
        but for leave one out."""
        query, gallery = (frame.iloc[rows] for rows in self.evaluation_sets(frame))
        for name, rows in (("query", query), ("gallery", gallery)):
            if len(rows) == 0:
                raise ValueError(f"card {self.name!r}: no {name} images, so nothing can be ranked; only training "
                                 f"is possible. Expected below the root: {self._source(name)}")
            unknown = rows["path"][rows["person_id"] < 0]
            if len(unknown) and not (self.evaluation.leave_one_out and name == "gallery"):
                raise ValueError(f"card {self.name!r}: {len(unknown)} {name} images have no identity, first: "
                                 f"{', '.join(unknown.iloc[:5])}; to rank, the pattern needs the group 'person'")
        if self.evaluation.leave_one_out:
            if not self.other_images(frame).any():
                raise ValueError(f"card {self.name!r}: each of the {len(query)} query images is the only one of its "
                                 "identity in the gallery, so nothing can be ranked")
            return
        pairs = [rows.loc[~rows["person_id"].isin(self.distractor_ids), ["person_id", "camera_id"]]
                 .drop_duplicates() for rows in (query, gallery)]
        both = pairs[0].merge(pairs[1], on="person_id", suffixes=("_query", "_gallery"))
        cameras = sorted(set(query["camera_id"]) | set(gallery["camera_id"]))
        shown = ", ".join(map(str, cameras[:10]))
        if not (both["camera_id_query"] != both["camera_id_gallery"]).any():
            raise ValueError(f"card {self.name!r}: no identity is seen in two cameras among query and gallery "
                             f"(cameras found: {shown}), so every query would be skipped; check the group "
                             f"'camera' in the pattern {self.pattern}, or rank without cameras by "
                             "evaluation: {ignore: itself}")
        if self.evaluation.single_shot and len(cameras) != 2:
            raise ValueError(f"card {self.name!r}: single shot needs exactly two cameras among query and gallery, "
                             f"found {shown}: give camera_names that join them, or leave single_shot")
        if not self.evaluation.cross_camera_valid:
            logger.warning("%s: camera labels are meaningless; no cross-camera figure is valid", self.name)

    def describe(self) -> str:
        """The card in words, one line per fact."""
        source = f"table: {self.table.file}" if self.table else f"pattern: {self.pattern}"
        lines = [f"{self.name}: {self.title}".rstrip(": "), f"layout: {self.layout}; {source}"]
        for name, split in self.splits.items():
            pattern = f", pattern {split.pattern}" if split.pattern else ""
            lists = f", listed in {' and '.join(split.lists)}" if split.lists else ""
            lines.append(f"split {name}: {' or '.join(split.folder)}{lists}{pattern}"
                         f"{' (optional)' if split.optional else ''}")
        for name, count in self.counts.items():
            figures = [f"{getattr(count, what):,} {what}" for what in Counts.__dataclass_fields__
                       if getattr(count, what) is not None]
            lines.append(f"expected in {name}: {', '.join(figures)}")
        if self.repeats:
            how = f"listed in {self.repeats.file}" if self.repeats.file else f"drawn from seed {self.repeats.seed}"
            lines.append(f"split number {self.split} of {self.repeats.count}, by identity, {how}")
        lines.append(f"evaluation: {self.evaluation.words}"
                     + ("" if self.evaluation.cross_camera_valid else " (camera labels are meaningless)"))
        lines += [f"{what}: {text.strip()}" for what, text in
                  (("obtaining", self.obtaining), ("terms", self.terms), ("citation", self.citation)) if text]
        lines += [f"trap: {trap}" for trap in self.traps]
        lines += [f"published, {method}: " + ", ".join(f"{name} {value:g}" for name, value in row.items())
                  for method, row in self.reference.items()]
        return "\n".join(lines)

    def _source(self, split: str) -> str:
        if self.table:
            return f"{self.table.file}, whose column {self.table.split!r} names the splits"
        source = self.splits.get(split)
        return " or ".join(source.folder) if source else f"the card declares no split {split!r}"


@functools.cache        # explaining a wrong root reads them all
def _shipped(name: str) -> DataCard:
    text = resources.files("data_cards").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return DataCard._parse(text, f"data_cards/{name}.yaml")
