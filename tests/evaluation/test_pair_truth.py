"""The truth of a pair, of tensors and arrays."""
import numpy as np
import torch

from mprd_pyg.evaluation import pair_truth


def test_truth_by_hand():
    one, other = [3, 3, -1, 0, -1, 5], [3, 4, 2, 0, -1, -7]
    for kind in (torch.tensor, np.array):
        truth = pair_truth(kind(one), kind(other))
        assert type(truth) is type(kind(one)) and truth.tolist() == [1, 0, -1, 1, -1, -1]
        assert str(truth.dtype).removeprefix("torch.") == "int64"
