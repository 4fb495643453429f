"""Commands that are killed, fill the disk, meet another one in their folder, or find a damaged folder."""
import os
import random
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml

from pipelines.command_line import training_run
from tests.faults.commands import COMMANDS, IMAGES, Command, left_behind, write_inputs
from tests.faults.damage import mutated
from tests.faults.outcomes import OUTCOMES, in_child, of_command

LONG = 180  # seconds that a command may take on a busy machine
Tried = Iterator[tuple[str, str]]


class Workshop:
    """The folder with what commands read, and with what each leaves when nothing disturbs it."""

    def __init__(self, folder: Path):
        self.folder, self.whole = folder, {}

    @cached_property
    def inputs(self) -> Path:
        """Made when it is first asked for."""
        write_inputs(self.folder)
        self.undisturbed("mprd")
        return self.folder

    def undisturbed(self, name: str) -> Any:
        """What the command leaves; its time is noted. Made once."""
        if name not in self.whole:
            command, out = COMMANDS[name], self.folder / name
            begun = time.monotonic()
            said = in_child(lambda: run(command, self.folder, out), LONG)
            assert said == "unharmed", f"{name} undisturbed: {said}"
            command.seconds = time.monotonic() - begun
            self.whole[name] = left_behind(command, out)
        return self.whole[name]


def run(command: Command, folder: Path, out: Path, *more: str, report: bool = False) -> str:
    """In this process; without the report, which takes four times as long as such a run."""
    module = command.module
    with ExitStack() as changed:
        for place in (module, training_run) if not report else ():
            if hasattr(place, "try_report"):
                changed.enter_context(mock.patch.object(place, "try_report", lambda folder: None))
        return of_command(module, [*command.argv(folder, out), *more])


def finish(name: str, inputs: Path, out: Path, wanted: Any) -> str:
    """Go on with a command that was disturbed; its end must be that of an undisturbed one."""
    said = in_child(lambda: run(COMMANDS[name], inputs, out), LONG)
    if said != "unharmed":
        return said if said in OUTCOMES[3:] else f"lost, at going on: {said}"
    # A run of a table that was killed when it had written all is not gone on with, and keeps the name of its process.
    named = [] if name == "experiments" else [*out.rglob(".running")]
    if left := [*out.rglob("*.part"), *out.parent.glob(".*.part"), *named]:
        return f"lost: {left[0].name} stays"
    return in_child(lambda: "unharmed" if left_behind(COMMANDS[name], out) == wanted else "silently wrong", LONG)


