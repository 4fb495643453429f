"""A relation that obeys must-links and cannot-links."""
import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.data.train_images import TrainImages
from mprd_pyg.graph.neighbour_lists import ragged_arange
from mprd_pyg.graph.reciprocal_rows import pair_similarity
from mprd_pyg.relations.base import PAIR_FIELDS, Relation, judged
from mprd_pyg.relations.constrained_groups import ConstrainedGroups
from mprd_pyg.relations.constraints import Constraints
from mprd_pyg.relations.groups import Groups
from mprd_pyg.sharded_rows import ShardedRows


class Constrained(Relation):
    """Another relation, whose answer is corrected: see :func:`correct`.

    Args:
        base: judges the pairs.
        constraints: of the N images.
    """

    def __init__(self, base: Relation, constraints: Constraints):
        self.base, self.constraints = base, constraints
        self.reach, self.needs_labels, self.needs_meta = base.reach, base.needs_labels, base.needs_meta

    @property
    def whole_graph(self) -> bool:
        """As ``base`` wants it."""
        return self.base.whole_graph

    def __call__(self, graph: Data) -> Data:
        """Judge by ``base`` and correct."""
        return correct(self.base(graph), self.constraints, graph.rows, graph.x)

    def check(self, images: TrainImages) -> None:
        """What ``base`` cannot judge; constraints of another number of images."""
        self.base.check(images)
        if self.constraints.num_images != images.num_unlabelled:
            raise ValueError(f"the constraints are of {self.constraints.num_images} images, and "
                             f"{images.num_unlabelled} are trained on")

    def __repr__(self) -> str:
        return f"Constrained({self.base!r}, {self.constraints!r})"


def constrain(relation: Relation, constraints: Constraints) -> Relation:
    """The same relation under constraints; of :class:`Groups`, the pairs and the groups made from them."""
    if isinstance(relation, Groups):
        return Groups(constrain(relation.base, constraints), ConstrainedGroups(relation.finder, constraints),
                      relation.max_size)
    return Constrained(relation, constraints)


def correct(pairs: Data, constraints: Constraints, rows: Tensor,
            x: Tensor | ShardedRows | None = None) -> Data:
    """Believe must-links, with likelihood 1, and not cannot-links, with likelihood 0.

    Must-links that were not judged are added.

    Args:
        pairs: a relation's answer.
        constraints: of the N nodes.
        rows: (R,) nodes whose pairs were asked for.
        x: (N, d) features, whose products are the similarities of what is added; NaN without.
    """
    edges, device = pairs.edge_index, pairs.edge_index.device
    different = constraints.different(edges)
    kept = ~constraints.same(edges)
    order, first, size = (tensor.to(device) for tensor in constraints.members)
    component = constraints.component.to(device)[rows]
    owner, place = ragged_arange(first[component], size[component])
    linked = torch.stack([order[place], rows[owner]])
    linked = linked[:, linked[0] != linked[1]]
    likelihood = pairs.likelihood.masked_fill(different, 0)[kept]
    ones = torch.ones(linked.shape[1], dtype=likelihood.dtype, device=device)
    similarity = torch.full_like(ones, torch.nan)
    if x is not None:
        if isinstance(x, Tensor):
            nodes, linked_rows = linked.unique(return_inverse=True)  # few rows, where x lies on another device
            similarity = pair_similarity(x[nodes], linked_rows.T)
        else:
            similarity = pair_similarity(x, linked.T)
    answer = judged(pairs, torch.cat([edges[:, kept], linked], dim=1),
                    torch.cat([pairs.edge_attr[kept], similarity.to(pairs.edge_attr)]),
                    torch.cat([likelihood, ones]), torch.cat([(pairs.believed & ~different)[kept], ones.bool()]))
    for key in set(pairs.keys()) - {*PAIR_FIELDS, "num_nodes"}:  # such as the groups of Groups
        answer[key] = pairs[key]
    return answer
