"""Writing pair subgraphs to disk, append by append; an interruption loses at most the append it hits."""
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
from torch import Tensor
from torch_geometric.data import Batch

from mprd_pyg.files import replacing
from mprd_pyg.graph.pairs.flat_subgraphs import PackedSubgraphs
from mprd_pyg.graph.store import store_files
from mprd_pyg.graph.store.store_files import IMAGES, KIND, MANIFEST, read_manifest
from mprd_pyg.manifest import FileEntry, Manifest

IMAGE_COLUMNS = ("path", "person_id", "camera_id")


class PairSubgraphWriter:
    """Makes a store of pair subgraphs, or goes on with one; read it by :class:`PairSubgraphDataset`.

    Every :meth:`append` writes one Arrow IPC file, which pandas and others can read too, and then commits it by
    replacing ``manifest.json``. What a crash leaves behind does not count, and is overwritten by the next append.

    Args:
        folder: of the store.
        images: table of the graph's nodes, row = node, with any of the columns path, person_id, camera_id. The
            pairs' paths, cameras and truth are taken from it. A store keeps the one it was made with.
        image_root: folder that the paths are relative to.
        about: plain values to keep with the store.

    Raises:
        ValueError: the folder's store is damaged, or was made with another image table.
    """

    def __init__(self, folder: str | Path, images: pd.DataFrame | None = None, image_root: str | Path | None = None,
                 about: dict[str, Any] | None = None):
        self.folder, self.images = Path(folder), None
        self._edge_attr, self._pairs, self._last_epoch = False, [], []  # of each append
        if images is not None:
            images = images[[name for name in IMAGE_COLUMNS if name in images]].reset_index(drop=True)
        if (self.folder / MANIFEST).exists():
            self.manifest = read_manifest(self.folder)
            appends, self.images, _ = store_files.read_store(self.folder, self.manifest)
            for subgraphs, columns, _ in appends:
                self._count(subgraphs, columns)
            if images is not None and (self.images is None or not self.images.equals(images)):
                raise ValueError(f"{self.folder} is of another run: its data are other images. Write to another folder "
                                 f"or resume with the images it began with")
            return
        self.manifest = Manifest(KIND, (), dict(about or {}))
        if image_root is not None:
            self.manifest.about["image_root"] = str(Path(image_root).absolute())
        files, self.images = (), images
        if images is not None:
            with replacing(self.folder / IMAGES) as part:
                pa.feather.write_feather(images, str(part), compression="uncompressed")
            files = (FileEntry.of(self.folder / IMAGES),)
        self._commit(*files)

    def __len__(self) -> int:
        return sum(self._pairs)

    def append(self, batch: Batch, similarity: Tensor | None = None, likelihood: Tensor | None = None,
               believed: Tensor | None = None, truth: Tensor | None = None, epoch: int | Tensor = 0,
               branch: int | Tensor = 0, statistics: Tensor | None = None, statistic_names: Sequence[str] = ()) -> None:
        """Add the subgraphs of a batch and commit them.

        Args:
            batch: of :class:`PairSubgraphs`; ``edge_attr`` (E,), if it has any, is the similarity along each edge.
            similarity: (P,) of the pairs.
            likelihood: (P,) of "same person", in [0, 1].
            believed: (P,) bool.
            truth: (P,) bool, whether both show the same person; by default the image table's identities say.
            epoch: one for all, or (P,).
            branch: one for all, or (P,).
            statistics: (P, F) of :class:`PairStatistics`; an append may go without.
            statistic_names: their F names, which the manifest keeps: the same in every append that has statistics.

        Raises:
            ValueError: a column of another length, other statistics than before, a node that the image table has
                not, edge similarities that only some appends have, or a store that somebody else changed meanwhile.
        """
        if self.manifest != read_manifest(self.folder):
            raise ValueError(f"{self.folder} was written to by another process since it was opened: "
                             f"only one may append at a time; open it again")
        subgraphs = PackedSubgraphs.pack(batch)
        if self._pairs and self._edge_attr != (subgraphs.edge_attr is not None):
            raise ValueError(f"{self.folder} holds pairs {'with' if self._edge_attr else 'without'} edge_attr, unlike "
                             f"this batch: give edge_attr always or never")
        last, num_nodes = int(batch.n_id.max()), store_files.MAX_NODES if self.images is None else len(self.images)
        if last >= num_nodes:
            raise ValueError(f"the subgraphs name node {last}, but the image table has {num_nodes} rows")
        columns = self._columns(subgraphs.pairs.cpu().numpy(), {
            "similarity": similarity, "likelihood": likelihood, "believed": believed, "truth": truth, "epoch": epoch,
            "branch": branch})
        about = {} if statistics is None else {"statistics": list(statistic_names)}
        if statistics is not None:
            expected, known = (len(subgraphs), len(statistic_names)), self.manifest.about.get("statistics")
            if not statistic_names or tuple(statistics.shape) != expected:
                raise ValueError(f"statistics are {tuple(statistics.shape)}, expected {expected}: a row per pair and a "
                                 f"column per name")
            if known not in (None, about["statistics"]):
                raise ValueError(f"{self.folder} holds the statistics {', '.join(known)}: append the same, or none")
        path = self.folder / f"pairs-{len(self._pairs):05d}.arrow"
        with replacing(path) as part:
            store_files.write_pairs(part, subgraphs, columns, statistics)
        self._commit(*self.manifest.files, FileEntry.of(path), about=about)
        self._count(subgraphs, columns)

    def drop_epochs(self, first: int) -> None:
        """Forget the appends from the first one on that holds pairs of epoch ``first`` or a later one."""
        keep = next((number for number, last in enumerate(self._last_epoch) if last >= first), len(self._pairs))
        if keep < len(self._pairs):
            late = {f"pairs-{number:05d}.arrow" for number in range(keep, len(self._pairs))}
            self._commit(*(entry for entry in self.manifest.files if entry.name not in late))
            del self._pairs[keep:], self._last_epoch[keep:]

    def set_features(self, features: Tensor, epoch: int | None = None) -> None:
        """Save the memory bank (N, d) or (M, N, d) that is joined on reading, in place of any earlier one."""
        bank = features.detach().float().cpu().numpy()
        old = [entry for entry in self.manifest.files if entry.name.startswith("features-")]
        path = self.folder / f"features-{int('features-0.npy' in [entry.name for entry in old])}.npy"
        with replacing(path) as part, open(part, "wb") as file:
            np.save(file, bank[None] if bank.ndim == 2 else bank, allow_pickle=False)
        others = [entry for entry in self.manifest.files if entry not in old]
        self._commit(*others, FileEntry.of(path), about={"features_epoch": epoch})

    def _commit(self, *files: FileEntry, about: dict[str, Any] | None = None) -> None:
        old, manifest = self.manifest, Manifest(KIND, files, self.manifest.about | (about or {}))
        manifest.write(self.folder / MANIFEST)
        self.manifest = manifest
        for name in {entry.name for entry in old.files} - {entry.name for entry in files}:
            (self.folder / name).unlink(missing_ok=True)

    def _count(self, subgraphs: PackedSubgraphs, columns: pa.RecordBatch | dict[str, pa.Array]) -> None:
        self._edge_attr = subgraphs.edge_attr is not None
        self._pairs.append(len(subgraphs))
        self._last_epoch.append(int(columns["epoch"].to_numpy().max()))

    def _columns(self, pairs: np.ndarray, given: dict[str, Any]) -> dict[str, pa.Array]:
        """What is known of pairs (P, 2): what was given, and the truth by the image table."""
        columns = {}
        for kind in store_files.COLUMNS:
            value = given[kind.name]
            if kind.name == "truth" and value is None and self.images is not None and "person_id" in self.images:
                person = self.images["person_id"].to_numpy()[pairs]
                value = pa.array(person[:, 0] == person[:, 1], mask=(person < 0).any(1))
            elif value is None:
                value = pa.nulls(len(pairs))
            elif isinstance(value, int):
                value = np.full(len(pairs), value)
            elif isinstance(value, Tensor):
                value = value.detach().cpu().numpy()
            if len(value) != len(pairs):
                raise ValueError(f"{kind.name} has {len(value)} entries for {len(pairs)} pairs")
            columns[kind.name] = pa.array(value, from_pandas=True).cast(kind.type)
        return columns
