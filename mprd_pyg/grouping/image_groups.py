"""From features to groups, each image's confidence and verdict, and groups that are probably one individual."""
import importlib.util
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.graph import KNNGraph
from mprd_pyg.graph.search.nearest import NearestSearch
from mprd_pyg.grouping.constrained import constrain_groups
from mprd_pyg.grouping.group_means import GroupMeans, calibrate_threshold
from mprd_pyg.relations import ConnectedComponents, Constraints, KReciprocalJaccard, MapEquation, Relation
from mprd_pyg.relations.groups import GroupFinder

VERDICTS = ("member", "single", "new")
MEMBER, SINGLE, NEW = range(3)
#: of the softmax between two cosines, which is an image's confidence
TEMPERATURE = 0.05
#: confidence below which a verdict is uncertain
SURE = 0.9
#: nearest images of a new one that joins no group, and all of them together, in which its own group is sought
CONTEXT, MAX_CONTEXT = 30, 5000
#: how far below the threshold the means of two groups are still a near-duplicate
NEAR_DUPLICATE = 0.15
#: the threshold where there are no two groups to calibrate it on
DEFAULT_THRESHOLD = 0.5
#: images from which neighbours are searched approximately
APPROXIMATE_FROM = 200_000


@dataclass(frozen=True)
class ImageGroups:
    r"""N images in groups.

    Attributes:
        group: (N,) number, -1 for none.
        confidence: (N,) in [0, 1]: :math:`1 / (1 + e^{-(a - b) / 0.05})`. For a member, a is the cosine with the mean
            of the other members and b that with the nearest other group's mean: 0.5 is an image between two groups. For
            an image of no group, a is the threshold and b the cosine with the nearest group's mean.
        verdict: (N,) place in ``VERDICTS``: ``member`` of a group; ``new``, of no group and less similar to all of
            them than the threshold: an individual that no group shows; ``single``, of no group but near one.
        similarity: (N,) cosine with the mean of the other members, NaN without a group.
        nearest: (N,) nearest other group, -1 where there is none.
        nearest_similarity: (N,) cosine with its mean.
        threshold: cosine with a group's mean from which an image is taken for a member.
        duplicates: (D, 2) pairs of groups whose means are at most 0.15 less similar: candidates for one individual,
            the most similar first.
        duplicate_similarity: (D,) their cosines.
    """

    group: Tensor
    confidence: Tensor
    verdict: Tensor
    similarity: Tensor
    nearest: Tensor
    nearest_similarity: Tensor
    threshold: float
    duplicates: Tensor
    duplicate_similarity: Tensor

    @property
    def uncertain(self) -> Tensor:
        """(N,) whether the confidence is below 0.9, or a member is less similar to its group than the threshold."""
        return (self.confidence < SURE) | (self.similarity < self.threshold)

    @property
    def individuals(self) -> int:
        """Estimated number of individuals: the groups and the images that are ``new``."""
        return len(self.group[self.group >= 0].unique()) + int((self.verdict == NEW).sum())


def find_groups(x: Tensor, camera: Tensor | None = None, person: Tensor | None = None,
                relation: Relation | None = None, finder: GroupFinder | None = None,
                constraints: Constraints | None = None, threshold: float | None = None) -> ImageGroups:
    """Group images by their features.

    Args:
        x: (N, d) unit features.
        camera: (N,) cameras, for relations that read them.
        person: (N,) identities, -1 for unknown; only the threshold is calibrated on them.
        relation: judges the pairs; None is :func:`default_relation`.
        finder: makes groups of the pairs; None is :func:`default_finder`.
        constraints: of the N images, see :func:`constrain_groups`.
        threshold: of the open-set verdict; None calibrates it (see :func:`calibrate_threshold`) on ``person``, or else
            on the groups found, or else takes 0.5.

    Raises:
        ValueError: no features, or columns or constraints of other lengths.

    Example::

        found = find_groups(F.normalize(features, dim=1), camera)
        found.group, found.confidence
    """
    _check(x, camera, person)
    group = _group(x, camera, relation, finder)
    group = constrain_groups(group, x, constraints)
    if threshold is None and person is not None:
        threshold = calibrate_threshold(x, person)
    if threshold is None:
        threshold = calibrate_threshold(x, group)
    return describe_groups(x, group, DEFAULT_THRESHOLD if threshold is None else threshold)


def add_to_groups(x: Tensor, group: Tensor, threshold: float, camera: Tensor | None = None,
                  relation: Relation | None = None, finder: GroupFinder | None = None,
                  constraints: Constraints | None = None) -> Tensor:
    """Let new images join or found groups.

    A new image joins the group whose mean (before any joined) is nearest, if their cosine reaches the threshold. Those
    that join none, with the 30 nearest images of each, are judged by the relation, and the finder makes new groups of
    the ones of these that have none. So an old image keeps its group unless a constraint moves it; an old one of no
    group may get into a new group.

    Args:
        x: (N + A, d) unit features, the A new images last.
        group: (N,) groups of the old images.
        threshold: of :class:`ImageGroups`.
        camera, relation, finder, constraints: as for :func:`find_groups`, of all N + A images.

    Returns:
        (N + A,) groups.
    """
    _check(x, camera, None)
    new = x[len(group):]
    _, nearest, similarity = GroupMeans.of(x[:len(group)], group).compare(new, torch.full((len(new),), -1))
    label = torch.cat([group, torch.where((similarity >= threshold) & (nearest >= 0), nearest, -1)])
    left = (label[len(group):] < 0).nonzero().flatten() + len(group)
    if len(left):
        rows = nearest_context(x, left)
        found = _group(x[rows].float(), None if camera is None else camera[rows], relation, finder, label[rows] < 0)
        label[rows] = torch.where(found >= 0, found + label.max() + 1, label[rows])
    return constrain_groups(label, x, constraints)


