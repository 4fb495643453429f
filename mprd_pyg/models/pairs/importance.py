"""Which columns a classifier of pairs needs."""
import torch
from torch import Tensor

from mprd_pyg.models.pairs.pair_model import PairModel


def permutation_importance(model: PairModel, features: Tensor, label: Tensor, repeats: int = 5,
                           seed: int = 0) -> Tensor:
    """How much AUC is lost when one column is shuffled among the pairs (Breiman, 2001): (F,), the mean of repeats.

    Ask with validation pairs, which the model did not learn from. Of columns that say nearly the same, each alone is
    of little importance.

    Args:
        model: fitted.
        features: (P, F).
        label: (P,) 0 or 1, both occurring.
        repeats: shuffles per column.
        seed: of the shuffles.
    """
    from sklearn.metrics import roc_auc_score  # imported here: it takes seconds
    label, generator = label.cpu().numpy(), torch.Generator().manual_seed(seed)
    whole, loss = roc_auc_score(label, model.likelihood(features).cpu().numpy()), torch.zeros(features.shape[1])
    for column in range(features.shape[1]):
        for _ in range(repeats):
            shuffled = features.clone()
            shuffled[:, column] = features[torch.randperm(len(features), generator=generator), column]
            loss[column] += (whole - roc_auc_score(label, model.likelihood(shuffled).cpu().numpy())) / repeats
    return loss
