"""One training loop for all methods: phases of steps, progress, logs, checkpoints, exact resumption."""
import copy
import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers import Logger
from torch import Tensor
from tqdm import tqdm

from mprd_pyg import processes
from mprd_pyg.files import replacing
from mprd_pyg.training.checkpoint import load_checkpoint, load_parts, save_checkpoint, send_parts
from mprd_pyg.training.peak_memory import peak_memory

TOGETHER = 2.0  # seconds in which a second signal is the first one, sent to the process by torchrun too


@dataclass
class Phase:
    """A pass of steps within an epoch.

    Args:
        name: prefix of its losses in the log.
        num_steps: how many steps it has.
        batches: from a first step to the batches from there on; must not depend on steps already taken.
        step: trains on one batch and returns the losses and figures to show, detached.
    """

    name: str
    num_steps: int
    batches: Callable[[int], Iterable]
    step: Callable[[Any], dict[str, Tensor | float]]


def once(name: str, work: Callable[[], dict[str, Tensor | float] | None]) -> Phase:
    """A phase of one step, for what happens once per epoch; a resumed run repeats it whole or skips it.

    Args:
        name: prefix of its figures in the log.
        work: returns figures to show, or None.
    """
    return Phase(name, 1, lambda start: range(start, 1), lambda _: work() or {})


class Method(Protocol):
    """What the trainer runs.

    ``parts`` is all its state: modules, optimisers and other objects with ``state_dict`` and ``load_state_dict``, by
    name. The trainer saves and loads them. ``network`` is the embedder, ``memory`` the feature memory where there is
    one.
    """

    epochs: int
    parts: dict[str, Any]

    def prepare(self) -> None:
        """Before the first epoch of a new run (not when resuming)."""

    def phases(self, epoch: int) -> Iterator[Phase]:
        """The phases of an epoch, counted from 1; each is made when the one before is done.

        What a method does here, outside of phases, is done again where a run is resumed.
        """

    def end_epoch(self, epoch: int) -> dict[str, float]:
        """After the last phase: figures for the log."""


class Stopped(Exception):  # noqa: N818  (not an error: the user asked for it)
    """The run was stopped by the user; everything up to the last step is in the checkpoint."""


