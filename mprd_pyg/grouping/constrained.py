"""Groups that respect what a person said: images that must be one group, and images that cannot be."""
import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components
from torch import Tensor


def constrain_groups(group: Tensor, x: Tensor, must: Tensor | None = None, cannot: Tensor | None = None) -> Tensor:
    """Change groups as little as the constraints ask for.

    Groups that hold must-linked images become one. A group that then holds cannot-linked images is split: the images
    of these links are taken one by one, those of most links first, and each joins the nearest part (by mean feature)
    with which it has none, or founds a part; the other members follow to the nearest part. Must-linked images are
    moved together. A group of one image is none.

    Args:
        group: (N,) groups, < 0 for none.
        x: (N, d) unit features.
        must: (2, M) pairs of images that are one individual.
        cannot: (2, C) pairs that are not.

    Returns:
        (N,) groups; those that no constraint touches keep their number.

    Raises:
        ValueError: a pair out of range, or a contradiction; the message names the pair and the chain that makes it one.
    """
    must, cannot = _checked(must, len(group), "must"), _checked(cannot, len(group), "cannot")
    atom = _must_sets(must, cannot, len(group))
    label = _merged(group.cpu().numpy(), must)
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


def _checked(pairs: Tensor | None, count: int, name: str) -> np.ndarray:
    if pairs is None:
        return np.zeros((2, 0), np.int64)
    if pairs.dim() != 2 or len(pairs) != 2:
        raise ValueError(f"{name} must be pairs (2, P) of images, got {tuple(pairs.shape)}")
    pairs = pairs.cpu().numpy().astype(np.int64)
    wrong = pairs[:, ((pairs < 0) | (pairs >= count)).any(0)]
    if wrong.size:
        raise ValueError(f"{name} names the images {wrong[0, 0]} and {wrong[1, 0]}: there are 0 ... {count - 1}")
    return pairs


def _must_sets(must: np.ndarray, cannot: np.ndarray, count: int) -> np.ndarray:
    """(N,) number of each image's set of must-linked images."""
    links = coo_matrix((np.ones(must.shape[1]), tuple(must)), shape=(count, count)).tocsr()
    atom = connected_components(links, directed=False)[1]
    wrong = cannot[:, atom[cannot[0]] == atom[cannot[1]]]
    if wrong.size:
        one, other = wrong[:, 0].tolist()
        before, chain = breadth_first_order(links + links.T, other, directed=False)[1], [one]
        while chain[-1] != other:
            chain.append(int(before[chain[-1]]))
        raise ValueError(f"images {one} and {other} cannot be one individual and must be: the chain of must-links is "
                         f"{' = '.join(map(str, chain))}; take one of these constraints back")
    return atom


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
