"""Groups that respect what a person said: images that must be one group, and images that cannot be."""
import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from mprd_pyg.relations import Constraints


def constrain_groups(group: Tensor, x: Tensor, constraints: Constraints | None = None) -> Tensor:
    """Change groups as little as the constraints ask for.

    Groups that hold must-linked images become one. A group that then holds cannot-linked images is split: the images
    of these links are taken one by one, those of most links first, and each joins the nearest part (by mean feature)
    with which it has none, or founds a part; the other members follow to the nearest part. Must-linked images are
    moved together. A group of one image is none.

    Args:
        group: (N,) groups, < 0 for none.
        x: (N, d) unit features.
        constraints: of the N images.

    Returns:
        (N,) groups; those that no constraint touches keep their number.

    Raises:
        ValueError: constraints of another number of images.
    """
    if constraints is None:
        constraints = Constraints(torch.zeros(2, 0), torch.zeros(2, 0), len(group))
    if constraints.num_images != len(group):
        raise ValueError(f"the constraints are of {constraints.num_images} images, the groups of {len(group)}")
    cannot, atom = constraints.cannot.numpy(), constraints.component.numpy()
    label = _merged(group.cpu().numpy(), constraints.must.numpy())
    one, other = cannot
    free = label.max(initial=-1) + 1
    for name in np.unique(label[one[(label[one] == label[other]) & (label[one] >= 0)]]):
        rows = np.flatnonzero(label == name)
        inside = (label[one] == name) & (label[other] == name)
        part = _split(atom[rows], atom[cannot[:, inside]], x[torch.from_numpy(rows)].float())
        label[rows] = np.where(part == 0, name, free + part - 1)
        free += part.max()
    lonely = (label >= 0) & (np.bincount(label + 1)[label + 1] == 1)
    return torch.from_numpy(np.where(lonely, -1, label))


def _merged(group: np.ndarray, must: np.ndarray) -> np.ndarray:
    """Groups joined along must-links; the lowest number stays, must-linked images of no group get a new one."""
    there = np.flatnonzero(group >= 0)
    number, first, place = np.unique(group[there], return_index=True, return_inverse=True)
    edges = np.concatenate([must, np.stack([there, there[first][place]])], axis=1)
    links = coo_matrix((np.ones(edges.shape[1]), tuple(edges)), shape=(len(group), len(group)))
    part = connected_components(links, directed=False)[1]
    name = np.full(len(group), np.iinfo(np.int64).max)  # per part
    np.minimum.at(name, part[there], group[there])
    fresh = name == np.iinfo(np.int64).max
    name[fresh] = group.max(initial=-1) + np.cumsum(fresh)[fresh]
    return np.where((group >= 0) | (np.bincount(part)[part] > 1), name[part], -1)


def _split(atom: np.ndarray, conflict: np.ndarray, x: Tensor) -> np.ndarray:
    """(R,) part of each image of a group; ``conflict`` (2, C) are sets of images that must lie in different parts."""
    names, place = np.unique(atom, return_inverse=True)
    total = torch.zeros(len(names), x.shape[1]).index_add_(0, torch.from_numpy(place), x)
    enemies = {}
    for one, other in np.searchsorted(names, conflict).T.tolist():
        enemies.setdefault(one, set()).add(other)
        enemies.setdefault(other, set()).add(one)
    part, members, sums = np.full(len(names), -1), [], []
    for one in sorted(enemies, key=lambda name: (-len(enemies[name]), name)):
        allowed = [number for number, those in enumerate(members) if not those & enemies[one]]
        if allowed:
            near = F.normalize(torch.stack([sums[number] for number in allowed]), dim=1) @ total[one]
            part[one] = allowed[int(near.argmax())]
        else:
            part[one] = len(members)
            members.append(set())
            sums.append(torch.zeros_like(total[one]))
        members[part[one]].add(one)
        sums[part[one]] = sums[part[one]] + total[one]
    rest = part < 0
    part[rest] = (total[torch.from_numpy(rest)] @ F.normalize(torch.stack(sums), dim=1).T).argmax(1).numpy()
    return part[place]
