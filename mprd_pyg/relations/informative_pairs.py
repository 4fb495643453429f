"""Which pairs of images a person should be asked about: those whose answers correct the groups most."""
from typing import NamedTuple

import numpy as np
import torch
from scipy.cluster.hierarchy import linkage
from scipy.sparse import csr_matrix
from scipy.spatial.distance import squareform
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.relations.constraints import Constraints
from mprd_pyg.relations.groups import likelihood_matrix

LARGEST = 1000  # images of a group whose halves are sought; of larger ones the first so many


class InformativePairs(NamedTuple):
    """Questions, the most informative first.

    Attributes:
        pairs: (2, Q) rows.
        gain: (Q,) how many pairs of images the answer is expected to regroup.
        joins: (Q,) bool, whether *same* would join two groups; otherwise *different* would part one.
    """

    pairs: Tensor
    gain: Tensor
    joins: Tensor


def informative_pairs(pairs: Data, group: Tensor, constraints: Constraints, number: int = 1,
                      coherent: float = 0.3) -> InformativePairs:
    r"""The questions whose answers are expected to regroup most pairs of images.

    Two groups A and B between which pairs were judged might be one: *same* would regroup |A| |B| pairs, and its
    chance is taken to be :math:`\sqrt{m M}`, m being the mean likelihood between the two and M the largest. A group
    might be two, S and T, one of the joins of its average-linkage tree: *different* would regroup |S| |T| pairs, and
    its chance is taken to be :math:`(1 - m / c)^2`, 0 from m = c on. The product is the gain. Asked are the two images
    with most likelihood to their own sides. Pairs that were not judged have likelihood 0. What the constraints imply
    is never asked; of two groups, and of one, one question at a time.

    Ask a few, add the answers to the constraints, group anew, and call again.

    Args:
        pairs: judged pairs of all rows; the two directions count as one, with the higher likelihood.
        group: (N,) their groups under the constraints, -1 for images that stand alone.
        constraints: what is known.
        number: Q, at most.
        coherent: c, the mean likelihood between the halves of a group that is surely one individual.
    """
    likelihood = likelihood_matrix(pairs)
    label = group.cpu().numpy().copy()
    alone = label < 0
    label[alone] = label.max(initial=-1) + 1 + np.arange(alone.sum())
    size = np.bincount(label)
    order = np.argsort(label, kind="stable")
    first = np.cumsum(size) - size

    found = [(gain, True, order[first[a]:first[a] + size[a]], order[first[b]:first[b] + size[b]])
             for a, b, gain in _joins(likelihood, label, size, constraints, number)]
    component = constraints.component.numpy()
    for number_of_group in np.argsort(-size, kind="stable"):
        most = size[number_of_group] ** 2 / 4
        if size[number_of_group] < 2 or sum(gain >= most for gain, *_ in found) >= number:
            break  # no smaller group can gain more
        rows = order[first[number_of_group]:first[number_of_group] + min(size[number_of_group], LARGEST)]
        if part := _halves(likelihood[rows][:, rows].toarray(), component[rows], coherent):
            found.append((part[0], False, rows[part[1]], rows[part[2]]))
    found = sorted(found, key=lambda question: -question[0])[:number]
    asked = [(_central(likelihood, one), _central(likelihood, other)) for _, _, one, other in found]
    return InformativePairs(torch.tensor(asked, dtype=torch.long).reshape(-1, 2).T,
                            torch.tensor([gain for gain, *_ in found], dtype=torch.double),
                            torch.tensor([joins for _, joins, *_ in found], dtype=torch.bool))


def _joins(likelihood: csr_matrix, label: np.ndarray, size: np.ndarray, constraints: Constraints,
           number: int) -> list[tuple]:
    """The pairs of groups that might be one, with the largest gains."""
    links = likelihood.tocoo()
    ends = np.sort(label[np.stack([links.row, links.col])], axis=0)
    across = (links.row < links.col) & (ends[0] < ends[1])
    key, weight = ends[0][across] * len(size) + ends[1][across], links.data[across]
    apart = np.sort(label[constraints.cannot.numpy()], axis=0)
    unknown = ~np.isin(key, apart[0] * len(size) + apart[1])
    key, place = np.unique(key[unknown], return_inverse=True)
    total, largest = np.bincount(place, weight[unknown], len(key)), np.zeros(len(key))
    np.maximum.at(largest, place, weight[unknown])
    a, b = key // max(len(size), 1), key % max(len(size), 1)
    pairs = size[a] * size[b]
    gain = pairs * np.sqrt(total / pairs * largest)
    best = np.argsort(-gain, kind="stable")[:number]
    return list(zip(a[best].tolist(), b[best].tolist(), gain[best].tolist(), strict=True))


def _halves(likelihood: np.ndarray, component: np.ndarray, coherent: float) -> tuple | None:
    """Gain and members of the two sides of the best join in a group's tree; None where it is one component."""
    count = len(likelihood)
    if (component == component[0]).all():
        return None
    # a must-link outweighs whatever likelihoods it is averaged with, so that its images are joined first
    distance = np.where(component[:, None] == component, -float(count ** 2), 1 - likelihood)
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average")
    sizes = np.append(np.ones(count), tree[:, 3])
    left, right = tree[:, :2].astype(int).T
    chance = np.where(tree[:, 2] < 0, 0, np.maximum(1 - (1 - tree[:, 2]) / coherent, 0) ** 2)
    gain = sizes[left] * sizes[right] * chance
    best = int(gain.argmax())
    if not gain[best]:
        return None
    return gain[best], _leaves(tree, left[best]), _leaves(tree, right[best])


def _leaves(tree: np.ndarray, node: int) -> list[int]:
    count, waiting, leaves = len(tree) + 1, [node], []
    while waiting:
        node = waiting.pop()
        if node < count:
            leaves.append(node)
        else:
            waiting += tree[node - count, :2].astype(int).tolist()
    return sorted(leaves)


def _central(likelihood: csr_matrix, rows: np.ndarray) -> int:
    return int(rows[np.asarray(likelihood[rows][:, rows].sum(axis=1)).argmax()])
