"""Training, validation and test pairs of a graph: its links, and as many pairs without a link."""
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.link_prediction.link_graph import LinkGraph
from mprd_pyg.random_streams import stream

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class LinkSplit:
    """Disjoint pairs of each part, with the graph that each part may see.

    Args:
        graph: the whole graph.
        pairs: part -> (P, 2) nodes i < j.
        label: part -> (P,) 1 for links, 0 for pairs without one.
        observe_validation: test pairs are looked at in the graph of training *and* validation links, as in SEAL and
            in PyG's ``RandomLinkSplit``; False shows them the training links only.
    """

    graph: LinkGraph
    pairs: dict[str, Tensor]
    label: dict[str, Tensor]
    observe_validation: bool = True

    def links(self, part: str) -> Tensor:
        """(L', 2) links of a part."""
        return self.pairs[part][self.label[part] == 1]

    def observed(self, part: str) -> Data:
        """The graph that pairs of a part are looked at in: never with a link of that part, but for training links,
        each of which is missing from its own subgraph only."""
        links = self.links("train")
        if part == "test" and self.observe_validation:
            links = torch.cat([links, self.links("validation")])
        return self.graph.observed(links)

    def table(self) -> pd.DataFrame:
        """``i, j, source, target`` (names), ``label`` and ``part`` of every pair."""
        return pd.concat([self.graph.table(self.pairs[part]).assign(label=self.label[part].numpy(), part=part)
                          for part in PARTS], ignore_index=True)


def split_links(graph: LinkGraph, test: float = 0.1, validation: float = 0.05, observe_validation: bool = True,
                seed: int = 0) -> LinkSplit:
    """Draw the parts (Zhang & Chen, NeurIPS 2018, Sec. 4: a tenth of the links is the test, as many negatives).

    Args:
        graph: links and nodes.
        test: fraction of the links; at least one.
        validation: fraction of the links; at least one.
        observe_validation: see :class:`LinkSplit`.
        seed: of the draw.

    Returns:
        Negatives are pairs that are no link of the whole graph; where fewer than the links exist, all are used.

    Raises:
        ValueError: too few links or pairs without one, or fractions out of range.
    """
    if not (0 < test < 1 and 0 < validation < 1 and test + validation < 1):
        raise ValueError(f"test and validation are fractions of the links, above 0 and below 1 together; "
                         f"got {test} and {validation}")
    total, n = len(graph.links), graph.num_nodes
    if total < 3:
        raise ValueError(f"the graph has {total} links between {n} nodes: at least 3 are needed, one for each of "
                         f"training, validation and test")
    absent = n * (n - 1) // 2 - total
    if absent < 3:
        raise ValueError(f"the graph has {total} links between {n} nodes, so {absent} pairs have none: at least 3 such "
                         f"pairs are needed as negatives")
    generator = stream(seed, 20)
    count = {"test": max(1, round(test * total)), "validation": max(1, round(validation * total))}
    count["train"] = total - sum(count.values())
    if count["train"] < 1:
        raise ValueError(f"{total} links leave none to train on with test={test} and validation={validation}")
    links = graph.links[torch.randperm(total, generator=generator)].split([count[part] for part in PARTS])
    share = min(1.0, absent / total)
    wanted = [max(1, int(share * count[part])) for part in PARTS]
    while sum(wanted) > absent:  # one negative at least for each part may be more than there are
        wanted[wanted.index(max(wanted))] -= 1
    negatives = sample_absent(graph, sum(wanted), generator).split(wanted)
    pairs, label = {}, {}
    for part, positive, negative in zip(PARTS, links, negatives, strict=True):
        pairs[part] = torch.cat([positive, negative])
        label[part] = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).long()
    return LinkSplit(graph, pairs, label, observe_validation)


def sample_absent(graph: LinkGraph, count: int, generator: torch.Generator) -> Tensor:
    """(count, 2) different pairs i < j without a link, uniformly and in random order."""
    n = graph.num_nodes
    known = graph.keys(graph.links)
    if n * (n - 1) // 2 <= 4 * (count + len(known)):  # dense or small: draw from the list of all of them
        i, j = torch.triu_indices(n, n, 1)
        key = i * n + j
        key = key[~torch.isin(key, known)]
        key = key[torch.randperm(len(key), generator=generator)[:count]]
    else:
        key = known[:0]
        while len(key) < count:
            i, j = torch.randint(n, (2, count), generator=generator)
            new = graph.keys(torch.stack([i, j], dim=1))[i != j]
            key = torch.cat([key, new[~torch.isin(new, known)]])
            key = key[np.sort(np.unique(key.numpy(), return_index=True)[1])]  # the first of each, in their order
        key = key[:count]
    return torch.stack([torch.div(key, n, rounding_mode="floor"), key % n], dim=1)