def nearest_context(x: Tensor, asked: Tensor) -> Tensor:
    """The images ``asked`` (Q,) and the 30 nearest of each, up to 5,000 (the nearest of each first), ascending."""
    nearest = NearestSearch(x)(x[asked].float(), min(CONTEXT + 1, len(x)))[1].T.flatten()
    name, place = torch.unique(nearest, return_inverse=True)
    first = torch.full((len(name),), len(nearest)).scatter_reduce(0, place, torch.arange(len(nearest)), "amin")
    return torch.cat([asked, name[first.argsort()[:MAX_CONTEXT]]]).unique()


def describe_groups(x: Tensor, group: Tensor, threshold: float, before: ImageGroups | None = None) -> ImageGroups:
    """Confidence and verdict of each image, and near-duplicate groups.

    Args:
        x: (N, d) unit features.
        group: (N,) groups, -1 for none.
        threshold: of the verdict.
        before: what was known of the first images. It is kept for those whose group has the same members as then, and
            for those that were and are in none, unless the nearest other group is gone.
    """
    means = GroupMeans.of(x, group)
    rows = torch.arange(len(x))
    if before is not None:
        rows = rows[_touched(before, group)]
    own, nearest, similarity = means.compare(x[rows], group[rows])
    member = group[rows] >= 0
    confidence = torch.sigmoid((torch.where(member, own, threshold) - similarity) / TEMPERATURE)
    verdict = torch.where(member, MEMBER, torch.where((nearest < 0) | (similarity < threshold), NEW, SINGLE))
    found = [confidence, verdict, own, nearest, similarity]
    if before is not None:
        kept = (before.confidence, before.verdict, before.similarity, before.nearest, before.nearest_similarity)
        found = [torch.cat([old, new.new_zeros(len(x) - len(old))]).index_copy(0, rows, new)
                 for old, new in zip(kept, found, strict=True)]
    return ImageGroups(group, *found, threshold, *means.near_duplicates(threshold - NEAR_DUPLICATE))


def default_finder() -> GroupFinder:
    """The map equation where igraph is installed, else connected components: the best two on validation images."""
    return MapEquation() if importlib.util.find_spec("igraph") else ConnectedComponents()


def default_relation(count: int, finder: GroupFinder) -> Relation:
    """Camera-aware k-reciprocal Jaccard for so many images.

    It believes more pairs where the finder can cut chains. Lists longer than an individual has images join
    individuals. Of few images, a quarter are neighbours at most: where nearly all are, all neighbourhoods are alike.
    """
    k1 = max(2, min(15, count // 4))
    return KReciprocalJaccard(threshold=0.4 if isinstance(finder, MapEquation) else 0.6, k1=k1,
                              k2=max(1, round(k1 / 4)),
                              index="Flat" if count < APPROXIMATE_FROM else "nndescent")


def judge_all(x: Tensor, camera: Tensor | None, relation: Relation) -> Data:
    """The judged pairs of all images; neighbours are searched where the relation reads them."""
    if relation.needs_labels or relation.needs_meta:
        raise ValueError(f"{type(relation).__name__} reads identities, and groups are found without: take another "
                         f"relation")
    if relation.reach and len(x) > 1:
        graph = KNNGraph(k=min(30, len(x) - 1))(x, keep_features=True)
    else:
        graph = Data(x=x, edge_index=torch.zeros(2, 0, dtype=torch.long), edge_attr=x.new_zeros(0), num_nodes=len(x))
    graph.rows = torch.arange(len(x))
    if camera is not None:
        graph.camera_id = camera
    return relation(graph)


def _group(x: Tensor, camera: Tensor | None, relation: Relation | None, finder: GroupFinder | None,
           free: Tensor | None = None) -> Tensor:
    """(N,) groups, of the images that are ``free`` (N,) only."""
    if len(x) < 2:
        return torch.full((len(x),), -1)
    finder = finder or default_finder()
    pairs = judge_all(x, camera, relation or default_relation(len(x), finder))
    if free is not None:
        keep = free[pairs.edge_index].all(0)
        pairs = Data(edge_index=pairs.edge_index[:, keep], likelihood=pairs.likelihood[keep],
                     believed=pairs.believed[keep], num_nodes=len(x))
    return finder(pairs)


def _touched(before: ImageGroups, after: Tensor) -> Tensor:
    """(N,) whether an image is new, of another group than before, or compared with a group that is not as it was."""
    count = len(before.group)
    differ = torch.ones(len(after), dtype=torch.bool)
    differ[:count] = before.group != after[:count]
    changed = torch.cat([after[differ], before.group[differ[:count]]]).unique()
    changed = changed[changed >= 0]
    gone = changed[~torch.isin(changed, after)]
    differ[:count] |= torch.isin(before.nearest, gone)
    return differ | torch.isin(after, changed)


def _check(x: Tensor, camera: Tensor | None, person: Tensor | None) -> None:
    if x.dim() != 2 or not len(x):
        raise ValueError(f"features (N, d) of at least one image are needed, got {tuple(x.shape)}")
    for name, column in (("camera", camera), ("person", person)):
        if column is not None and len(column) != len(x):
            raise ValueError(f"{len(x)} images need as many values of {name}, got {len(column)}")
