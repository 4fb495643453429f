"""Damaged and hostile files, kills, full disks and processes in each other's way: a table of what happened.

    python tests/faults/campaign.py --minutes 10 [--seed 0] [--only checkpoint,kills] [--table FILE]

Each input is read in a process of its own, with a limit of memory and time. "clear errors" are those of one line that
a command would print; "unharmed" was read as it was written (of formats without a checksum: as what it now says).
Anything else is a failure: its seed is printed, and the status is 1.
"""
import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: processes are forked from this one
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402

from tests.faults import disturbed  # noqa: E402
from tests.faults.commands import COMMANDS  # noqa: E402
from tests.faults.formats import FORMATS  # noqa: E402
from tests.faults.outcomes import GOOD, OUTCOMES, in_children, of_reading  # noqa: E402

Try = Callable[[disturbed.Workshop, int], Iterator[tuple[str, str]]]
RUNS: dict[str, Try] = {
    **{f"kills: {name}": partial(disturbed.killed, name) for name in COMMANDS},
    **{f"kills while importing: {name}": partial(disturbed.killed, name, process=True) for name in ("mprd", "search")},
    **{f"full disk: {name}": partial(disturbed.disk_full, name) for name in COMMANDS if name != "experiments"},
    **{f"two at once: {name}": partial(disturbed.two_runs, name) for name in ("mprd", "link_prediction")},
    "two at once: search": disturbed.two_searches, "damaged run folders": disturbed.damaged_folder}


def damage(kind: str, seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Outcomes of ``count`` changes to one file."""
    form = FORMATS[kind]
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as name:
        folder, whole = Path(name) / "folder", Path(name) / "whole"
        folder.mkdir()
        path = form.write(folder)
        content, wanted = path.read_bytes(), form.read(path) if form.verified else None
        shutil.copytree(folder, whole)

        def read_changed(number: int) -> str:
            shutil.rmtree(folder)
            shutil.copytree(whole, folder)
            if number:
                form.damage(path, content, np.random.default_rng([seed, sum(kind.encode()), number]))
            said = of_reading(lambda: form.read(path), wanted, form.verified)
            return "executed" if list(folder.rglob("executed")) else said

        for number, said in enumerate(in_children(read_changed, count + 1)):
            if number:
                yield said, f"{kind}, seed {seed}, number {number}"
            elif said != "unharmed":
                yield f"tracebacks before it was changed: {said}", f"{kind}, seed {seed}"


def campaign(minutes: float, seed: int, kinds: list[str], each: int = 40,
             rounds: int | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Counts by kind, and the failures.

    Args:
        minutes: to go on for, at most.
        seed: of the first round; one more in each.
        kinds: of ``FORMATS`` and ``RUNS``, in turn.
        each: changes of a format's file in a round.
        rounds: to stop after; None for as many as the time allows.
    """
    if unknown := set(kinds) - {*FORMATS, *RUNS}:
        raise KeyError(f"no kinds of inputs: {sorted(unknown)}")
    counts: dict[str, Counter] = defaultdict(Counter)
    failures, until, first = [], time.monotonic() + 60 * minutes, seed
    with tempfile.TemporaryDirectory() as folder:
        shop = disturbed.Workshop(Path(folder))
        while rounds is None or seed < first + rounds:
            for kind in kinds:
                for outcome, where in damage(kind, seed, each) if kind in FORMATS else RUNS[kind](shop, seed):
                    name = next(known for known in OUTCOMES if outcome.startswith(known))
                    counts[kind][name] += 1
                    if name not in GOOD:
                        failures.append(f"{where}: {outcome}")
                    if time.monotonic() > until:
                        return table_of(counts), failures
            seed += 1
    return table_of(counts), failures


def table_of(counts: dict[str, Counter]) -> pd.DataFrame:
    """One row per kind, and the sum."""
    table = pd.DataFrame([{"inputs": sum(row.values()), **{name: row[name] for name in OUTCOMES}}
                          for row in counts.values()], index=list(counts))
    table.loc["all"] = table.sum()
    return table


def chosen(text: str) -> list[str]:
    """Kinds by their names, or by how their names begin."""
    return [kind for kind in (*FORMATS, *RUNS) if kind.startswith(tuple(text.split(",")))]


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=chosen, default=[*FORMATS, *RUNS], help="how names of kinds begin")
    parser.add_argument("--each", type=int, default=40, help="changes of a file in a round")
    parser.add_argument("--table", help="CSV file that the counts are appended to")
    options = parser.parse_args()
    table, failures = campaign(options.minutes, options.seed, options.only, options.each)
    print(table.to_string())
    print("\n".join(json.dumps(failure) for failure in failures[:200]))
    if options.table:
        table.drop("all").assign(seed=options.seed).to_csv(options.table, mode="a", index_label="kind",
                                                           header=not Path(options.table).exists())
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