def killed(name: str, shop: Workshop, seed: int, process: bool = False) -> Tried:
    """A command that is killed at a random moment, one to three times, and then finished.

    Args:
        name: of the command.
        shop: what it reads.
        seed: of the moments and signals.
        process: as a process of its own, which spends most of its time on imports.
    """
    rng, command = random.Random(f"{seed} {name} {process}"), COMMANDS[name]
    inputs = shop.inputs
    wanted, kills, report = shop.undisturbed(name), rng.choice([1, 1, 2, 3]), seed % 10 == 9
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        for _ in range(kills):
            if process or name == "experiments":  # it starts processes of its own
                child = subprocess.Popen(command.process(inputs, out), stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL).pid
            elif (child := os.fork()) == 0:
                try:
                    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                    run(command, inputs, out, report=report)
                finally:
                    os._exit(0)
            time.sleep(rng.uniform(0, 6 if process else (4 if report else 1.1) * command.seconds))
            os.kill(child, rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
            until = time.monotonic() + LONG
            while os.waitpid(child, os.WNOHANG) == (0, 0):
                if time.monotonic() > until:
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    yield "hangs", f"{name}, seed {seed}: it did not stop"
                    return
                time.sleep(0.01)
        if name == "experiments":
            time.sleep(1)  # its run ends when it does
        said = finish(name, inputs, out, wanted)
        for _ in range(kills):
            yield said, f"kill of {name}{', a process' * process}, seed {seed}"


def disk_full(name: str, shop: Workshop, seed: int) -> Tried:
    """A command on a disk that is full beyond a random size, of which a limit on files' sizes is a stand-in."""
    rng = random.Random(f"{seed} {name} full")
    inputs, wanted = shop.inputs, shop.undisturbed(name)
    sizes = sorted(path.stat().st_size for path in (shop.folder / name).rglob("*") if path.is_file())
    limit = max(rng.choice(sizes) - rng.randint(1, 200), 1)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"

        def full() -> str:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            return run(COMMANDS[name], inputs, out)
        said = in_child(full, LONG)
        if list(out.rglob("*.part")):
            said = "tracebacks a part stays"
        ended = finish(name, inputs, out, wanted)
        yield said if ended == "unharmed" else ended, f"full disk, {name}, seed {seed}, limit {limit}"


def two_runs(name: str, shop: Workshop, seed: int) -> Tried:
    """Two runs of other seeds with one folder: one is told, the folder is wholly the other's, which goes on."""
    rng, inputs, command = random.Random(f"{seed} {name} two"), shop.inputs, COMMANDS[name]
    shop.undisturbed(name)
    with tempfile.TemporaryDirectory() as folder:
        out, waits = Path(folder) / "out", [0.0, rng.uniform(0, 0.7 * command.seconds)]
        rng.shuffle(waits)
        new = replace(command, resumes=False)  # not the same run again, where the other was faster

        def late(number: int) -> str:
            time.sleep(waits[number])
            return run(new, inputs, out, "--seed", str(number))
        said = together(late, 2)
        for number in (0, 1):
            good = said[number] == "unharmed" and said[1 - number].startswith("clear errors") and yaml.safe_load(
                (out / "config.yaml").read_text())["seed"] == number
            if good:
                break
        ended = in_child(lambda: run(command, inputs, out), LONG)
        yield (said[1 - number] if ended == "unharmed" else f"lost: {ended}") if good else f"lost: {said}", \
            f"two runs, {name}, seed {seed}"


def two_searches(shop: Workshop, seed: int) -> Tried:
    """Two searches that make one index at the same time: both find the same."""
    rng, inputs = random.Random(f"{seed} searches"), shop.inputs
    wanted = shop.undisturbed("search")
    query = sorted((inputs / "data").rglob("*.jpg"))[0]
    with tempfile.TemporaryDirectory() as folder:
        out, waits = Path(folder) / "index", [rng.uniform(0, 0.5) for _ in range(2)]

        def search(number: int) -> str:
            time.sleep(waits[number])
            return run(COMMANDS["search"], inputs, out, "--query", str(query), "--out", f"{folder}/{number}")
        for said in together(search, 2):
            yield said, f"two searches, seed {seed}"
        hits = [(Path(folder) / str(number) / "hits.csv").read_text() for number in (0, 1)]
        same = left_behind(COMMANDS["search"], out) == wanted and hits[0] == hits[1]
        yield "unharmed" if same else "silently wrong", f"two searches, seed {seed}: the index"


def together(work: Any, count: int) -> list[str]:
    """What ``work(number)`` comes to in processes that run at the same time."""
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for number in range(count):
            child = os.fork()
            if child == 0:
                try:
                    said = in_child(lambda number=number: work(number), LONG)
                    (Path(folder) / str(number)).write_text(said)
                finally:
                    os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        return [(Path(folder) / str(number)).read_text() for number in range(count)]


# Commands that read a run folder; ``{run}`` is that folder, ``{data}`` its images, ``{new}`` a new folder.
READERS = {
    "report": ["{run}"], "subgraphs": ["{run}", "--number", "2", "--progress", "false"],
    "compare": ["{run}", "{run}", "--samples", "100"],
    "evaluate": ["--checkpoint", "{run}", *IMAGES[:2], "--data.root", "{data}", "--out", "{new}"],
    "search": ["--checkpoint", "{run}", "--gallery", "{data}", "--index", "{new}", "--progress", "false"],
    "mprd": ["--resume", "{run}"]}


def damaged_folder(shop: Workshop, seed: int) -> Tried:
    """A finished run of which one file is changed, removed, or a folder; then a command that reads it."""
    from importlib import import_module
    rng, inputs = np.random.default_rng([seed, 77]), shop.inputs
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        shutil.copytree(inputs / "mprd", out)
        files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != "report.html")
        path = files[int(rng.integers(len(files)))]
        how = rng.random()
        if how < 0.8 and path.stat().st_size:
            path.write_bytes(mutated(path.read_bytes(), rng))
        else:
            path.unlink()
            if how > 0.95:
                path.mkdir()
        name = list(READERS)[int(rng.integers(len(READERS)))]
        module = import_module("pipelines.report.__main__" if name == "report" else f"pipelines.{name}")
        argv = [part.format(run=out, data=inputs / "data", new=Path(folder) / "new") for part in READERS[name]]
        said = in_child(lambda: of_command(module, argv), LONG)
        if list(Path(folder).rglob("executed")):
            said = "executed"
        yield said, f"{name} after {path.relative_to(out)} was changed, seed {seed}"
