"""What the explorer shows of a run: its pairs with both directions as one, their graphs, statistics and images."""
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from torch_geometric.data import Data

from mprd_pyg.graph import NeighbourLists, PairStatistics
from mprd_pyg.graph.pairs.statistics import CAMERA_RECIPROCAL, RECIPROCAL
from pipelines.report.drawing import data_uri, photo
from pipelines.runs.run import Run
from pipelines.runs.subgraph_samples import SEARCHED, with_similarity

SHOWN = ("common_neighbours", "jaccard", "adamic_adar", "resource_allocation", "similarity", "rank_best", "rank_worst",
         "density_min", "edge_probability", *RECIPROCAL, *CAMERA_RECIPROCAL)
TYPICAL = 1000  # pairs of which the medians are taken
FIELDS = ["similarity", "likelihood", "believed", "truth"]


class ExploredRun:
    """Pairs of an epoch and the graph around each.

    Args:
        run: with judged pairs.
    """

    def __init__(self, run: Run):
        self.run, self.rows = run, run.rows
        self.paths = run.images["path"].tolist()[:self.rows]
        self.camera = run.images["camera_id"].to_numpy()[:self.rows]
        searched = () if self.rows <= SEARCHED else (*RECIPROCAL, *CAMERA_RECIPROCAL)
        self.statistics = PairStatistics([name for name in SHOWN if name not in searched])
        self._saved = run.subgraphs() if run.has_subgraphs else None
        self.table = lru_cache(maxsize=4)(self._table)
        self.thumbnail = lru_cache(maxsize=20_000)(self._thumbnail)
        self.typical = lru_cache(maxsize=16)(self._typical)
        self._graph = lru_cache(maxsize=8)(self._memory_graph)

    def _table(self, epoch: int) -> pd.DataFrame:
        """The pairs (first < second) judged in an epoch, indexed by the two rows.

        Branches are averaged, and at least half of them must believe. Of the two directions the likelier one counts.
        """
        pairs = self.run.pairs(epoch)
        ends = np.sort(pairs[["anchor", "neighbour"]].to_numpy(), axis=1)
        pairs = pairs[FIELDS].assign(first=ends[:, 0], second=ends[:, 1], turned=ends[:, 0] != pairs["anchor"],
                                     believed=pairs["believed"].astype(float), truth=pairs["truth"].astype("Float64"))
        each = pairs.groupby(["first", "second", "turned"]).mean()
        both = each.groupby(["first", "second"]).max()
        both["truth"], both["believed"] = both["truth"].astype("boolean"), both["believed"] >= 0.5
        return both[both.index.get_level_values(1) < self.rows]

    def as_data(self, epoch: int) -> Data:
        """The same as judged pairs, as a relation returns them, but that each pair is there once."""
        table = self.table(epoch)
        edges = torch.tensor(np.array(table.index.tolist(), dtype=np.int64).reshape(-1, 2)).T
        columns = {name: torch.from_numpy(table[name].to_numpy(np.float32, copy=True))
                   for name in ("similarity", "likelihood")}
        return Data(edge_index=edges, edge_attr=columns["similarity"], likelihood=columns["likelihood"],
                    believed=torch.from_numpy(table["believed"].to_numpy(bool, copy=True)), num_nodes=self.rows)

    def truth(self, first: int, second: int) -> bool | None:
        """Whether two rows show one individual; None where that is unknown."""
        person = self.run.images["person_id"].to_numpy()[[first, second]]
        return None if (person < 0).any() else bool(person[0] == person[1])

    def subgraph(self, first: int, second: int, epoch: int) -> tuple[Data, pd.Series | None, str]:
        """The graph around a pair, its statistics, and whose graph that is in words.

        Saved ones of the epoch come first, then the checkpointed memory's; without either the two images stand alone.
        """
        for pair in ((first, second), (second, first)):
            asked = pd.DataFrame([(epoch, 0, *pair)], columns=["epoch", "branch", "anchor", "neighbour"])
            place = int(self.run.find_subgraphs(asked)[0])
            if place >= 0:
                values = self._saved.statistics.iloc[place]
                return self._saved[place], None if values.isna().all() else values, f"graph of epoch {epoch}"
        try:
            graph = self._graph(0)
        except (ValueError, FileNotFoundError, KeyError) as error:
            alone = Data(n_id=torch.tensor([first, second]), z=torch.ones(2, dtype=torch.long), num_nodes=2,
                         edge_index=torch.zeros(2, 0, dtype=torch.long), root_index=torch.tensor([0, 1]),
                         edge_attr=torch.zeros(0))
            return self._labelled(alone), None, f"its neighbours are unknown: {error}"
        asked = torch.tensor([[first, second]])
        batch = self.run.pair_subgraphs()(NeighbourLists.from_graph(graph), asked)
        data = with_similarity(batch, graph.x, self.run.options["knn"].get("metric", "cosine"))
        values = pd.Series(self.statistics(graph, asked)[0].tolist(), list(self.statistics.names))
        memory = self.run.memory_epoch
        saved = "" if memory == epoch else f" (this pair's of epoch {epoch} was not saved)"
        return self._labelled(data), values, f"graph of epoch {memory}{saved}"

    def _labelled(self, data: Data) -> Data:
        for name in ("person_id", "camera_id"):
            data[name] = torch.from_numpy(self.run.images[name].to_numpy(np.int64)[data.n_id.numpy()])
        return data

    def _memory_graph(self, branch: int) -> Data:
        graph = self.run.memory_graph(branch)
        graph.camera_id = torch.from_numpy(self.camera.astype(np.int64))
        return graph

    def _typical(self, epoch: int) -> pd.DataFrame:
        """Medians of the statistics of two kinds of pairs, a column each: true and false, or believed and not."""
        values, table = self._statistics_sample(epoch)
        known = table["truth"].notna()
        kind = table["truth"][known].astype(bool) if known.any() else table["believed"].astype(bool)
        names = ("true pairs", "false pairs") if known.any() else ("believed", "not believed")
        return pd.DataFrame({name: values[(kind == which).reindex(values.index, fill_value=False)].median()
                             for name, which in zip(names, (True, False), strict=True)})

    def _statistics_sample(self, epoch: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        if self._saved is not None and self._saved.statistic_names:
            table = self._saved.table
            of_epoch = table[(table["epoch"] == epoch) & (table["branch"] == 0)]
            if len(of_epoch):
                return self._saved.statistics.loc[of_epoch.index], of_epoch
        table = self.table(epoch)
        table = table.sample(min(TYPICAL, len(table)), random_state=0)
        try:
            values = self.statistics(self._graph(0), torch.tensor(table.index.tolist()).reshape(-1, 2)).numpy()
        except (ValueError, FileNotFoundError, KeyError):
            return pd.DataFrame(index=table.index), table
        return pd.DataFrame(values, index=table.index, columns=list(self.statistics.names)), table

    def aspect(self, row: int) -> float:
        """Height over width of an image, within what a tile can have."""
        width, height = photo(self.run.image(self.paths[row])).size
        return float(np.clip(height / width, 0.75, 3))

    def _thumbnail(self, row: int) -> str:
        return data_uri(photo(self.run.image(self.paths[row]), height=96), quality=80)
