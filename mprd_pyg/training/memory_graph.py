"""The kNN graph of a feature memory, as relations read it: connect, in one place for all methods."""
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg import processes
from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.graph import KNNGraph
from mprd_pyg.graph.knn_graph import unit_rows
from mprd_pyg.memory import FeatureMemory
from mprd_pyg.sharded_rows import ShardedRows, joined


class MemoryGraph:
    """Connects the memory of N unlabelled images, one graph for each of its M branches.

    Args:
        memory: of N rows.
        knn: the neighbour search.
        images: what is known of the rows.
        camera_centered: search with each camera's mean feature subtracted (not in the papers). Where all images are of
            one camera nothing is subtracted: there is no difference between cameras to take out.

    Raises:
        ValueError: not more images than neighbours asked for, or fewer than processes.
    """

    def __init__(self, memory: FeatureMemory, knn: KNNGraph, images: TrainImages, camera_centered: bool = False):
        if images.num_unlabelled <= knn.k:
            raise ValueError(f"{images.num_unlabelled} training images are fewer than k + 1 = {knn.k + 1}: "
                             f"lower knn.k or train on more images")
        if images.num_unlabelled < processes.count():
            raise ValueError(f"{images.num_unlabelled} training images are fewer than {processes.count()} processes: "
                             f"start fewer")
        device = memory.bank.device
        self.memory, self.knn, self.images = memory, knn, images.to(device)
        self.camera = self.images.camera if camera_centered and len(self.images.camera.unique()) > 1 else None

    def __call__(self, rows: Tensor, reach: int = 1, live: Tensor | None = None, joint: bool = False) -> list[Data]:
        """The neighbourhoods of ``rows`` (R,), labelled by :meth:`TrainImages.label`.

        Args:
            rows: distinct nodes.
            reach: how many searches lead away from them, see :class:`KNNGraph`; 0 connects nothing.
            live: (R, M, d) features that stand in for the rows' memory.
            joint: what one branch reaches is searched in all branches.

        Returns:
            M graphs. ``x`` (N, d) are the features as they were compared, sharded where the memory is; with ``live``
            they are unit features, the live ones in their rows.
        """
        bank = self.memory.bank
        camera = None if self.camera is None else self.camera[:self.images.num_unlabelled]
        queries = None if live is None else live.detach().transpose(0, 1).to(bank.dtype)
        if reach:
            graphs = self.knn(bank, rows=rows, queries=queries, reach=1 if joint else reach, center_by=camera,
                              keep_features=True)
        else:
            none = rows.new_zeros(2, 0)
            graphs = [Data(x=self.knn.space(branch, None, camera)[0], edge_index=none, num_capped=0,
                           edge_attr=torch.zeros(0, dtype=bank.dtype, device=bank.device), num_nodes=len(branch))
                      for branch in bank]
        if joint:
            self._reach_together(graphs, rows, reach, camera)
        for m, graph in enumerate(graphs):
            if live is not None:
                own = None if camera is None else camera[rows]
                unit = F.normalize(self.knn.space(bank[m], queries[m], camera, own)[1], dim=1)
                graph.x = with_rows(unit_rows(graph.x), rows, unit)
            self.images.label(graph, rows)
        return graphs

    def _reach_together(self, graphs: list[Data], rows: Tensor, reach: int, camera: Tensor | None) -> None:
        seen = torch.zeros(self.images.num_unlabelled, dtype=torch.bool, device=rows.device)
        seen[rows] = True
        for _ in range(reach - 1):
            found = torch.zeros_like(seen)
            for graph in graphs:
                found[graph.edge_index[0]] = True
            found = (found & ~seen).nonzero().flatten()
            if not len(found):
                return
            for graph, bank in zip(graphs, self.memory.bank, strict=True):
                more = self.knn(bank, rows=found, center_by=camera)
                graph.edge_index = torch.cat([graph.edge_index, more.edge_index], dim=1)
                graph.edge_attr = torch.cat([graph.edge_attr, more.edge_attr])
            seen[found] = True

    def whole(self, meta: Tensor | None = None, views: Tensor | ShardedRows | None = None,
              view_rows: Tensor | None = None) -> list[Data]:
        """M graphs over all N images, the Z meta images, and V views, which are nobody's neighbours.

        Args:
            meta: (Z, M, d) features of the meta images.
            views: (M, V, d) features of further views.
            view_rows: (V,) the images that they show.

        Returns:
            graphs with N + Z + V nodes and ``x``, the features as they were compared.
        """
        bank = self.memory.bank
        if meta is not None and len(meta):
            meta = meta.transpose(0, 1).to(bank.dtype)
            bank = joined(bank, F.normalize(meta, dim=-1) if self.memory.normalize else meta)
        camera = None if self.camera is None else self.camera[:bank.shape[1]]
        graphs = [self.knn(branch, center_by=camera, keep_features=True) for branch in bank]
        if views is None:
            return graphs
        group = None if camera is None else camera[view_rows]
        for graph, branch, view in zip(graphs, bank, views, strict=True):
            virtual = self.knn(branch, queries=view, center_by=camera, query_center_by=group)
            graph.edge_index = torch.cat([graph.edge_index, virtual.edge_index], dim=1)
            graph.edge_attr = torch.cat([graph.edge_attr, virtual.edge_attr])
            graph.x = joined(graph.x, self.knn.space(branch, view, camera, group)[1])
            graph.num_nodes = len(graph.x)
        return graphs


def with_rows(x: Tensor | ShardedRows, rows: Tensor, values: Tensor) -> Tensor | ShardedRows:
    """``x`` (N, d) with the values (R, d) in its rows (R,)."""
    if isinstance(x, Tensor):
        return x.index_copy(0, rows, values)
    place = torch.full((len(x),), -1, device=rows.device)
    place[rows] = torch.arange(len(rows), device=rows.device)
    return x.map(lambda old, at: torch.where((place[at] < 0).unsqueeze(1), old, values[place[at]]))
