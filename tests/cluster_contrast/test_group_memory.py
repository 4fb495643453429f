"""The memory of cluster contrast against a reference written from its paper, image by image."""
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mprd_pyg.cluster_contrast import GroupMemory


@given(st.integers(1, 5), st.integers(1, 24), st.sampled_from([0.0, 0.1, 0.9]), st.integers(0, 10_000))
@settings(deadline=None, max_examples=40)
def test_equals_the_paper(groups, batch, momentum, seed):
    generator = torch.Generator().manual_seed(seed)
    features = F.normalize(torch.randn(30, 4, generator=generator, dtype=torch.float64), dim=1)
    group = torch.cat([torch.arange(groups), torch.randint(-1, groups, (30 - groups,), generator=generator)])
    memory = GroupMemory(features, group, momentum, temperature=0.05)
    expected = torch.stack([F.normalize(features[group == g].mean(0), dim=0) for g in range(groups)])
    torch.testing.assert_close(memory.bank, expected)

    x = F.normalize(torch.randn(batch, 4, generator=generator, dtype=torch.float64), dim=1)
    label = torch.randint(groups, (batch,), generator=generator)
    loss = sum(-torch.log(torch.exp(q @ expected[g] / 0.05) / torch.exp(expected @ q / 0.05).sum())
               for q, g in zip(x, label, strict=True)) / batch
    torch.testing.assert_close(memory.loss(x, label), torch.as_tensor(loss))
    torch.testing.assert_close(memory.bank, expected)  # the loss changes nothing

    memory.update(x, label)
    for q, g in zip(x, label.tolist(), strict=True):
        expected[g] = momentum * expected[g] + (1 - momentum) * q
        expected[g] /= expected[g].norm()
    torch.testing.assert_close(memory.bank, expected)


def test_by_hand():
    memory = GroupMemory(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [9.0, 9.0]]), torch.tensor([0, 0, 1, -1]),
                         temperature=0.5)
    half = math.sqrt(0.5)
    torch.testing.assert_close(memory.bank, torch.tensor([[half, half], [-1.0, 0.0]]))
    loss = memory.loss(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-half / 0.5)))


def test_gradient():
    features = F.normalize(torch.randn(8, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=1)
    memory = GroupMemory(features, torch.arange(8) % 3, temperature=0.3)
    assert torch.autograd.gradcheck(lambda x: memory.loss(x, torch.tensor([0, 2])), (features[:2].requires_grad_(),))


def test_bad_input():
    with pytest.raises(ValueError, match="no image is in a group"):
        GroupMemory(torch.eye(2), torch.tensor([-1, -1]))
    with pytest.raises(ValueError, match="got 2 and 0.05"):
        GroupMemory(torch.eye(2), torch.tensor([0, 0]), momentum=2)
