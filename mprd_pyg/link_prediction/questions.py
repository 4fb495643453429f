"""What every scorer of pairs is asked on a split, and what its answers are worth."""
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from mprd_pyg.link_prediction.figures import link_figures, ranks
from mprd_pyg.link_prediction.hard_negatives import hard_negatives
from mprd_pyg.link_prediction.splits import LinkSplit

PARTS = ("validation", "test")
Scores = dict[str, Tensor]  # question -> (P,)


class Questions:
    """The validation and test pairs and, with ``own`` negatives, those of each of their links.

    Args:
        split: the pairs.
        own: negatives of each link by HeaRT; 0 for none.
        seed: of those.

    Attributes:
        graph: question -> observed graph, with the features.
        pairs: question -> (P, 2); ``"validation"``, ``"test"`` [, ``"validation/own"``, ``"test/own"``].
    """

    def __init__(self, split: LinkSplit, own: int = 0, seed: int = 0):
        self.split, self.pairs, self.graph = split, {}, {}
        for part in PARTS:
            self.graph[part], self.pairs[part] = split.observed(part), split.pairs[part]
            if own:
                found = hard_negatives(split.graph, self.graph[part], split.links(part), own, seed)
                self.graph[part + "/own"], self.pairs[part + "/own"] = self.graph[part], found.flatten(0, 1)

    def __iter__(self) -> Iterator[tuple[str, Data, Tensor]]:
        """(question, graph, pairs) one after the other."""
        return ((name, self.graph[name], pairs) for name, pairs in self.pairs.items())

    def ask(self, scorer: Callable[[Data, Tensor], Tensor]) -> Scores:
        """The scores of all pairs."""
        return {name: torch.as_tensor(scorer(graph, pairs)) for name, graph, pairs in self}

    def figures(self, scores: Scores, hits: Sequence[int]) -> dict[str, dict[str, float]]:
        """Part -> :func:`link_figures`."""
        figures = {}
        for part in PARTS:
            own, label = scores.get(part + "/own"), self.split.label[part]
            figures[part] = link_figures(scores[part], label, hits,
                                         None if own is None else own.view(int(label.sum()), -1))
        return figures

    def merit(self, scorer: Callable[[Data, Tensor], Tensor], every: int = 10) -> float:
        """What a scorer is worth on the validation pairs: AUC, or MRR where links have negatives of their own.

        Asked many times while a network learns, so of those negatives only one in ``every``.
        """
        graph, pairs = self.graph["validation"], self.pairs["validation"]
        scores = {"validation": torch.as_tensor(scorer(graph, pairs))}
        if "validation/own" in self.pairs:
            own = self.pairs["validation/own"].view(int(self.split.label["validation"].sum()), -1, 2)[:, ::every]
            scores["validation/own"] = torch.as_tensor(scorer(graph, own.flatten(0, 1)))
        return self.worth(scores)

    def worth(self, scores: Scores) -> float:
        """:meth:`merit` of scores already known."""
        return float(self.per_link(scores).mean())

    def per_link(self, scores: Scores) -> Tensor:
        """The share of negatives below each validation link, or 1 / its rank among its own negatives -> (L,)."""
        score, label = scores["validation"], self.split.label["validation"]
        if "validation/own" in scores:
            return 1 / ranks(score[label == 1], scores["validation/own"].view(int(label.sum()), -1))
        negative = score[label == 0]
        return 1 - (ranks(score[label == 1], negative) - 1) / len(negative)

    def choose(self, scorers: dict[str, Scores], usual: str = "mean") -> str:
        """The scorer that tells the validation pairs best.

        ``usual``, where it is among them, stays unless the best is better by more than a standard error of their
        difference, link by link: few validation links cannot tell more.
        """
        value = {name: self.per_link(scores) for name, scores in scorers.items()}
        best = max(value, key=lambda name: float(value[name].mean()))
        if usual in value:
            gain = value[best] - value[usual]
            if float(gain.mean()) <= float(gain.std(correction=0)) / len(gain) ** 0.5:
                return usual
        return best
