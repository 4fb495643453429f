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

    def forward(self, batch: Batch, features: Tensor) -> Tensor:
        """As the classifier's."""
        self.statistics = batch.statistics
        return self.classifier(batch, features)


class Standardisation:
    """Columns to mean 0 and deviation 1 of the training pairs; counts enter as log(1 + count).

    Args:
        columns: (P, F) of the training pairs.
    """

    def __init__(self, columns: Tensor):
        self.is_count = (columns.amin(0) >= 0) & (columns.amax(0) > 1)
        values = self._logarithms(columns)
        self.mean, self.scale = values.mean(0), values.std(0, correction=0).clamp(min=1e-6)

    def _logarithms(self, columns: Tensor) -> Tensor:
        return torch.where(self.is_count, columns.clamp(min=0).log1p(), columns)

    def __call__(self, columns: Tensor) -> Tensor:
        """(P, F) -> (P, F), clipped to 5 deviations, single precision."""
        return ((self._logarithms(columns) - self.mean) / self.scale).clamp(-5, 5).float()
