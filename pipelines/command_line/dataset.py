"""From a card and a folder to image tables that are known to be readable."""
import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mprd_pyg.data import DataCard, ImageStore, check_images, fingerprint, single_shot_draws
from mprd_pyg.data.image_cache import CachedStore, ImageCache, default_folder
from mprd_pyg.random_streams import stream


@dataclass(frozen=True)
class DataOptions:
    """Which images.

    Args:
        card: a shipped data card's name, or the path of a YAML file.
        root: folder that holds the data; the synthetic card generates its own without one.
        height: H that images are resized to.
        width: W that images are resized to.
        pattern: overrides the card's pattern of file names (named groups person and camera).
        swap: exchange the training and test identities of a card split by identity, for tuning.
        split: number of the split, 0, 1, ..., of a card with repeated splits; None is the card's own, the first.
        skip_unreadable: leave out images that cannot be read, instead of stopping.
        workers: processes that read and augment images; 0 reads in the main process.
        cache: keep decoded, resized images in a file: a folder for it, auto (the user's cache folder), or none.
    """

    card: str = "market1501"
    root: str | None = None
    height: int = 256
    width: int = 128
    pattern: str | None = None
    swap: bool = False
    split: int | None = None
    skip_unreadable: bool = False
    workers: int = 0
    cache: str = "none"


