"""Reading saved pair subgraphs: a PyG dataset over memory-mapped Arrow files."""
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler
from torch_geometric.data import Batch, Data, Dataset

from mprd_pyg.graph.pairs.flat_subgraphs import FlatSubgraphs, PackedSubgraphs, cumulated
from mprd_pyg.graph.pairs.subgraphs import PairData, pair_batch
from mprd_pyg.graph.store.store_files import COLUMNS, read_manifest, read_store

#: what a pair's graph carries of the table: column -> (attribute, what stands for "unknown", dtype)
CARRIED = {
    "similarity": ("similarity", float("nan"), np.float32), "likelihood": ("likelihood", float("nan"), np.float32),
    "believed": ("believed", False, np.bool_), "truth": ("y", -1, np.int64), "epoch": ("epoch", 0, np.int64),
    "branch": ("branch", 0, np.int64)}


class PairSubgraphDataset(Dataset):
    """Saved pair subgraphs, read where they lie; made by :class:`PairSubgraphWriter`.

    ``dataset[5]`` is one PyG graph as :class:`PairSubgraphs` made it (``n_id``, ``z``, ``edge_index``,
    ``root_index`` [, ``edge_attr``]), with ``similarity``, ``likelihood``, ``believed``, ``y`` (1 same person, 0
    different, -1 unknown), ``epoch`` and ``branch`` of the pair, and ``pair_statistics`` (1, F) where they were saved,
    whose names are ``dataset.statistic_names`` (NaN for pairs that were saved without); ``x`` (n, d) from the saved
    memory; and of its nodes ``path`` (a list), ``person_id`` and ``camera_id``, where the image table has them.
    Slices, lists, masks and index tensors give datasets; ``dataset.table`` and ``dataset.statistics`` (pandas) have one
    row for each of their graphs, in their order.

    Args:
        root: folder of the store.
        transform: applied to every graph that is read.
        features: (N, d) or (M, N, d) to join by node [and branch] instead of the saved memory.
        image_root: folder of the images, when they have moved.

    Raises:
        FileNotFoundError: no store.
        ValueError: a file is missing, cut short or edited (it is named; the checksums of all files are compared first,
            a second for a few GB), or the features have too few rows.

    Example::

        dataset = PairSubgraphDataset("runs/market/subgraphs")
        table = dataset.table
        wrong = dataset[table.index[table["believed"] & ~table["truth"]]]
        for batch in wrong.loader(batch_size=256):   # or PyG's DataLoader(wrong, 256), which reads them one by one
            ...
    """

    def __init__(self, root: str | Path, transform: Callable[[Data], Data] | None = None,
                 features: Tensor | None = None, image_root: str | Path | None = None):
        self.folder = Path(root).expanduser()
        self.manifest = read_manifest(self.folder)
        super().__init__(str(self.folder), transform)
        self.image_root = self.manifest.about.get("image_root") if image_root is None else str(image_root)
        self._given = features.unsqueeze(0) if features is not None and features.dim() == 2 else features
        self._open()

    # -- PyG's dataset -------------------------------------------------------------------------------------------

    def len(self) -> int:
        """Pairs in the store."""
        return len(self._columns)

    def get(self, idx: int) -> PairData:
        """The graph at place ``idx`` of the whole store."""
        flat, per_pair, per_node, per_edge = self._read(torch.tensor([idx]))
        if self._paths is not None:
            per_node["path"] = self._paths[flat.n_id.numpy()].tolist()
            if self.image_root is not None:
                per_node["path"] = [os.path.join(self.image_root, path) for path in per_node["path"]]
        return PairData(n_id=flat.n_id, z=flat.z, num_nodes=len(flat.n_id), edge_index=flat.edge_index,
                        root_index=flat.root_index, **per_pair, **per_node, **per_edge)

    def __getitem__(self, idx: Any) -> "Data | PairSubgraphDataset":
        if isinstance(idx, pd.Index | pd.Series):
            idx = idx.to_numpy(dtype=bool if pd.api.types.is_bool_dtype(idx.dtype) else np.int64)
        return super().__getitem__(idx)

    @property
    def num_classes(self) -> int:
        """Same person or not."""
        return 2

    # -- many at once --------------------------------------------------------------------------------------------

    @property
    def table(self) -> pd.DataFrame:
        """(P rows) the pairs of this dataset, in its order; truth is <NA> where it is unknown."""
        if self._table is None:
            pairs = torch.cat([torch.empty(0, 2, dtype=torch.int32), *(part.pairs for part in self._parts)]).numpy()
            columns = {name: pairs[:, side] for side, name in enumerate(("anchor", "neighbour"))}
            for name, of_node in (("path", self._paths), ("camera", self._labels.get("camera_id"))):
                columns |= {f"{end}_{name}": None if of_node is None else of_node[columns[end]]
                            for end in ("anchor", "neighbour")}
            # pandas' own kind of truth values can be unknown
            known = self._columns.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)
            self._table = pd.concat([pd.DataFrame(columns, index=known.index), known], axis=1)
        return self._table if self._indices is None else self._table.iloc[list(self._indices)].reset_index(drop=True)

    @property
    def statistic_names(self) -> tuple[str, ...]:
        """F names of the pairs' statistics; none where the store has none."""
        return tuple(self.manifest.about.get("statistics", ()))

    @property
    def statistics(self) -> pd.DataFrame:
        """(P rows, F columns) statistics of the pairs of this dataset, in its order."""
        values = self._statistics[torch.as_tensor(list(self.indices()), dtype=torch.long)]
        return pd.DataFrame(values.numpy(), columns=list(self.statistic_names))

    def batch(self, index: Sequence[int] | Tensor | np.ndarray | slice | None = None) -> Batch:
        """Read many graphs flat, without a loop: ``Batch.from_data_list`` of them, but for the paths.

        Args:
            index: places in this dataset; None for all of it.
        """
        places = np.asarray(self.indices() if index is None else self[index].indices(), dtype=np.int64)
        if not len(places):
            raise IndexError("no pairs were asked for")
        if self.transform is not None:
            return Batch.from_data_list([self.transform(self.get(int(place))) for place in places])
        return pair_batch(*self._read(torch.from_numpy(places)))

    def loader(self, batch_size: int = 256, shuffle: bool = False, drop_last: bool = False,
               **options: Any) -> DataLoader:
        """A loader that reads each batch flat by :meth:`batch`; options are those of ``torch``'s DataLoader."""
        order = (RandomSampler if shuffle else SequentialSampler)(range(len(self)))
        sampler = BatchSampler(order, batch_size, drop_last)
        return DataLoader(self, batch_size=None, sampler=sampler, collate_fn=PairSubgraphDataset.batch, **options)

    # -- files ---------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        appends, images, features = read_store(self.folder, self.manifest)
        self._parts = [subgraphs for subgraphs, *_ in appends]
        self._start = cumulated(torch.tensor([len(part) for part in self._parts], dtype=torch.long))
        self._columns = pa.Table.from_batches([columns for _, columns, _ in appends], schema=COLUMNS)
        width = len(self.statistic_names)
        self._statistics = torch.cat([torch.empty(0, width), *(
            torch.full((len(part), width), float("nan")) if values is None else values for part, _, values in appends)])
        self._carried = {attribute: torch.from_numpy(_filled(self._columns[name], unknown, dtype))
                         for name, (attribute, unknown, dtype) in CARRIED.items()}
        self._table: pd.DataFrame | None = None
        self._labels = {name: images[name].to_numpy() for name in ("person_id", "camera_id")
                        if images is not None and name in images}
        self._paths = None if images is None or "path" not in images else images["path"].to_numpy(dtype=object)
        self._features = features if self._given is None else self._given
        last = max((int(part.n_id.max()) for part in self._parts if len(part)), default=-1)
        if self._features is not None and self._features.shape[1] <= last:
            raise ValueError(f"the features have {self._features.shape[1]} rows, but the subgraphs in {self.folder} "
                             f"name node {last}: join the memory that they were made from")

    def _read(self, places: Tensor) -> tuple[FlatSubgraphs, dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """The subgraphs at places (B,) of the store, and what goes with each pair, node and edge."""
        part = torch.searchsorted(self._start, places, right=True) - 1
        order = part.argsort(stable=True)
        used, count = part[order].unique_consecutive(return_counts=True)
        taken = [self._parts[number].take(rows - self._start[number])
                 for number, rows in zip(used.tolist(), places[order].split(count.tolist()), strict=True)]
        packed = taken[0] if len(taken) == 1 else PackedSubgraphs.join(taken).take(order.argsort())
        flat = packed.unpack()
        per_pair = {name: column[places] for name, column in self._carried.items()}
        if self.statistic_names:
            per_pair["pair_statistics"] = self._statistics[places]
        per_node = {name: torch.from_numpy(label[flat.n_id.numpy()]) for name, label in self._labels.items()}
        branch = per_pair["branch"][flat.owner]
        if self._features is not None and not bool(((branch >= 0) & (branch < len(self._features))).all()):
            raise ValueError(f"pairs in {self.folder} are of the branches {int(branch.min())} to {int(branch.max())}, "
                             f"but the features have {len(self._features)}: join the memory that they were made from")
        if isinstance(self._features, Tensor):
            device = self._features.device
            per_node["x"] = self._features[branch.to(device), flat.n_id.to(device)]
        elif self._features is not None:
            per_node["x"] = torch.from_numpy(self._features[branch.numpy(), flat.n_id.numpy()])
        return flat, per_pair, per_node, {} if packed.edge_attr is None else {"edge_attr": packed.edge_attr}

    def __copy__(self) -> "PairSubgraphDataset":
        other = object.__new__(type(self))  # a slice shares the open files
        vars(other).update(vars(self))
        return other

    def __getstate__(self) -> dict[str, Any]:
        # A worker process maps the files itself instead of receiving copies of them.
        opened = ("_parts", "_start", "_columns", "_carried", "_statistics", "_table", "_labels", "_paths", "_features")
        return {name: value for name, value in vars(self).items() if name not in opened}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()


def _filled(column: pa.ChunkedArray, unknown: float, dtype: type) -> np.ndarray:
    return column.cast(pa.from_numpy_dtype(dtype)).fill_null(unknown).to_numpy().copy()
