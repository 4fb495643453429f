"""Reading saved pair subgraphs: a PyG dataset over memory-mapped flat files and a table of pairs."""
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler
from torch_geometric.data import Batch, Data, Dataset

from mprd_pyg.graph.neighbours import ragged_arange
from mprd_pyg.graph.pair_subgraphs import PairData, pair_batch
from mprd_pyg.graph.store_format import FIELDS, Record, check_files, damaged
from mprd_pyg.graph.store_writer import read_images

#: what a pair's graph carries of the table: column -> (attribute, what stands for "unknown", dtype)
CARRIED = {
    "similarity": ("similarity", float("nan"), np.float32), "likelihood": ("likelihood", float("nan"), np.float32),
    "believed": ("believed", False, np.bool_), "truth": ("y", -1, np.int64), "epoch": ("epoch", 0, np.int64),
    "branch": ("branch", 0, np.int64)}


class PairSubgraphDataset(Dataset):
    """Saved pair subgraphs, read where they lie; made by :class:`PairSubgraphWriter`.

    ``dataset[5]`` is one PyG graph as :class:`PairSubgraphs` made it (``n_id``, ``z``, ``edge_index``,
    ``root_index`` [, ``edge_attr``]), with ``similarity``, ``likelihood``, ``believed``, ``y`` (1 same person, 0
    different, -1 unknown), ``epoch`` and ``branch`` of the pair; ``x`` (n, d) from the saved memory; and of its nodes
    ``path`` (a list), ``person_id`` and ``camera_id``, where the image table has them. Slices, lists, masks and
    index tensors give datasets; ``dataset.table`` (pandas) has one row for each of their graphs, in their order.

    Args:
        root: folder of the store.
        transform: applied to every graph that is read.
        features: (N, d) or (M, N, d) to join by node [and branch] instead of the saved memory.
        image_root: folder of the images, when they have moved.
        check: ``"contents"`` compares every file's checksum before anything is read (about a second per GB),
            ``"sizes"`` their sizes only.

    Raises:
        FileNotFoundError: no store.
        ValueError: a file is missing, cut short or edited (it is named), or the features have too few rows.

    Example::

        dataset = PairSubgraphDataset("runs/market/subgraphs")
        table = dataset.table
        wrong = dataset[table.index[table["believed"] & ~table["truth"]]]
        for batch in wrong.loader(batch_size=256):   # or PyG's DataLoader(wrong, 256), which reads them one by one
            ...
    """

    def __init__(self, root: str | Path, transform: Callable[[Data], Data] | None = None,
                 features: Tensor | None = None, image_root: str | Path | None = None, check: str = "contents"):
        if check not in ("contents", "sizes"):
            raise ValueError(f"check must be 'contents' or 'sizes', got {check!r}")
        self.folder = Path(root).expanduser()
        self.record = Record.read(self.folder)
        check_files(self.folder, self.record, contents=check == "contents")
        super().__init__(str(self.folder), transform)
        self.images = read_images(self.folder, self.record)
        image_root = self.record.about.get("image_root") if image_root is None else image_root
        self.image_root = None if image_root is None else Path(image_root)
        self._given = features.unsqueeze(0) if features is not None and features.dim() == 2 else features
        self._map()
        most = max((part["max_node"] for part in self.record.parts), default=-1)
        if self._features is not None and self._features.shape[1] <= most:
            raise ValueError(f"the features have {self._features.shape[1]} rows, but the subgraphs in {self.folder} "
                             f"name node {most}: join the memory that they were made from")

    # -- PyG's dataset -------------------------------------------------------------------------------------------

    def len(self) -> int:
        """Pairs in the store."""
        return self.record.total("pairs")

    def get(self, idx: int) -> PairData:
        """The graph at place ``idx`` of the whole store."""
        nodes, edges = self._span("node_end", idx), self._span("edge_end", idx)
        n_id = _long(self._flat["n_id"][nodes])
        data = PairData(n_id=n_id, z=_long(self._flat["z"][nodes]),
                        edge_index=_long(self._flat["edge_index"][edges].T),
                        root_index=_long(self._flat["root_index"][idx:idx + 1]))
        data.num_nodes = len(n_id)
        if "edge_attr" in self._flat:
            data.edge_attr = torch.from_numpy(self._flat["edge_attr"][edges].copy())
        for name, column in self._carried.items():
            data[name] = torch.from_numpy(column[idx:idx + 1].copy())
        for name, value in self._of_nodes(n_id, data.branch.expand(len(n_id))).items():
            data[name] = value
        if self.images is not None and "path" in self.images:
            data.path = self._paths[n_id.numpy()].tolist()
        return data

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
            files = [self.folder / part["table"]["file"] for part in self.record.parts]
            parts = [pq.read_table(file, read_dictionary=["anchor_path", "neighbour_path"]) for file in files]
            self._table = _pandas(parts)
        return self._table if self._indices is None else self._table.iloc[list(self._indices)].reset_index(drop=True)

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
        start, size = self._spans("node_end", places)
        owner, nodes = ragged_arange(start, size)
        edge_start, edge_size = self._spans("edge_end", places)
        edge_owner, edges = ragged_arange(edge_start, edge_size)
        ptr, edge_ptr = _ptr(size), _ptr(edge_size)
        nodes, edges = nodes.numpy(), edges.numpy()
        n_id = _long(self._flat["n_id"][nodes])
        carried = {name: torch.from_numpy(column[places]) for name, column in self._carried.items()}
        out = pair_batch(n_id, _long(self._flat["z"][nodes]),
                         _long(self._flat["edge_index"][edges].T) + ptr[edge_owner], edge_ptr,
                         _long(self._flat["root_index"][places]) + ptr[:-1, None], owner, ptr, carried)
        more = {name: (value, ptr) for name, value in self._of_nodes(n_id, carried["branch"][owner]).items()}
        if "edge_attr" in self._flat:
            more["edge_attr"] = (torch.from_numpy(self._flat["edge_attr"][edges]), edge_ptr)
        for name, (value, slices) in more.items():
            out[name] = value
            out._slice_dict[name], out._inc_dict[name] = slices, torch.zeros(len(places), dtype=torch.long)
        return out

    def loader(self, batch_size: int = 256, shuffle: bool = False, drop_last: bool = False,
               **options: Any) -> DataLoader:
        """A loader that reads each batch flat by :meth:`batch`; options are those of ``torch``'s DataLoader."""
        order = (RandomSampler if shuffle else SequentialSampler)(range(len(self)))
        sampler = BatchSampler(order, batch_size, drop_last)
        return DataLoader(_Batches(self), batch_size=None, sampler=sampler, **options)

    # -- files ---------------------------------------------------------------------------------------------------

    def _map(self) -> None:
        """Map the committed stretch of every file."""
        self._flat: dict[str, np.ndarray] = {}
        for name in self.record.fields or set(FIELDS) - {"edge_attr"}:
            kind = FIELDS[name]
            shape = (self.record.total(kind.per), kind.width)[:1 + (kind.width > 1)]
            self._flat[name] = _mapped(self.folder / f"{name}.bin", kind.dtype, shape)
        for name, per in (("node_end", "nodes"), ("edge_end", "edges")):
            ends = self._flat[name]
            if len(ends) and (ends[-1] != self.record.total(per) or ends[0] < 0 or (np.diff(ends) < 0).any()):
                raise damaged(self.folder / f"{name}.bin", "it does not count up to what was committed")
        saved = self.record.files.get("features")
        self._features: Tensor | np.ndarray | None = self._given
        if self._given is None and saved is not None:
            self._features = _mapped(self.folder / saved["file"], "<f4", tuple(saved["shape"]))
        files = [self.folder / part["table"]["file"] for part in self.record.parts]
        numbers = _pandas([pq.read_table(file, columns=list(CARRIED)) for file in files])
        self._carried = {attribute: numbers[name].to_numpy(dtype=dtype, na_value=unknown)
                         if name in numbers else np.zeros(0, dtype)
                         for name, (attribute, unknown, dtype) in CARRIED.items()}
        self._table: pd.DataFrame | None = None
        if self.images is not None and "path" in self.images:
            paths = self.images["path"].to_numpy(dtype=object)
            self._paths = paths if self.image_root is None else np.array(
                [str(self.image_root / path) for path in paths], dtype=object)

    def _span(self, name: str, idx: int) -> slice:
        ends = self._flat[name]
        return slice(int(ends[idx - 1]) if idx else 0, int(ends[idx]))

    def _spans(self, name: str, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """Where each pair's nodes or edges start, and how many they are."""
        ends = self._flat[name]
        start = np.where(places > 0, ends[np.maximum(places - 1, 0)], 0)
        return torch.from_numpy(start), torch.from_numpy(ends[places] - start)

    def _of_nodes(self, n_id: Tensor, branch: Tensor) -> dict[str, Tensor]:
        """Features and labels of nodes (n,)."""
        found = {}
        if isinstance(self._features, Tensor):
            device = self._features.device
            found["x"] = self._features[branch.to(device), n_id.to(device)]
        elif self._features is not None:
            found["x"] = torch.from_numpy(self._features[branch.numpy(), n_id.numpy()])
        for name in ("person_id", "camera_id"):
            if self.images is not None and name in self.images:
                found[name] = torch.from_numpy(self.images[name].to_numpy()[n_id.numpy()])
        return found

    def __copy__(self) -> "PairSubgraphDataset":
        other = object.__new__(type(self))  # a slice shares the open files
        vars(other).update(vars(self))
        return other

    def __getstate__(self) -> dict[str, Any]:
        # A worker process maps the files itself instead of receiving copies of them.
        return {name: value for name, value in vars(self).items()
                if name not in ("_flat", "_carried", "_table", "_paths", "_features")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._map()


class _Batches:
    """Lists of places -> batches, for a loader whose sampler draws whole batches."""

    def __init__(self, dataset: PairSubgraphDataset):
        self.dataset = dataset

    def __getitem__(self, places: list[int]) -> Batch:
        return self.dataset.batch(places)


def _mapped(path: Path, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    if not np.prod(shape):
        return np.zeros(shape, dtype)  # an empty file cannot be mapped
    return np.asarray(np.memmap(path, dtype, "r", shape=shape))


def _long(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.int64, order="C"))


def _ptr(size: Tensor) -> Tensor:
    return torch.cat([size.new_zeros(1), size.cumsum(0)])


def _pandas(parts: list[pa.Table]) -> pd.DataFrame:
    """Joined tables, with pandas' own kind of truth values that may be unknown."""
    if not parts:
        return pd.DataFrame()
    table = pa.concat_tables(parts).unify_dictionaries()
    return table.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get)
