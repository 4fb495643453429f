"""The judged pairs of an epoch: what the steps judged becomes P_i, metrics and records."""
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.evaluation import evaluate_groups, evaluate_pairs, pair_auc, pair_truth
from mprd_pyg.graph import NeighbourLists
from mprd_pyg.relations import concat_pairs, pair_fields

Listener = Callable[[int, Data], None]


class PairBook:
    """Collects judged pairs, step by step, and closes an epoch.

    Args:
        images: what is known of the images; identities serve the metrics only.
        branches: M; an image is in P_i where at least half of the branches believe it.
        listeners: called with the epoch and all its judged pairs, when it is closed; ``branch`` (E,) tells the
            branches apart where there are several.

    Attributes:
        believed: P_i of the last closed epoch, without i itself.
        num_steps: how often :meth:`add` was called in this epoch.
    """

    def __init__(self, images: TrainImages, branches: int = 1, listeners: Sequence[Listener] = ()):
        self.images, self.branches, self.listeners = images, branches, list(listeners)
        count, device = images.num_unlabelled, images.camera.device
        self.believed = NeighbourLists(torch.zeros(count + 1, dtype=torch.long, device=device),
                                       torch.zeros(0, dtype=torch.long, device=device))
        self.judged: list[Data] = []
        self.kept = concat_pairs([], count).to(device)
        self.num_steps = self.num_capped = 0

    def add(self, pairs: Sequence[Data], graphs: Sequence[Data] = ()) -> Tensor:
        """Note what a step judged, a ``Data`` per branch, of which ``graphs``.

        Returns:
            scalar, the believed pairs over all branches.
        """
        if self.branches > 1:
            branch = torch.cat([torch.full_like(part.edge_index[0], m) for m, part in enumerate(pairs)])
            self.judged.append(concat_pairs(pairs, self.images.num_unlabelled))
            self.judged[-1].branch = branch
        else:
            self.judged.extend(pairs)
        self.num_steps += 1
        self.num_capped += sum(graph.num_capped for graph in graphs)
        return torch.stack([part.believed.sum() for part in pairs]).sum()

    def keep(self, pairs: Data, graph: Data) -> None:
        """Keep the judged pairs of all images, for :meth:`of`, until others are kept or the epoch is closed."""
        self.kept = pairs
        self.num_capped += graph.num_capped

    def of(self, rows: Tensor) -> Data:
        """Those of the kept pairs that are of the nodes ``rows`` (R,)."""
        pairs = self.kept
        asked = torch.zeros(self.images.num_unlabelled, dtype=torch.bool, device=rows.device)
        asked[rows] = True
        keep = asked[pairs.edge_index[1]]
        return Data(**{key: value[..., keep] for key, value in pair_fields(pairs).items()}, num_nodes=pairs.num_nodes)

    def close(self, epoch: int) -> dict[str, float]:
        """Keep P_i, tell the listeners, forget the pairs; returns the epoch's metrics."""
        count = self.images.num_unlabelled
        pairs, self.judged = concat_pairs(self.judged, count), []
        self.kept, self.num_steps = concat_pairs([], count).to(self.images.camera.device), 0
        edges = pairs.edge_index[:, pairs.believed]
        key, votes = (edges[1] * count + edges[0]).unique(return_counts=True)
        key = key[2 * votes >= self.branches]
        node = torch.div(key, count, rounding_mode="floor")
        self.believed = NeighbourLists.from_graph(Data(edge_index=torch.stack([key - node * count, node]),
                                                       num_nodes=count))
        for listener in self.listeners:
            listener(epoch, pairs)
        metrics: dict[str, float] = {"pairs/believed": edges.shape[1], "pairs/judged": len(pairs.believed)}
        if self.branches > 1:
            metrics["pairs/images_per_image"] = len(key) / count
        if self.num_capped:
            metrics["knn/capped"], self.num_capped = self.num_capped, 0
        person, camera = self.images.person[:count], self.images.camera[:count]
        if bool((person >= 0).any()):
            report = evaluate_pairs(edges, person, camera if len(camera.unique()) > 1 else None)
            metrics |= {f"pairs/{name}": value for name, value in report.summary().items()}
            metrics |= self._auc(pairs)
        return metrics

    def _auc(self, pairs: Data) -> dict[str, float]:
        """AUC of the likelihoods of all judged pairs, and of their similarities; none where all are 0 or 1."""
        if bool(((pairs.likelihood == 0) | (pairs.likelihood == 1)).all()):
            return {}
        truth = pair_truth(*self.images.person[pairs.edge_index])
        known = truth >= 0
        scores = {"pairs/auc": pairs.likelihood, "pairs/auc_similarity": pairs.edge_attr}
        found = {name: pair_auc(score[known], truth[known]).auroc for name, score in scores.items()}
        return {name: value for name, value in found.items() if value == value}  # NaN: all true, or none

    def state_dict(self) -> dict[str, Any]:
        """P_i, the pairs judged so far in this epoch, and those that are kept."""
        return {"believed": {"ptr": self.believed.ptr, "neighbour": self.believed.neighbour},
                "judged": pair_fields(concat_pairs(self.judged, self.images.num_unlabelled)),
                "kept": pair_fields(self.kept), "num_steps": self.num_steps, "num_capped": self.num_capped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        device = self.images.camera.device
        self.believed = NeighbourLists(*(state["believed"][key].to(device) for key in ("ptr", "neighbour")))
        judged, self.kept = (Data(**{key: value.to(device) for key, value in state[name].items()},
                                  num_nodes=self.images.num_unlabelled) for name in ("judged", "kept"))
        self.judged = [judged] if judged.num_edges else []
        self.num_steps, self.num_capped = state["num_steps"], state["num_capped"]


def group_figures(pairs: Data, images: TrainImages) -> dict[str, float]:
    """How good the groups are that a relation's answer holds as ``group`` (N,); nothing where it holds none."""
    if "group" not in pairs:
        return {}
    person = images.person[:images.num_unlabelled]
    if not bool((person >= 0).any()):
        return {"groups": int(pairs.group.max()) + 1, "grouped": float((pairs.group >= 0).float().mean())}
    return {name: value for name, value in evaluate_groups(pairs.group, person).summary().items() if value == value}
