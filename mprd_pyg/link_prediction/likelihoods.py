"""Likelihoods of several scorers: their mean, and how often they come true."""
import pandas as pd
import torch
from torch import Tensor

from mprd_pyg.link_prediction.questions import PARTS, Scores
from mprd_pyg.link_prediction.splits import LinkSplit


def mean_likelihood(scores: dict[str, Tensor]) -> Tensor:
    """Of the mean logit of several scorers' likelihoods (P,)."""
    return torch.stack([score.double().clamp(1e-12, 1 - 1e-12).logit() for score in scores.values()]).mean(0).sigmoid()


def with_mean(scores: dict[str, Scores]) -> dict[str, Scores]:
    """The scorers and their mean, which comes last."""
    return scores | {"mean": {name: mean_likelihood({scorer: of[name] for scorer, of in scores.items()})
                              for name in next(iter(scores.values()))}}


def calibration(split: LinkSplit, scores: dict[str, Scores], bins: int = 10) -> pd.DataFrame:
    """``scorer, part, bin, pairs, likelihood, frequency``: mean likelihood and share of links of pairs in each bin."""
    rows = [pd.DataFrame({"scorer": scorer, "part": part, "likelihood": score[part].numpy(),
                          "label": split.label[part].numpy()}) for scorer, score in scores.items() for part in PARTS]
    table = pd.concat(rows, ignore_index=True)
    table["bin"] = (table["likelihood"] * bins).astype(int).clip(upper=bins - 1)
    return table.groupby(["scorer", "part", "bin"], sort=False).agg(
        pairs=("label", "size"), likelihood=("likelihood", "mean"), frequency=("label", "mean")).reset_index()
