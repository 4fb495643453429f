"""A folder that keeps the features and groups of images: new images join or found groups, the old are not embedded
again."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from mprd_pyg.evaluation import evaluate_groups
from mprd_pyg.grouping.group_files import COLUMNS, MANIFEST, GroupFiles
from mprd_pyg.grouping.image_groups import (
    VERDICTS,
    ImageGroups,
    add_to_groups,
    default_finder,
    describe_groups,
    find_groups,
)
from mprd_pyg.grouping.numbers import GroupChange, keep_numbers
from mprd_pyg.relations import Constraints, Relation
from mprd_pyg.relations.groups import GroupFinder
from mprd_pyg.retrieval.embedded_files import embed_files
from mprd_pyg.retrieval.gallery_files import load_gallery
from mprd_pyg.retrieval.gallery_scan import list_files
from mprd_pyg.retrieval.gallery_search import network_hash

FILE = ["path", "bytes", "mtime_ns"]
PENDING = -1  # verdict of an image that is embedded and not grouped yet
SAVE = 2048  # images after which an embedding is saved at the latest


@dataclass(frozen=True)
class GroupUpdate:
    """What a call did.

    Attributes:
        added: images that were embedded, or read from an index, and grouped now.
        joined: of them, those in a group that was there before.
        changes: old images whose group number is another now.
        skipped: (path, reason) of what is no readable image.
        altered: paths of images whose file changed since they were embedded; their features are of the old file.
    """

    added: int
    joined: int
    changes: list[GroupChange]
    skipped: list[tuple[str, str]]
    altered: list[str]


class GroupFolder:
    """Groups of images in a folder.

    Args:
        folder: opened if it holds groups, else made by the first update.
        embedder: (B, 3, H, W) normalised images -> (B, M, d); branches are concatenated. None for reading only.
        size: (H, W) that images are resized to.
        describe: plain values that say which network this is, beside its weights.
        device: where the embedder runs.
        batch_size: images per forward pass.
        workers: threads that decode images.
        progress: show a bar.

    Raises:
        ValueError: the folder is damaged, of another network, or holds something else.

    Example::

        groups = GroupFolder("groups", network, (256, 128))
        groups.update("crops")
        print(groups.images)                    # path, group, confidence, verdict, uncertain, ...
    """

    def __init__(self, folder: str | Path, embedder: nn.Module | None = None, size: tuple[int, int] | None = None,
                 describe: dict[str, Any] | None = None, device: str | torch.device = "cpu", batch_size: int = 64,
                 workers: int = 4, progress: bool = True):
        self.folder, self.files = Path(folder), GroupFiles(folder)
        self.size, self.device, self.batch_size = size, device, batch_size
        self.workers, self.progress = workers, progress
        self.embedder = None if embedder is None else embedder.to(device).eval()
        if embedder is not None:
            network = network_hash(embedder, {"describe": describe or {}, "size": list(size)})
            if self.files.about.setdefault("network", network) != network:
                raise ValueError(f"{folder} was made with another network (weights, options or image size), whose "
                                 f"features cannot be compared with this one's: give its checkpoint, or another --out")
        elif not self.files.about:
            raise ValueError(f"{folder} is no groups folder: {MANIFEST} is not there. Give the --out folder of an "
                             f"earlier call, or make one from --gallery DIR")
        self.files.about = {"roots": [], "threshold": None, "next_group": 0} | self.files.about

    def __len__(self) -> int:
        return len(self.files)

    @property
    def about(self) -> dict[str, Any]:
        """Plain values beside the table: roots, threshold, how groups were found."""
        return self.files.about

    @property
    def images(self) -> pd.DataFrame:
        """A row per image: path, group (-1 for none), confidence, verdict, uncertain, and what it was compared with."""
        table, found = self.files.table, self.groups
        return pd.DataFrame({
            "path": table["path"], "group": table["group"], "confidence": table["confidence"],
            "verdict": [VERDICTS[code] if code >= 0 else "" for code in table["verdict"]],
            "uncertain": found.uncertain.numpy(), "similarity": table["similarity"],
            "nearest_group": table["nearest"], "nearest_similarity": table["nearest_similarity"],
            "person_id": table["person_id"], "camera_id": table["camera_id"],
            "root": [self.about["roots"][root] for root in table["root"]]})

    @property
    def groups(self) -> ImageGroups:
        """The same as tensors, with the near-duplicate groups."""
        table = self.files.table
        column = {name: torch.from_numpy(table[name].to_numpy().copy()) for name in (
            "group", "confidence", "verdict", "similarity", "nearest", "nearest_similarity")}
        duplicates = torch.tensor(self.about.get("duplicates", []), dtype=torch.long).reshape(-1, 2)
        threshold = self.about["threshold"]
        return ImageGroups(*column.values(), 1.0 if threshold is None else threshold, duplicates,
                           torch.tensor(self.about.get("duplicate_similarity", [])))

    def metrics(self) -> dict[str, float | int]:
        """Counts, and where identities are known how far groups are individuals (of the images that are known)."""
        table, found = self.files.table, self.groups
        count = {name: int((table["verdict"] == code).sum()) for code, name in enumerate(VERDICTS)}
        figures = {"images": len(table), "groups": len(found.group[found.group >= 0].unique()), **count,
                   "uncertain": int(found.uncertain.sum()), "estimated_individuals": found.individuals,
                   "near_duplicates": len(found.duplicates), "threshold": self.about["threshold"]}
        person = table["person_id"].to_numpy()
        if (person >= 0).any():
            figures |= evaluate_groups(found.group.numpy(), person).summary()
        return figures

    def update(self, root: str | Path, **options: Any) -> GroupUpdate:
        """:meth:`embed` what is new below a folder, then :meth:`group` it; options of :meth:`group`."""
        skipped, altered = self.embed(root)
        return self.group(skipped=skipped, altered=altered, **options)

    def embed(self, root: str | Path, images: pd.DataFrame | None = None, index: str | Path | None = None,
              ) -> tuple[list[tuple[str, str]], list[str]]:
        """Embed the images below a folder that are not in this one yet. It can be stopped; call it again to go on.

        Args:
            root: folder of images, searched recursively; hidden files are passed over.
            images: which of them, columns path, person_id and camera_id; all by default, of unknown identity.
            index: folder of a :class:`GallerySearch` of the same network: where it has the same files, its features
                are taken.

        Returns:
            what is no readable image, with the reason, and the images whose file changed since they were embedded.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: it holds no readable image.
        """
        if self.embedder is None:
            raise ValueError(f"{self.folder} was opened for reading, without the network that embeds images")
        root = Path(root).resolve()
        found, bad = list_files(root, self.folder.resolve())
        if images is None:
            images = found[["path"]].assign(person_id=-1, camera_id=0)
        wanted = images[["path", "person_id", "camera_id"]].merge(found, on="path", how="left")
        gone = wanted["bytes"].isna()
        bad += [{"path": path, "reason": "the file does not exist"} for path in wanted["path"][gone]]
        wanted = wanted[~gone].astype({"bytes": "int64", "mtime_ns": "int64"})
        if str(root) not in self.about["roots"]:
            self.about["roots"] = [*self.about["roots"], str(root)]
        place = self.about["roots"].index(str(root))
        mine = self.files.table[self.files.table["root"] == place]
        both = mine[FILE].merge(wanted[FILE], on="path", suffixes=("", "_now"))
        altered = both["path"][(both["bytes"] != both["bytes_now"]) | (both["mtime_ns"] != both["mtime_ns_now"])]
        new = wanted[~wanted["path"].isin(mine["path"])]
        if index is not None:
            new = self._read_index(Path(index), root, place, new)
        waiting, skipped = [], [(entry["path"], entry["reason"]) for entry in bad]
        for rows, features, unreadable in embed_files(self.embedder, root, new["path"].tolist(), self.size, self.device,
                                                      self.batch_size, self.workers, self.progress):
            skipped += unreadable
            waiting += [(new.iloc[rows], features)] if len(rows) else []
            if sum(len(part) for part, _ in waiting) >= SAVE:
                self._append(place, waiting)
                waiting = []
        self._append(place, waiting)
        if not len(mine) and not (self.files.table["root"] == place).any():
            listed = "".join(f"\n  {path}: {reason}" for path, reason in skipped[:20])
            raise ValueError(f"{root} holds no readable image{listed}")
        return sorted(skipped), altered.tolist()

    def group(self, constraints: Constraints | None = None, relation: Relation | None = None,
              finder: GroupFinder | None = None, threshold: float | None = None, use_cameras: bool = True,
              regroup: bool = False, skipped: list[tuple[str, str]] | None = None, altered: list[str] | None = None,
              ) -> GroupUpdate:
        """Group what is embedded: everything at first, then only what is new (:func:`add_to_groups`).

        Args:
            constraints: of the rows of the table, see :func:`constrain_groups`. They also change old groups.
            relation, finder, threshold: as for :func:`find_groups`. The threshold of the first call stays.
            use_cameras: let the relation read the cameras, where there are several.
            regroup: find all groups anew; each keeps the number of the group with which it shares most images.
            skipped, altered: what :meth:`embed` returned, for the answer.
        """
        table, before, x = self.files.table, self.groups, self.files.features
        finder = finder or default_finder()
        camera, person = (torch.from_numpy(table[name].to_numpy().copy()) for name in ("camera_id", "person_id"))
        if not use_cameras or len(camera.unique()) < 2:
            camera = None
        old = int((table["verdict"] != PENDING).sum())
        if old and not regroup:
            known = before.group[:old]
            group = add_to_groups(x, known, before.threshold, camera, relation, finder, constraints)
        else:
            person = person if bool((person >= 0).any()) else None
            found = find_groups(x, camera, person, relation, finder, constraints, threshold)
            group, self.about["threshold"] = found.group, found.threshold
            self.about["threshold_from"] = "given" if threshold is not None else "identities" if person is not None \
                else "groups"
        label, changes, free = keep_numbers(table["group"].to_numpy()[:old], group.numpy(), self.about["next_group"])
        label = torch.from_numpy(label)
        kept = None
        if old and not regroup:
            kept = ImageGroups(*(getattr(before, name)[:old] for name in (
                "group", "confidence", "verdict", "similarity", "nearest", "nearest_similarity")), before.threshold,
                before.duplicates, before.duplicate_similarity)
        found = describe_groups(x, label, self.about["threshold"], kept)
        self.files.about |= {"next_group": free, "duplicates": found.duplicates.tolist(),
                       "duplicate_similarity": found.duplicate_similarity.tolist(),
                       "relation": repr(relation) if relation else "default", "finder": type(finder).__name__,
                       "cameras": camera is not None}
        columns = {name: getattr(found, name).numpy() for name in (
            "group", "confidence", "verdict", "similarity", "nearest", "nearest_similarity")}
        self.files.save(table.assign(**columns).astype(COLUMNS))
        joined = int(np.isin(label[old:].numpy(), before.group[:old][before.group[:old] >= 0].unique().numpy()).sum())
        return GroupUpdate(len(table) - old, joined, changes, skipped or [], altered or [])

    def _append(self, place: int, parts: list[tuple[pd.DataFrame, np.ndarray]]) -> None:
        if not parts:
            return
        rows = pd.concat([part for part, _ in parts], ignore_index=True)
        rows = rows.assign(root=place, group=-1, confidence=0.0, verdict=PENDING, similarity=np.nan, nearest=-1,
                           nearest_similarity=0.0)[list(COLUMNS)].astype(COLUMNS)
        self.files.save(pd.concat([self.files.table, rows], ignore_index=True).astype(COLUMNS),
                        np.concatenate([features for _, features in parts]))

    def _read_index(self, folder: Path, root: Path, place: int, new: pd.DataFrame) -> pd.DataFrame:
        """Take the features of ``new`` that a search index has; returns the other rows."""
        index, table, about = load_gallery(folder)
        if about["network"] != self.about["network"]:
            raise ValueError(f"{folder} is an index of another network: give the checkpoint that it was made with")
        if about["root"] != str(root):
            raise ValueError(f"{folder} is the index of {about['root']}, not of {root}")
        there = new.reset_index(drop=True).merge(table.assign(row=np.arange(len(table))), on=FILE)
        if len(there):
            features = index.reconstruct_batch(there["row"].to_numpy())
            self._append(place, [(there, F.normalize(torch.from_numpy(features), dim=1).numpy())])
        return new[~new["path"].isin(there["path"])]
