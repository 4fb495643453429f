"""FeatureMemory: MPRD Eq. 1 and PAUL Eq. 1."""
import pytest
import torch

from mprd_pyg.memory import FeatureMemory


def test_mprd_equation_1_by_hand():
    """MPRD Eq. 1: M[i] <- gamma x_i + (1 - gamma) M[i], then L2-normalised."""
    memory = FeatureMemory(num_rows=3, dim=2)
    memory.update(torch.tensor([1]), torch.tensor([[[0.0, 1.0]]]), rate=1.0)
    memory.update(torch.tensor([1]), torch.tensor([[[1.0, 0.0]]]), rate=0.75)
    expected = torch.tensor([0.75, 0.25]) / (0.75**2 + 0.25**2) ** 0.5
    torch.testing.assert_close(memory.bank[0, 1], expected)
    assert memory.bank[0, [0, 2]].abs().sum() == 0


def test_paul_equation_1_is_never_renormalised():
    """PAUL Eq. 1: w <- (1 - l) w + l x, per branch."""
    memory = FeatureMemory(num_rows=2, dim=3, branches=2, normalize=False)
    old, new = torch.randn(2, 2, 3), torch.randn(2, 2, 3)
    memory.update(torch.tensor([0, 1]), old, rate=1.0)
    memory.update(torch.tensor([1, 0]), new, rate=0.1)
    torch.testing.assert_close(memory.bank[1, 0], 0.9 * old[0, 1] + 0.1 * new[1, 1])


def test_no_gradient_enters_the_memory():
    memory = FeatureMemory(4, 2)
    x = torch.randn(2, 1, 2, requires_grad=True)
    memory.update(torch.tensor([0, 3]), x, 0.5)
    assert not memory.bank.requires_grad


def test_saved_with_the_module_and_checked():
    memory = FeatureMemory(4, 2)
    assert list(memory.state_dict()) == ["bank"]
    with pytest.raises(ValueError, match="shape"):
        memory.update(torch.tensor([0]), torch.randn(1, 2), 0.5)
    with pytest.raises(ValueError, match="rate"):
        memory.update(torch.tensor([0]), torch.randn(1, 1, 2), 1.5)
