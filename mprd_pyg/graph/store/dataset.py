"""Reading saved pair subgraphs: a PyG dataset over memory-mapped flat files and a table of pairs."""
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler
from torch_geometric.data import Batch, Data, Dataset

from mprd_pyg.graph.neighbour_lists import ragged_arange
from mprd_pyg.graph.pairs.subgraphs import PairData, pair_batch
from mprd_pyg.graph.store.format import Record, check_files
from mprd_pyg.graph.store.reader import StoreReader
from mprd_pyg.graph.store.writer import read_images


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
        self._open()
        most = max((part["max_node"] for part in self.record.parts), default=-1)
        if self._files.features is not None and self._files.features.shape[1] <= most:
            raise ValueError(f"the features have {self._files.features.shape[1]} rows, but the subgraphs in "
                             f"{self.folder} name node {most}: join the memory that they were made from")

    # -- PyG's dataset -------------------------------------------------------------------------------------------

    def len(self) -> int:
        """Pairs in the store."""
        return self.record.total("pairs")

    def get(self, idx: int) -> PairData:
        """The graph at place ``idx`` of the whole store."""
        files = self._files
        nodes, edges = files.span("node_end", idx), files.span("edge_end", idx)
        n_id = files.integers("n_id", nodes)
        carried = {name: torch.from_numpy(column[idx:idx + 1].copy()) for name, column in files.carried.items()}
        more: dict[str, Any] = files.of_nodes(n_id, carried["branch"].expand(len(n_id)))
        if "edge_attr" in files.flat:
            more["edge_attr"] = torch.from_numpy(files.flat["edge_attr"][edges].copy())
        if files.paths is not None:
            more["path"] = files.paths[n_id.numpy()].tolist()
        return PairData(n_id=n_id, z=files.integers("z", nodes), num_nodes=len(n_id),
                        edge_index=files.integers("edge_index", edges).T.contiguous(),
                        root_index=files.integers("root_index", slice(idx, idx + 1)), **carried, **more)

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
            self._table = self._files.read_table()
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
        files = self._files
        start, size = files.spans("node_end", places)
        owner, node_at = ragged_arange(start, size)
        edge_start, edge_size = files.spans("edge_end", places)
        edge_owner, edge_at = ragged_arange(edge_start, edge_size)
        ptr, edge_ptr, nodes, edges = _ptr(size), _ptr(edge_size), node_at.numpy(), edge_at.numpy()
        n_id = files.integers("n_id", nodes)
        carried = {name: torch.from_numpy(column[places]) for name, column in files.carried.items()}
        out = pair_batch(n_id, files.integers("z", nodes),
                         files.integers("edge_index", edges).T.contiguous() + ptr[edge_owner], edge_ptr,
                         files.integers("root_index", places) + ptr[:-1, None], owner, ptr, carried)
        more = {name: (value, ptr) for name, value in files.of_nodes(n_id, carried["branch"][owner]).items()}
        if "edge_attr" in files.flat:
            more["edge_attr"] = (torch.from_numpy(files.flat["edge_attr"][edges]), edge_ptr)
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

    # -- copies --------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._files = StoreReader(self.folder, self.record, self._given, self.image_root)
        self._table: pd.DataFrame | None = None

    def __copy__(self) -> "PairSubgraphDataset":
        other = object.__new__(type(self))  # a slice shares the open files
        vars(other).update(vars(self))
        return other

    def __getstate__(self) -> dict[str, Any]:
        # A worker process maps the files itself instead of receiving copies of them.
        return {name: value for name, value in vars(self).items() if name not in ("_files", "_table")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._open()


class _Batches:
    """Lists of places -> batches, for a loader whose sampler draws whole batches."""

    def __init__(self, dataset: PairSubgraphDataset):
        self.dataset = dataset

    def __getitem__(self, places: list[int]) -> Batch:
        return self.dataset.batch(places)


def _ptr(size: Tensor) -> Tensor:
    return torch.cat([size.new_zeros(1), size.cumsum(0)])
