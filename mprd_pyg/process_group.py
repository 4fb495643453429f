"""Joining the processes of a run, and noticing that one is lost: no process waits for ever for another."""
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import torch.distributed as dist

JOINING = 45        # seconds in which all processes must have come
BEAT = 2            # seconds between two signs of life
LOST_BEATS = 12     # a process that gave none in so many looks of its neighbour is lost
LONGEST_WORK = timedelta(hours=6)  # that rank 0 may do while the others wait
LOST = 3            # exit status of a process that another one left alone

_said: Callable[[], bool] | None = None
_watch: "Watch | None" = None


def started_together() -> int:
    """How many processes ``torchrun`` started for this run; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def speaks_first() -> bool:
    """Whether no process of the run has told the user yet why it ends; the next to ask hears that one has."""
    if _said is None and os.environ.get("RANK", "0") != "0":
        time.sleep(1)  # before they join: if rank 0 has the same to say, torchrun ends this process first
    return _said is None or _said()


def join(backend: str, about: dict[str, str], explain: Callable[[str], str]) -> None:
    """Join the processes of the run, if there are several, and watch them from then on.

    Args:
        backend: of ``torch.distributed``.
        about: what must be equal on all processes, such as a hash of the code.
        explain: turns the reason for which a lost process ends this one into what the user reads.

    Raises:
        ValueError: a process did not come, the port is taken, or a process differs from rank 0.
    """
    global _said, _watch
    size = started_together()
    if size == 1 or dist.is_initialized():
        return
    rank = int(os.environ["RANK"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    own = rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    attempt, until = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), time.monotonic() + JOINING

    def connect(serve: bool) -> dist.Store | None:
        made: list[dist.Store] = []

        def make() -> None:
            with suppress(RuntimeError):
                made.append(dist.TCPStore(address, port, size, serve, timedelta(seconds=2 * JOINING),
                                          wait_for_workers=False))
        making = threading.Thread(target=make, daemon=True)
        making.start()
        making.join(JOINING)  # for ever, where another program has the port and says nothing
        return dist.PrefixStore(f"run/{attempt}", made[0]) if made else None
    store = connect(own)
    if store is None and own:
        raise ValueError(f"{address}:{port} cannot be served by process 0, another program has the port: choose "
                         f"another by torchrun --master-port")
    if store is None:
        raise ValueError(f"process 0 of {size} did not answer at {address}:{port} within {JOINING} seconds: start it, "
                         f"or see that this machine reaches it")
    _said = lambda: _first(store)  # noqa: E731
    store.set(f"beat/{rank}", "0")
    store.set(f"about/{rank}", json.dumps(about))
    missing = [other for other in range(size) if not _arrives(store, f"about/{other}", until)]
    if missing:
        raise ValueError(f"of {size} processes {', '.join(map(str, missing))} did not come within {JOINING} seconds: "
                         f"start them too, or torchrun with fewer")
    abouts = [json.loads(store.get(f"about/{other}")) for other in range(size)]
    first = abouts[0]
    store.set(f"read/{rank}", "")
    for other in range(size if own else 0):  # what process 0 serves goes with it: all must have read it
        _arrives(store, f"read/{other}", until)
    for other, about in enumerate(abouts):
        for what, value in about.items():
            if value != first.get(what):
                raise ValueError(f"process {other} has other {what} than process 0 ({value} and {first.get(what)}): "
                                 f"start all {size} processes alike")
    dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size,
                            timeout=LONGEST_WORK)
    _watch = Watch(connect(False), rank, size, explain)
    for quick in (store, _watch.store):  # that are asked when a process may be lost
        quick.set_timeout(timedelta(seconds=BEAT))
    _watch.start()


def leave() -> None:
    """Leave the others, with whom nothing more is to be done together: from here on each is the only process."""
    global _watch
    if _watch is not None:
        _watch.leave()
        _watch = None
        dist.destroy_process_group()


def _first(store: dist.Store) -> bool:
    answer: list[bool] = []

    def ask() -> None:
        with suppress(RuntimeError):  # the store went with process 0
            answer.append(store.add("said", 1) == 1)
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(BEAT)  # for ever, where the process that serves the store is stopped
    return all(answer)


def _arrives(store: dist.Store, key: str, until: float) -> bool:
    with suppress(RuntimeError):  # the store went with process 0
        while not store.check([key]):  # `wait` would write warnings of its own
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True
    return False


class Watch(threading.Thread):
    """Gives signs of life, and ends this process where the next one gives none, though it may be stuck in a collective.

    A killed process closes its connections, which the others notice at once; one that hangs, is stopped or is cut off
    does not.

    Args:
        store: a connection of this thread's own.
        rank: of this process.
        size: number of processes.
        explain: see :func:`join`.
    """

    def __init__(self, store: dist.Store, rank: int, size: int, explain: Callable[[str], str]):
        super().__init__(name="watch", daemon=True)
        self.store, self.rank, self.size, self.explain = store, rank, size, explain
        self.next, self.left, self.seen = (rank + 1) % size, threading.Event(), b""

    def run(self) -> None:
        """Look after the next process, until this one leaves."""
        threading.Thread(target=self._beat, name="beat", daemon=True).start()
        missed, last = 0, b""
        # Looks are counted, not seconds: all processes may have been stopped together, and go on together.
        while not self.left.wait(BEAT):
            missed, last = (missed + 1 if self.seen == last != b"left" else 0), self.seen
            if missed >= LOST_BEATS and not self.left.is_set():
                self._end(f"process {self.next} of {self.size} gave no sign of life for {BEAT * LOST_BEATS} seconds")

    def _beat(self) -> None:
        """Give signs of life and read those of the next; for ever, where the process that serves the store hangs."""
        beat = 0
        while not self.left.wait(BEAT):
            with suppress(RuntimeError):  # the store is gone: it went with process 0, or with torchrun
                beat += 1
                self.store.set(f"beat/{self.rank}", str(beat))
                self.seen = self.store.get(f"beat/{self.next}")

    def leave(self) -> None:
        """Tell the watching process that this one has left, and stop."""
        self.left.set()
        with suppress(RuntimeError):
            self.store.set(f"beat/{self.rank}", "left")

    def _end(self, reason: str) -> None:
        if speaks_first():
            sys.stderr.write(self.explain(reason) + "\n")
            sys.stderr.flush()
        os._exit(LOST)  # the main thread may wait in a collective for ever
