"""What a classifier of pairs is: from columns (P, F) to calibrated likelihoods (P,)."""
from abc import ABC, abstractmethod

import torch
from torch import Tensor


class PairModel(ABC):
    r"""A classifier of pairs: ``fit`` once, then ``likelihood``; ``state_dict`` holds tensors and numbers only.

    The likelihood is :math:`\sigma(a s + b)` of the model's score s, a and b being fitted on validation pairs (Platt,
    1999), which keeps the order of the scores; without them it is the model's own.
    """

    #: names of the attributes that ``state_dict`` holds
    fields: tuple[str, ...] = ()

    def __init__(self):
        self.slope, self.shift = 1.0, 0.0

    @abstractmethod
    def _fit(self, features: Tensor, label: Tensor, validation: tuple[Tensor, Tensor] | None) -> None:
        """Learn ``score`` from checked double columns and 0/1 labels."""

    @abstractmethod
    def _fits(self, num_columns: int) -> bool:
        """Whether the attributes are what ``_score`` can read: a file may have brought anything."""

    @abstractmethod
    def _score(self, features: Tensor) -> Tensor:
        """Logits (P,) of "true" from double columns (P, F)."""

    def fit(self, features: Tensor, label: Tensor, validation: tuple[Tensor, Tensor] | None = None) -> "PairModel":
        """Learn.

        Args:
            features: (P, F) finite columns.
            label: (P,) 1 for true pairs, 0 for others; both must occur.
            validation: columns and labels of other pairs, to calibrate and to choose on.

        Raises:
            ValueError: shapes that do not fit, columns that are not finite, labels of one kind.
        """
        features, label = _checked(features, label)
        validation = None if validation is None else _checked(*validation)
        self._fit(features, label, validation)
        self.slope, self.shift = (1.0, 0.0) if validation is None else calibrated(self._score(validation[0]),
                                                                                 validation[1])
        return self

    def likelihood(self, features: Tensor) -> Tensor:
        """How likely each pair is true: columns (P, F) -> (P,) in [0, 1], float64, on the device of the columns."""
        features = _finite(features)
        try:
            fits = self._fits(features.shape[1]) and all(type(x) is float for x in (self.slope, self.shift))
        except (AttributeError, TypeError, RuntimeError):
            fits = False
        if not fits:
            raise ValueError(f"the {type(self).__name__} that was loaded or fitted is damaged, or of other columns "
                             f"than these {features.shape[1]}: fit it again")
        score = self._score(features)
        return torch.sigmoid(self.slope * score + self.shift).to(features.device)

    def state_dict(self) -> dict[str, Tensor | float]:
        """All that ``likelihood`` needs."""
        if not all(hasattr(self, name) for name in self.fields):
            raise ValueError(f"{type(self).__name__} holds nothing to save: fit it first")
        return {name: getattr(self, name) for name in (*self.fields, "slope", "shift")}

    def load_state_dict(self, state: dict[str, Tensor | float]) -> None:
        """Load what ``state_dict`` returned."""
        wanted = {*self.fields, "slope", "shift"}
        if set(state) != wanted:
            raise ValueError(f"not a state of {type(self).__name__}: it holds {sorted(state)}, expected "
                             f"{sorted(wanted)}")
        for name, value in state.items():
            setattr(self, name, value)


def calibrated(score: Tensor, label: Tensor) -> tuple[float, float]:
    """Slope and shift of Platt's logistic fit (1999) of labels (P,) on scores (P,); the slope is never negative.

    His targets, (n + 1) / (n + 2) for the n true pairs and 1 / (m + 2) for the m others, keep it finite where the
    scores separate the two.
    """
    from sklearn.linear_model import LogisticRegression  # imported here: it takes seconds
    true = label.double()
    target = torch.where(true == 1, (true.sum() + 1) / (true.sum() + 2), 1 / ((1 - true).sum() + 2))
    twice = score.repeat(2).unsqueeze(1).numpy()
    scale = float(score.std(correction=0)) or 1.0
    model = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(
        twice / scale, torch.arange(2).repeat_interleave(len(score)).numpy(), torch.cat([1 - target, target]).numpy())
    slope = float(model.coef_[0, 0]) / scale
    if slope > 0:
        return slope, float(model.intercept_[0])
    return 0.0, float(torch.logit(target.mean()))


def _finite(features: Tensor) -> Tensor:
    if features.dim() != 2:
        raise ValueError(f"expected columns of shape (P, F), got {tuple(features.shape)}")
    features = features.detach().double().cpu()
    if not bool(torch.isfinite(features).all()):
        pair, column = (~torch.isfinite(features)).nonzero()[0].tolist()
        raise ValueError(f"column {column} of pair {pair} is {float(features[pair, column])}: columns must be finite")
    return features


def _checked(features: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    label = torch.as_tensor(label).detach().cpu()
    if label.shape != features.shape[:1]:
        raise ValueError(f"one label per pair is needed: features {tuple(features.shape)}, label {tuple(label.shape)}")
    if label.unique().tolist() != [0, 1]:
        raise ValueError(f"labels must be 0 and 1, and both must occur; got {label.unique().tolist()[:5]}")
    return _finite(features), label.long()
