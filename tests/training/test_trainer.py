"""The loop: exact resumption from any step, what is logged, what is refused."""
import os
import signal

import pandas as pd
import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import Logger

from mprd_pyg.training import (
    LinearSchedule,
    Phase,
    StepSchedule,
    Stopped,
    Trainer,
    load_checkpoint,
    save_checkpoint,
)
from mprd_pyg.training.checkpoint import load_weights


class Walk:
    """A method with two phases and a random walk that any lost or doubled step would change."""

    def __init__(self, epochs=3, stop_at=None):
        self.epochs, self.stop_at, self.value, self.taken = epochs, stop_at, torch.zeros(()), 0

    def prepare(self):
        self.value = torch.tensor(1.0)

    def phases(self, epoch):
        for name, steps in (("first", 4), ("second", 5)):
            yield Phase(name, steps, lambda start, steps=steps: range(start, steps), self.step)

    def step(self, batch):
        self.taken += 1
        if self.taken == self.stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        self.value = self.value * 1.01 + torch.rand(()) * (batch + 1)
        return {"loss": self.value.clone()}

    def end_epoch(self, epoch):
        return {"value": float(self.value)}

    @property
    def parts(self):
        return {"walk": self}

    def state_dict(self):
        return {"value": self.value}

    def load_state_dict(self, state):
        self.value = state["value"]


def trainer(folder, **options):
    return Trainer(Fabric(accelerator="cpu", devices=1), folder, progress=False, **options)


def whole_run(folder):
    torch.manual_seed(5)
    method = Walk()
    history = trainer(folder, evaluate=lambda: {"standard/mAP": float(method.value)}).fit(method)
    return method.value, history


def without_time(history):
    return [{k: v for k, v in record.items() if k not in ("seconds", "memory/peak_mb")} for record in history]


@pytest.mark.parametrize("stop_at", [1, 3, 4, 5, 9, 10, 14, 18, 22])
def test_stopped_anywhere_and_resumed_gives_the_same_run(tmp_path, stop_at):
    value, history = whole_run(tmp_path / "whole")
    torch.manual_seed(5)
    method = Walk(stop_at=stop_at)
    with pytest.raises(Stopped, match="epoch"):
        trainer(tmp_path / "cut", evaluate=lambda: {"standard/mAP": float(method.value)}).fit(method)
    torch.manual_seed(99)
    again = Walk()
    resumed = trainer(tmp_path / "cut", evaluate=lambda: {"standard/mAP": float(again.value)})
    assert without_time(resumed.fit(again, resume=True)) == without_time(history)
    assert torch.equal(again.value, value) and method.taken + again.taken == 27
    assert resumed.before == {"standard/mAP": 1.0}


def test_logs_are_whole_after_a_resume(tmp_path):
    _, history = whole_run(tmp_path / "whole")
    frame = pd.read_csv(tmp_path / "whole" / "logs" / "history.csv")
    assert frame["epoch"].tolist() == [1, 2, 3] and "first/loss" in frame and "second/loss" in frame
    assert frame["value"].iloc[-1] == pytest.approx(history[-1]["value"])
    assert any(path.name.startswith("events") for path in (tmp_path / "whole" / "logs").iterdir())


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    value, history = whole_run(tmp_path / "whole")

    class Killed(Walk):
        def step(self, batch):
            if self.taken == 15:
                raise RuntimeError("power cut")
            return super().step(batch)

    torch.manual_seed(5)
    with pytest.raises(RuntimeError):
        trainer(tmp_path / "cut", checkpoint_every=2).fit(Killed())
    again = Walk()
    trainer(tmp_path / "cut").fit(again, resume=True)
    assert torch.equal(again.value, value) and again.taken < 27 - 9


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    class Broken(Walk):
        def step(self, batch):
            return {"loss": torch.tensor(float("nan")) if batch == 3 else torch.tensor(1.0)}

    with pytest.raises(FloatingPointError, match="first/loss is nan in epoch 1, step 4"):
        trainer(tmp_path).fit(Broken())


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    trainer(tmp_path, describe={"data": "a"}).fit(Walk(1))
    with pytest.raises(ValueError, match="its data is 'a', this run's is 'b'"):
        trainer(tmp_path, describe={"data": "b"}).fit(Walk(2), resume=True)


def test_checkpoints_are_whole_and_safe(tmp_path):
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"x": torch.ones(2)})
    before = path.read_bytes()

    class NotPlain:
        def __reduce__(self):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, {"x": NotPlain()})
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_checkpoint(path)
    torch.save({"format": 1, "x": Walk()}, path)  # an object: reading it would run code
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_checkpoint(path)
    torch.save({"x": 1}, path)
    with pytest.raises(ValueError, match="format"):
        load_checkpoint(path)
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")


def test_weights_of_another_model_are_named():
    with pytest.raises(ValueError, match=r"weight: \(3, 2\) in the file, \(2, 2\) here"):
        load_weights(torch.nn.Linear(2, 2), torch.nn.Linear(2, 3).state_dict(), "the checkpoint")


def test_schedules_of_the_paper():
    """Sec. 5.2: gamma falls linearly from 1 to 0.5 at epoch 40; a tenth of the learning rate after epoch 20."""
    gamma = LinearSchedule()
    assert [gamma(t) for t in (1, 40)] == [1.0, 0.5]
    assert gamma(14) == pytest.approx(1 - 0.5 * 13 / 39)
    step = StepSchedule((20,))
    assert [step(t) for t in (1, 20, 21, 40)] == [1, 1, 0.1, 0.1]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.5)
    for epoch in (1, 21, 21, 3):
        step.apply(optimizer, epoch)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * step(epoch))


def test_any_logger_of_fabric_is_shown_steps_and_epochs_in_rising_order(tmp_path):
    class Long(Walk):
        def phases(self, epoch):
            for name in ("first", "second"):
                yield Phase(name, 45, lambda start: range(start, 45), self.step)

    class Kept(Logger):
        name, version, seen, ends = "kept", 0, None, None

        def log_metrics(self, metrics, step=None):
            self.seen = [*(self.seen or []), (step, dict(metrics))]

        def log_hyperparams(self, *args, **kwargs):
            raise AssertionError("nobody asks for it")

        def finalize(self, status):
            self.ends = status
    logger = Kept()
    run = trainer(tmp_path, logger=logger)
    run.fit(Long())
    steps = [step for step, _ in logger.seen]
    assert steps == sorted(steps) and logger.ends == "success"
    epochs = [metrics["epoch/epoch"] for _, metrics in logger.seen if "epoch/epoch" in metrics]
    assert epochs == list(range(1, len(run.history) + 1))
    assert any("epoch/epoch" not in metrics for _, metrics in logger.seen)
    assert not list(tmp_path.rglob("events.out.tfevents*"))
