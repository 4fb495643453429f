"""Logistic regression on standardised columns: the honest baseline of any network that judges pairs."""
import torch
from torch import Tensor

from mprd_pyg.models.pairs.pair_model import PairModel


class LogisticPairs(PairModel):
    """Logistic regression (scikit-learn); counts enter as log(1 + count), all columns standardised.

    A column that is nowhere negative and somewhere above 1 in training is taken for a count. Afterwards values are
    clipped to 5 standard deviations, since few pairs can be far out of what was seen.

    Args:
        products: also all products of two standardised columns, squares included.
        strength: inverse of the L2 penalty on the weights.
    """

    fields = ("products", "is_count", "mean", "scale", "weight", "bias")

    def __init__(self, products: bool = False, strength: float = 1.0):
        super().__init__()
        if strength <= 0:
            raise ValueError(f"strength must be positive, got {strength}")
        self.products, self.strength = products, strength

    def _fit(self, features: Tensor, label: Tensor, validation: tuple[Tensor, Tensor] | None) -> None:
        from sklearn.linear_model import LogisticRegression  # imported here: it takes seconds
        self.is_count = (features.amin(0) >= 0) & (features.amax(0) > 1)
        values = self._logarithms(features)
        self.mean, scale = values.mean(0), values.std(0, correction=0)
        self.scale = torch.where(scale > 1e-12, scale, 1.0)  # a constant column says nothing
        model = LogisticRegression(C=self.strength, max_iter=5000).fit(self._design(features).numpy(), label.numpy())
        self.weight, self.bias = torch.from_numpy(model.coef_[0]), float(model.intercept_[0])

    def _fits(self, num_columns: int) -> bool:
        width = num_columns + (num_columns * (num_columns + 1) // 2 if self.products else 0)
        vectors = {"mean": num_columns, "scale": num_columns, "is_count": num_columns, "weight": width}
        return type(self.bias) is float and self.is_count.dtype == torch.bool and all(
            getattr(self, name).shape == (size,) for name, size in vectors.items())

    def _score(self, features: Tensor) -> Tensor:
        return self._design(features) @ self.weight + self.bias

    def _logarithms(self, features: Tensor) -> Tensor:
        return torch.where(self.is_count, features.clamp(min=0).log1p(), features)

    def _design(self, features: Tensor) -> Tensor:
        """(P, F), or with products (P, F + F (F + 1) / 2)."""
        z = ((self._logarithms(features) - self.mean) / self.scale).clamp(-5, 5)
        if not self.products:
            return z
        a, b = torch.triu_indices(z.shape[1], z.shape[1])
        return torch.cat([z, z[:, a] * z[:, b]], dim=1)
