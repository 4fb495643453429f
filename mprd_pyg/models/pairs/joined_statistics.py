"""A graph classifier that reads a pair's statistics beside its subgraph."""
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch


class JoinedStatistics(nn.Module):
    """Puts ``batch.statistics`` (P, F) beside what the classifier's last layers read.

    Args:
        classifier: (batch, features) -> (P,) logits, by an ``mlp`` of its own or of its ``head``, whose first layer is
            linear; that layer is drawn anew, wider.
        count: F.
    """

    def __init__(self, classifier: nn.Module, count: int):
        super().__init__()
        self.classifier, mlp = classifier, (classifier if hasattr(classifier, "mlp") else classifier.head).mlp
        mlp[0] = nn.Linear(mlp[0].in_features + count, mlp[0].out_features)
        mlp.register_forward_pre_hook(lambda mlp, read: (torch.cat([read[0], self.statistics.to(read[0])], dim=1),))

    def forward(self, batch: Batch, features: Tensor, projected: Tensor | None = None) -> Tensor:
        """As the classifier's; ``projected`` is for one that reads it."""
        self.statistics = batch.statistics
        return self.classifier(batch, features, *([] if projected is None else [projected]))

    def score(self, pooled: Tensor, statistics: Tensor) -> Tensor:
        """As the ``score`` of the classifier's head, with the statistics (P, F) of the same pairs."""
        self.statistics = statistics
        return self.classifier.head.score(pooled)


class Standardisation(nn.Module):
    """Columns to mean 0 and deviation 1 of the training pairs; counts enter as log(1 + count).

    A column that is nowhere negative and somewhere above 1 in training is taken for a count. The fit is kept in
    buffers, so that it is saved like weights.

    Args:
        count: F.
    """

    def __init__(self, count: int):
        super().__init__()
        self.register_buffer("is_count", torch.zeros(count, dtype=torch.bool))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))

    def fit(self, columns: Tensor) -> "Standardisation":
        """Measure the columns (P, F) of the training pairs."""
        self.is_count = (columns.amin(0) >= 0) & (columns.amax(0) > 1)
        values = self._logarithms(columns)
        self.mean, self.scale = values.mean(0), values.std(0, correction=0).clamp(min=1e-6)
        return self

    def _logarithms(self, columns: Tensor) -> Tensor:
        return torch.where(self.is_count, columns.clamp(min=0).log1p(), columns)

    def forward(self, columns: Tensor) -> Tensor:
        """(P, F) -> (P, F), clipped to 5 deviations, single precision."""
        return ((self._logarithms(columns) - self.mean) / self.scale).clamp(-5, 5).float()
