"""Values that depend on the epoch only, so that they need no state."""
from dataclasses import dataclass

from torch.optim import Optimizer


@dataclass(frozen=True)
class LinearSchedule:
    """From ``start`` at epoch 1 to ``end`` at epoch ``epochs``: MPRD's gamma, 1 to 0.5 (Sec. 5.2)."""

    start: float = 1.0
    end: float = 0.5
    epochs: int = 40

    def __call__(self, epoch: int) -> float:
        """Value at an epoch, counted from 1; constant after the last."""
        done = (min(epoch, self.epochs) - 1) / max(self.epochs - 1, 1)
        return self.start + (self.end - self.start) * done


@dataclass(frozen=True)
class StepSchedule:
    """Learning rates times ``factor`` after each of the ``milestones`` (MPRD Sec. 5.2: a tenth after epoch 20)."""

    milestones: tuple[int, ...] = (20,)
    factor: float = 0.1

    def __call__(self, epoch: int) -> float:
        """Multiplier at an epoch, counted from 1."""
        return self.factor ** sum(epoch > milestone for milestone in self.milestones)

    def apply(self, optimizer: Optimizer, epoch: int) -> None:
        """Set the rates of ``optimizer`` from those it was made with."""
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * self(epoch)