class Trainer:
    """Runs a method's epochs.

    A checkpoint is written after every epoch, and where the run is stopped (Ctrl-C or SIGTERM, once; a second
    Ctrl-C aborts at once). With ``resume``, the run goes on from the exact step: on the CPU the result is bit for
    bit that of a run without interruption.

    Of several processes, rank 0 writes; all have its state at the end of each phase, and stop after the same step. A
    checkpoint does not tell how many there were.

    Args:
        fabric: device and precision.
        folder: run folder; ``checkpoints/last.pt`` and ``logs/`` are written there.
        evaluate: metrics of the current network, called every ``evaluate_every`` epochs and after the last.
        evaluate_every: 0 evaluates after the last epoch only.
        checkpoint_every: steps between checkpoints within an epoch; 0 for none, which loses at most one epoch when
            the process is killed.
        describe: plain values to keep in each checkpoint (what network, what data). A checkpoint that describes
            something else is refused.
        progress: show progress bars.
        logger: shown the figures of every 20th step and of every epoch, by the number of steps so far; TensorBoard's
            in ``logs/`` by default.
    """

    def __init__(self, fabric: Fabric, folder: Path, evaluate: Callable[[], dict[str, float]] | None = None,
                 evaluate_every: int = 0, checkpoint_every: int = 0, describe: dict[str, Any] | None = None,
                 progress: bool = True, logger: Logger | None = None):
        self.fabric, self.folder, self.evaluate, self.describe = fabric, Path(folder), evaluate, describe or {}
        self.evaluate_every, self.checkpoint_every = evaluate_every, checkpoint_every
        self.progress = progress and processes.is_first()
        self.epoch, self.phase, self.step, self.total = 1, 0, 0, 0
        self.logger = logger
        self.sums: dict[str, float] = {}
        self.before: dict[str, float] = {}
        self.history: list[dict[str, float]] = []
        self.stop, self.asked = False, 0.0

    @property
    def checkpoint(self) -> Path:
        """Where the run's state is kept."""
        return self.folder / "checkpoints" / "last.pt"

    def fit(self, method: Method, resume: bool = False) -> list[dict[str, float]]:
        """Train; returns one record per epoch. ``before`` then holds the metrics of the network before training."""
        processes.check_equal("data or another network", repr(self.describe))
        if resume:
            self._load(method)
        else:
            method.prepare()
            self.before = self.evaluate() if self.evaluate else {}
            self._save(method)
        with self._signals(), self._logging() as logger:
            while self.epoch <= method.epochs:
                started = time.monotonic()
                for number, phase in enumerate(method.phases(self.epoch)):
                    if number >= self.phase:
                        self._run(method, phase, logger)
                        self._send_state(method)
                        self.phase, self.step = number + 1, 0
                record = {"epoch": self.epoch, **self._means(), **method.end_epoch(self.epoch)}
                last = self.epoch == method.epochs
                if self.evaluate and (last or (self.evaluate_every and self.epoch % self.evaluate_every == 0)):
                    record |= self.evaluate()
                record["memory/peak_mb"] = max(peak_memory(self.fabric.device))
                record["seconds"] = round(time.monotonic() - started, 3)
                self.history.append(record)
                self._log(record, logger)
                self.epoch, self.phase, self.step, self.sums = self.epoch + 1, 0, 0, {}
                self.stop = processes.any_process(self.stop)
                self._save(method)
                if self.stop and not last:
                    raise Stopped(f"stopped after epoch {self.epoch - 1}")
        return self.history

    def _run(self, method: Method, phase: Phase, logger: Logger | None) -> None:
        bar = tqdm(phase.batches(self.step), total=phase.num_steps, initial=self.step, leave=False,
                   desc=f"epoch {self.epoch}/{method.epochs} {phase.name}", disable=None if self.progress else True)
        for batch in bar:
            sent = processes.bytes_sent()
            shown = {f"{phase.name}/{name}": float(value) for name, value in phase.step(batch).items()}
            if processes.count() > 1:
                shown[f"traffic/{phase.name}_bytes_per_step"] = processes.bytes_sent() - sent
            for name, value in shown.items():
                if not math.isfinite(value):
                    raise FloatingPointError(f"{name} is {value} in epoch {self.epoch}, step {self.step + 1}: the run "
                                             f"stopped; {self.checkpoint} holds the state after the epoch before")
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.sums[name + "#"] = self.sums.get(name + "#", 0.0) + 1
            self.step, self.total = self.step + 1, self.total + 1
            self.stop = processes.any_process(self.stop)
            bar.set_postfix({name.split("/")[1]: f"{value:.3f}" for name, value in shown.items()
                             if not name.startswith("traffic/")}, refresh=False)
            if self.step % 20 == 0 and logger is not None:
                logger.log_metrics(shown, self.total)
            if self.stop or (self.checkpoint_every and self.step % self.checkpoint_every == 0):
                self._save(method)
                if self.stop:
                    raise Stopped(f"stopped in epoch {self.epoch}, {phase.name} step {self.step}")

    def _means(self) -> dict[str, float]:
        return {name: total / self.sums[name + "#"] for name, total in self.sums.items() if not name.endswith("#")}

    def _send_state(self, method: Method) -> None:
        """Give all processes the state of rank 0: what they compute alike may differ by rounding on devices."""
        if processes.count() == 1:
            return
        send_parts(method.parts)
        for name, value in processes.broadcast(self._random()).items():
            self._set_random(name, value)

    def _random(self) -> dict[str, Any]:
        device = self.fabric.device
        return {"cpu": torch.get_rng_state(),
                "cuda": [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []}

    def _set_random(self, name: str, state: Any) -> None:
        if name == "cpu":
            torch.set_rng_state(state)
        elif len(state) == 1 and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(state[0], self.fabric.device)

    def _save(self, method: Method) -> None:
        parts = {name: part.state_dict() for name, part in method.parts.items()}  # all send what they alone hold
        if processes.is_first():
            self._write(parts)
        processes.wait_for_all()

    def _write(self, parts: dict[str, Any]) -> None:
        position = {"epoch": self.epoch, "phase": self.phase, "step": self.step, "total": self.total}
        save_checkpoint(self.checkpoint, {"method": parts, "position": position, "sums": self.sums,
                                          "history": self.history, "before": self.before, "random": self._random(),
                                          "describe": self.describe})

    def _load(self, method: Method) -> None:
        state = load_checkpoint(self.checkpoint, mapped=processes.count() > 1)  # of a memory each may take a part
        for name, value in self.describe.items():
            if state["describe"].get(name) != value:
                raise ValueError(f"{self.checkpoint} is of another run: its {name} is {state['describe'].get(name)!r}, "
                                 f"this run's is {value!r}")
        states = {name: value if isinstance(method.parts.get(name), torch.nn.Module) else copy.deepcopy(value)
                  for name, value in state["method"].items()}  # modules copy it; others would keep the mapped file
        load_parts(method.parts, states, str(self.checkpoint))
        self.epoch, self.phase, self.step, self.total = (state["position"][name] for name in (
            "epoch", "phase", "step", "total"))
        self.sums, self.history, self.before = dict(state["sums"]), list(state["history"]), dict(state["before"])
        if len(self.history) != self.epoch - 1:
            raise ValueError(f"{self.checkpoint} holds {len(self.history)} epochs' figures, but stands in epoch "
                             f"{self.epoch}: it was changed; take an earlier copy, or make the run again")
        for name, value in state["random"].items():
            self._set_random(name, value)

    @contextmanager
    def _logging(self) -> Iterator[Logger | None]:
        """The logger; None but in the first process."""
        if not processes.is_first():
            yield None
            return
        if self.logger is None:
            from lightning_fabric.loggers import TensorBoardLogger  # slow to import
            self.logger = TensorBoardLogger(self.folder, name="logs", version="")
        try:
            yield self.logger
        except BaseException:
            self.logger.finalize("failed")
            raise
        self.logger.finalize("success")

    def _log(self, record: dict[str, float], logger: Logger | None) -> None:
        if logger is None:
            return
        # The whole history each time: a resumed run never doubles or loses a line.
        with replacing(self.folder / "logs" / "history.csv") as part:
            pd.DataFrame(self.history).to_csv(part, index=False)
        logger.log_metrics({f"epoch/{name}": value for name, value in record.items()}, self.total)
        logger.save()
        if self.progress:
            shown = {k: v for k, v in record.items() if k.split("/")[-1] in
                     ("loss", "precision", "recall", "mAP", "rank1", "auc", "seconds")}
            tqdm.write(f"epoch {record['epoch']}: " + ", ".join(f"{k} {v:.4g}" for k, v in shown.items()))

    @contextmanager
    def _signals(self):
        """Turn the first Ctrl-C or SIGTERM into a stop after the current step."""
        def ask(number, frame):
            if self.stop:
                if processes.count() == 1 or time.monotonic() - self.asked > TOGETHER:
                    raise KeyboardInterrupt
                return
            self.stop, self.asked = True, time.monotonic()
            if processes.is_first():
                tqdm.write("stopping after this step; once more aborts at once")
        try:
            before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: the caller handles signals
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