class Dataset:
    """A scanned and checked dataset.

    Args:
        options: which images.
        root: overrides the options' root.
    """

    def __init__(self, options: DataOptions, root: str | Path | None = None):
        root = root or options.root
        is_file = options.card.endswith((".yaml", ".yml"))
        card = DataCard.from_yaml(options.card) if is_file else DataCard.load(options.card)
        if options.pattern is not None:
            card = card.replace(pattern=options.pattern)
        if options.swap:
            card = card.replace(swap=True)
        if options.split is not None:
            card = card.replace(split=options.split)
        if root is None:
            raise ValueError(f"where are the images of {card.name!r}? Give the folder: --data.root DIR "
                             f"({card.obtaining or 'see data_cards/README.md'})")
        self.options = options
        frame = card.scan(root)
        cache = self._cache(frame)
        if cache is None or cache.problem() is not None:    # what stands in a good cache has been read
            frame = check_images(frame, skip_unreadable=options.skip_unreadable)
            cache = self._cache(frame)
        self.cache = cache and cache.ensure()
        self._take(card, frame)

    def _take(self, card: DataCard, frame: pd.DataFrame) -> None:
        self.card, self.frame, self.fingerprint = card, frame, fingerprint(frame)
        self.query, self.gallery = card.evaluation_sets(frame)

    def at_split(self, number: int) -> "Dataset":
        """The same images split otherwise, by a card with repeated splits; none is decoded again."""
        other = copy.copy(self)
        card = self.card.replace(split=number)
        frame = card.scan(self.frame.attrs["root"])
        attrs = self.frame.attrs | frame.attrs
        frame = frame[frame["path"].isin(self.frame["path"])].reset_index(drop=True)    # without the unreadable ones
        frame.attrs = attrs
        other._take(card, frame)
        return other

    @property
    def train(self) -> pd.DataFrame:
        """The training rows, numbered from 0."""
        frame = self.frame[self.frame["split"] == "train"].reset_index(drop=True)
        if not len(frame):
            raise ValueError(f"{self.frame.attrs['root']} has no training images for the card {self.card.name!r}")
        frame.attrs = dict(self.frame.attrs)
        return frame

    @property
    def test(self) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
        """The rows that are queries or gallery, numbered from 0, and which of them are which."""
        rows = np.union1d(self.query, self.gallery)
        test = self.frame.iloc[rows].reset_index(drop=True)
        test.attrs = dict(self.frame.attrs)
        return test, np.searchsorted(rows, self.query), np.searchsorted(rows, self.gallery)

    @property
    def draws(self) -> np.ndarray | None:
        """(D, S) places among the gallery images, the galleries of a single-shot protocol; None if it is another."""
        if not self.card.evaluation.single_shot:
            return None
        gallery, protocol = self.frame.iloc[self.gallery], self.card.evaluation
        return single_shot_draws(gallery["path"].tolist(), gallery["person_id"].to_numpy(),
                                 gallery["camera_id"].to_numpy(), protocol.draws, protocol.draw_seed)

    def protocol(self) -> dict[str, Any] | None:
        """The random choices behind the figures, with paths relative to the root; None where nothing was drawn."""
        draws = self.draws if len(self.gallery) else None
        if self.card.repeats is None and draws is None:
            return None
        path = self.frame["path"].to_numpy()
        record = {"card": self.card.name, "split": self.card.split,
                  "train": path[self.frame["split"] == "train"].tolist(), "query": path[self.query].tolist()}
        if self.card.repeats is not None:
            record["splits"] = asdict(self.card.repeats)
        if draws is not None:
            record["draw_seed"] = self.card.evaluation.draw_seed
            record["galleries"] = path[self.gallery][draws].tolist()
        return record

    def describe_split(self) -> dict[str, Any]:
        """``{"repeated_split": [card, number]}`` for a card with repeated splits, else nothing."""
        return {"repeated_split": [self.card.name, self.card.split]} if self.card.repeats else {}

    def store(self, frame: pd.DataFrame) -> ImageStore | CachedStore:
        """Decoded images of a table, of this dataset or (for other images, with their own ``attrs``) another."""
        if self.cache is not None:
            own = frame.attrs.get("root") in (None, self.frame.attrs["root"])
            return (self.cache if own else self._cache(frame).ensure()).store(frame)
        return ImageStore(frame, size=(self.options.height, self.options.width))

    def _cache(self, frame: pd.DataFrame) -> ImageCache | None:
        options = self.options
        folder = default_folder() if options.cache == "auto" else options.cache
        return None if options.cache == "none" else ImageCache(frame, (options.height, options.width), folder)

    def why_not_evaluable(self) -> str | None:
        """Reason why no ranking can be scored, or None; identities without a match raise."""
        if self.card.evaluation.leave_one_out and bool((self.frame["person_id"] < 0).all()):
            return "the identities of the images are unknown"
        if not len(self.query) or not len(self.gallery):
            return "the data have no query and gallery images"
        if bool((self.frame["person_id"].to_numpy()[self.query] < 0).all()):
            return "the identities of the query images are unknown"
        self.card.check_evaluable(self.frame)
        return None

    def counts(self) -> dict[str, dict[str, int]]:
        """Images, identities and cameras per split."""
        return {split: {"images": len(part), "identities": int(part["person_id"][part["person_id"] >= 0].nunique()),
                        "cameras": int(part["camera_id"].nunique())} for split, part in self.frame.groupby("split")}


def choose_meta(train: pd.DataFrame, identities: int, seed: int) -> pd.DataFrame:
    """Mark the images of some random identities as labelled meta data and put them last.

    The row order of the result is that of the memory: unlabelled images first.

    Args:
        train: training table.
        identities: how many (5 in MPRD; 0 for none), of those with two images or more.
        seed: of the choice.
    """
    count = train["person_id"][train["person_id"] >= 0].value_counts()
    known = sorted(count.index[count > 1].tolist())  # a single image makes no pair
    if identities == 1 or identities > len(known):
        raise ValueError(f"{identities} labelled meta identities were asked for; the training images have {len(known)} "
                         f"known identities of two images or more (at least 2 are needed, or 0 to do without)")
    chosen = [known[i] for i in torch.randperm(len(known), generator=stream(seed, 7))[:identities].tolist()]
    table = train.assign(meta=train["person_id"].isin(chosen))
    table = table.sort_values("meta", kind="stable").reset_index(drop=True)
    table.attrs = dict(train.attrs)
    return table


def column(frame: pd.DataFrame, name: str) -> Tensor:
    """A table's column as an integer tensor."""
    return torch.from_numpy(frame[name].to_numpy(dtype="int64").copy())
