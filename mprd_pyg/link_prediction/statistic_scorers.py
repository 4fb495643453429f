"""Classifiers on pair statistics as scorers of links."""
from typing import Any

import pandas as pd
import torch

from mprd_pyg.link_prediction.pair_columns import PairColumns
from mprd_pyg.link_prediction.questions import Questions, Scores
from mprd_pyg.link_prediction.splits import LinkSplit
from mprd_pyg.models.pairs import PairModel, permutation_importance
from mprd_pyg.models.pairs.pair_model import calibrated
from mprd_pyg.random_streams import stream


class StatisticScorers:
    """Classifiers fitted on the training pairs of a split and calibrated on its validation pairs.

    Args:
        split: pairs.
        questions: what is asked; its columns are computed once.
        columns: the statistics that are read.
        models: by name, not yet fitted.
        fit_pairs: training pairs to learn from, at most, drawn at random; None for all.
        seed: of that draw.
        fitted: ``state_dict`` of each model, where they were fitted before.

    Attributes:
        train: (P, F) columns of the training pairs learned from.
        asked: question -> columns (P, F).
    """

    def __init__(self, split: LinkSplit, questions: Questions, columns: PairColumns, models: dict[str, PairModel],
                 fit_pairs: int | None = None, seed: int = 0, fitted: dict[str, Any] | None = None):
        self.split, self.columns, self.models, self.seed = split, columns, models, seed
        rows = torch.arange(len(split.pairs["train"]))
        if fit_pairs is not None and len(rows) > fit_pairs:
            rows = torch.randperm(len(rows), generator=stream(seed, 27))[:fit_pairs]
        self.train, self.asked = columns.train(rows), questions.ask(columns)
        for name, model in models.items():
            if fitted is not None:
                model.load_state_dict(fitted.get(name, {}))
                continue
            model.fit(self.train, split.label["train"][rows])
            # Calibrated only: trees counted on the validation pairs would win the choice among scorers there.
            model.slope, model.shift = calibrated(model.likelihood(self.asked["validation"]).clamp(
                1e-12, 1 - 1e-12).logit(), split.label["validation"])

    def state_dict(self) -> dict[str, Any]:
        """The fitted models."""
        return {name: model.state_dict() for name, model in self.models.items()}

    def scores(self) -> dict[str, Scores]:
        """Each model's likelihoods of all that is asked."""
        return {name: {question: model.likelihood(columns) for question, columns in self.asked.items()}
                for name, model in self.models.items()}

    def importance(self) -> pd.DataFrame:
        """``scorer, statistic, auc_lost``: permutation importance on the validation pairs."""
        label, asked = self.split.label["validation"], self.asked["validation"]
        return pd.concat([pd.DataFrame({
            "scorer": name, "statistic": self.columns.names,
            "auc_lost": permutation_importance(model, asked, label, seed=self.seed).numpy()})
            for name, model in self.models.items()], ignore_index=True)
