"""Damaged and hostile files, kills and full disks, as many as the time allows; a table of what happened.

    python tests/faults/campaign.py --minutes 10 [--seed 0] [--only checkpoint,kills]

Each input is read in a process of its own, with a limit of memory and time. "clear errors" are those of one line that
a command would print; "unharmed" was read as it was written (of formats without a checksum: as what it now says).
Anything else is a failure: the row's seeds are printed, and the status is 1.
"""
import argparse
import io
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: processes are forked from this one
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from scipy.io import savemat  # noqa: E402
from scipy.sparse import csc_matrix, csr_matrix  # noqa: E402
from torch_geometric.data import Data  # noqa: E402

from mprd_pyg.data import DataCard, extract, write_synthetic  # noqa: E402
from mprd_pyg.data.images import open_rgb  # noqa: E402
from mprd_pyg.link_prediction import read_graph  # noqa: E402
from mprd_pyg.training import load_checkpoint, save_checkpoint  # noqa: E402
from pipelines import mprd  # noqa: E402
from pipelines.command_line import cli  # noqa: E402
from pipelines.runs.networks import load_network  # noqa: E402
from pipelines.runs.run import Run  # noqa: E402
from pipelines.runs.run_folder import HELD, RunFolder  # noqa: E402
from tests.faults.conftest import TINY  # noqa: E402

SECONDS, MEMORY = 30, 16 << 30
OUTCOMES = ("unharmed", "clear errors", "tracebacks", "hangs", "crashes", "silently wrong", "executed")
GOOD = OUTCOMES[:2]
HOSTILE_MODULE = "from pathlib import Path\nfrom mprd_pyg.relations import KNearest\nclass Mine(KNearest): pass\n" \
                 "Path(__file__).with_name('executed').write_text('')\n"


@dataclass
class Format:
    """A kind of file: ``write(folder)`` returns its path, ``read(path)`` what is compared, as text or bytes."""

    write: Callable[[Path], Path]
    read: Callable[[Path], Any]
    verified: bool = False  # by a checksum: other content than was written must be refused


# -- formats ---------------------------------------------------------------------------------------------------------

def write_checkpoint(folder: Path) -> Path:
    net = torch.nn.Linear(40, 30)
    save_checkpoint(folder / "last.pt", {
        "method": {"network": net.state_dict(), "memory": {"bank": torch.randn(1, 20, 30)}}, "sums": {"a": 1.0},
        "position": {"epoch": 2, "phase": 0, "step": 0}, "history": [{"epoch": 1, "loss": 0.5}], "before": {},
        "random": {"cpu": torch.get_rng_state(), "cuda": []}, "describe": {"data": "x"}})
    return folder / "last.pt"


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), list(value.shape), value.numpy().tobytes().hex()]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def read_network(path: Path) -> Any:
    return plain(load_network(path)[0].state_dict())


def write_network(folder: Path) -> Path:
    options = {"arch": "resnet18", "last_stage": 1, "weights": None}
    network = mprd.ImageEmbedder(**options)
    save_checkpoint(folder / "net.pt", {"method": {"network": network.state_dict()}, "describe": {
        "network": {"class_path": "mprd_pyg.models.ImageEmbedder", "init_args": options}, "size": [48, 24]}})
    return folder / "net.pt"


def write_run(folder: Path, name: str) -> Path:
    with HELD:
        run = RunFolder(str(folder / "run"), "x")
    run.write_text("config.yaml", "relation: {class_path: KNearest}\nmethod: {epochs: 2}\nknn: {k: 8}\n")
    run.write_json("results.json", {"metrics": {"standard": {"mAP": 0.5}}, "pipeline": "mprd", "seed": 0})
    run.write_json("run.json", {"pipeline": "mprd", "rows": 20, "root": "."})
    run.write_table("images.parquet", pd.DataFrame({
        "path": [f"{i}.jpg" for i in range(30)], "person_id": range(30), "camera_id": [0, 1] * 15}))
    run.write_table("pairs/epoch_001.parquet", pd.DataFrame({
        "anchor": range(20), "neighbour": range(10, 30), "similarity": np.linspace(0, 1, 20)}))
    run.write_arrays("evaluation/after/features.npz", features=np.random.rand(9, 5), path=np.array(["a"] * 9))
    run.write_text("logs/history.csv", "epoch,loss\n1,0.5\n2,0.25\n")
    return run.path / name


def of_run(read: Callable[[Run], Any], depth: int = 0) -> Callable[[Path], str]:
    return lambda path: str(read(Run(path.parents[depth])))


def write_card(folder: Path) -> Path:
    DataCard.load("msmt17").to_yaml(folder / "card.yaml")
    return folder / "card.yaml"


def read_config(path: Path) -> str:
    os.chdir(path.parent)
    (path.parent / "hostile.py").write_text(HOSTILE_MODULE)
    sys.path.insert(0, str(path.parent))
    return str(cli.parse(mprd.make_parser(), ["--resume", str(path.parent)]))


def write_image(folder: Path, name: str) -> Path:
    Image.fromarray(np.random.randint(0, 255, (48, 24, 3), dtype=np.uint8)).save(folder / name)
    return folder / name


def write_archive(folder: Path, name: str) -> Path:
    image = write_image(folder, "1.png")
    if name.endswith("zip"):
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(image, "a/1.png")
    else:
        with tarfile.open(folder / name, "w:gz") as archive:
            archive.add(image, "a/1.png")
    return folder / name


def read_archive(path: Path) -> str:
    outside = set(path.parent.iterdir())
    record = extract(path, path.parent / "out", progress=False)
    if set(path.parent.iterdir()) - outside - {path.parent / "out"}:
        (path.parent / "executed").write_text("written outside")
    return str(record["files"])


def write_graph(folder: Path, kind: str) -> Path:
    edges = np.array([[i, (i * i + 3) % 30] for i in range(30)])
    path = folder / f"graph.{kind}"
    matrix = csc_matrix((np.ones(30), edges.T), shape=(30, 30))
    if kind == "mat":
        savemat(path, {"net": matrix}, do_compression=bool(np.random.randint(2)))
    elif kind == "pt":
        torch.save(Data(edge_index=torch.from_numpy(edges.T.copy()), x=torch.rand(30, 4)), path)
    elif kind == "txt":
        path.write_text("".join(f"n{i} n{j}\n" for i, j in edges))
    else:
        path = folder / f"ind.x.{kind}"
        (folder / "ind.x.graph").write_bytes(pickle.dumps({int(i): [int(j)] for i, j in edges}, protocol=2))
        (folder / "ind.x.allx").write_bytes(pickle.dumps(csr_matrix(np.random.rand(25, 6)), protocol=2))
        (folder / "ind.x.tx").write_bytes(pickle.dumps(csr_matrix(np.random.rand(5, 6)), protocol=2))
        (folder / "ind.x.test.index").write_text("25 26 27 28 29")
    return path


def read_any_graph(path: Path) -> str:
    graph = read_graph(path)
    return graph.fingerprint


FORMATS = {
    "checkpoint": Format(write_checkpoint, lambda path: plain(dict(load_checkpoint(path))), True),
    "network": Format(write_network, read_network, True),
    "table images": Format(lambda f: write_run(f, "images.parquet"), of_run(lambda run: run.images.to_csv()), True),
    "table pairs": Format(lambda f: write_run(f, "pairs/epoch_001.parquet"),
                          of_run(lambda run: run.pairs().to_csv(), 1), True),
    "arrays": Format(lambda f: write_run(f, "evaluation/after/features.npz"),
                     of_run(lambda run: {k: v.tolist() for k, v in run.features("after").items()}, 2), True),
    "results": Format(lambda f: write_run(f, "results.json"), of_run(lambda run: (run.results, run.record))),
    "history": Format(lambda f: write_run(f, "logs/history.csv"), of_run(lambda run: run.history, 1)),
    "options": Format(lambda f: write_run(f, "config.yaml"), of_run(lambda run: run.options)),
    "configuration": Format(lambda f: write_run(f, "config.yaml"), read_config),
    "card": Format(write_card, lambda path: str(DataCard.load(str(path)))),
    **{kind: Format(partial(write_image, name=f"x.{kind}"), lambda path: open_rgb(path).tobytes().hex())
       for kind in ("png", "jpg", "bmp", "tif", "gif", "webp")},
    **{kind: Format(partial(write_archive, name=f"x.{kind}"), read_archive) for kind in ("zip", "tar.gz")},
    **{f"graph {kind}": Format(partial(write_graph, kind=kind), lambda path: read_any_graph(
        path if path.suffix in (".mat", ".pt", ".txt") else path.with_name("ind.x.graph")))
       for kind in ("mat", "pt", "txt", "graph", "allx", "test.index")}}


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with one bit, some bytes, a block or its end changed; of text also hostile words put in."""
    data, size = bytearray(content), len(content)
    kind = rng.integers(8)
    place = int(rng.integers(size))
    length = int(rng.integers(1, 64))
    if kind <= 1:
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        for _ in range(int(rng.integers(1, 20))):
            data[int(rng.integers(size))] = int(rng.integers(256))
    elif kind == 3:
        del data[place:]
    elif kind == 4:
        data[place:place + length] = bytes(length)
    elif kind == 5:
        data[place:place + length] = data[place // 2:place // 2 + length]
    elif kind == 6:
        number = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 10**9])).to_bytes(8, "little")
        data[place:place + int(rng.choice([4, 8]))] = number
    else:
        word = rng.choice(["\n- a\n", "{class_path: hostile.Mine}", "\nrelation: hostile.Mine\n", "[" * 200, "NaN",
                           "!!python/object/apply:os.system ['touch executed']", "999999999", "../../x", "\x00", "é",
                           "\nloss: {class_path: os.system}\n", "1e400", "(a+)+$", "\n&a [*a]\n"]).encode("utf-8")
        data[place:place] = word
    return bytes(data)


# -- one input -------------------------------------------------------------------------------------------------------

def in_child(work: Callable[[], str]) -> str:
    """What ``work`` returns in a forked process, or how that ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        said = "tracebacks"
        try:
            said = work()
        except BaseException as error:
            said = f"tracebacks {type(error).__name__}: {str(error)[:300]}"
        os.write(writer, said.encode(errors="replace")[:4000])
        os._exit(0)
    os.close(writer)
    until = time.monotonic() + SECONDS
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reader)
            return "hangs"
        time.sleep(0.002)
    with os.fdopen(reader, errors="replace") as file:
        return file.read() or "crashes"


def read_one(kind: str, path: Path, wanted: Any) -> str:
    """The outcome of reading one file."""
    form, stream = FORMATS[kind], io.StringIO()
    try:
        with redirect_stderr(stream), redirect_stdout(io.StringIO()):
            found = form.read(path)
    except SystemExit as exit:
        clear = exit.code == 2 and stream.getvalue().count("\n") == 1
        return "clear errors" if clear else f"tracebacks {stream.getvalue()[-300:]}"
    except Exception as error:
        said = cli.explain(error, "x", None)
        return "clear errors" if said and "\n" not in said else f"tracebacks {type(error).__name__}: {str(error)[:300]}"
    return "silently wrong" if form.verified and found != wanted else "unharmed"


def damage(kind: str, seed: int, count: int) -> Iterator[tuple[str, str]]:
    """Outcomes of ``count`` mutations of one file."""
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, sum(kind.encode())])
    with tempfile.TemporaryDirectory() as name:
        path = FORMATS[kind].write(Path(name))
        content = path.read_bytes()
        wanted = FORMATS[kind].read(path) if FORMATS[kind].verified else None
        if (said := in_child(lambda: read_one(kind, path, wanted))) != "unharmed":
            yield f"tracebacks before it was changed: {said}", f"{kind}, seed {seed}"
        shutil.rmtree(Path(name) / "out", ignore_errors=True)
        for number in range(count):
            path.write_bytes(mutated(content, rng))
            outcome = in_child(lambda: read_one(kind, path, wanted))
            if list(Path(name).rglob("executed")):
                outcome = "executed"
            shutil.rmtree(Path(name) / "out", ignore_errors=True)
            yield outcome, f"{kind}, seed {seed}, number {number}"


# -- runs ------------------------------------------------------------------------------------------------------------

def command(root: str, *argv: str) -> str:
    stream = io.StringIO()
    with redirect_stderr(stream), redirect_stdout(io.StringIO()):
        try:
            status = cli.main(mprd.make_parser(), mprd.run, [*(["--data.root", root, *TINY] if "--resume" not in argv
                                                              else []), *argv])
        except SystemExit as exit:
            status = exit.code
    errors = [line for line in stream.getvalue().splitlines() if "error:" in line]
    return "unharmed" if status == 0 else "clear errors" if status == 2 and len(errors) == 1 else \
        f"tracebacks {stream.getvalue()[-300:]}"


def finish(root: str, out: Path, wanted: Any) -> str:
    """Go on with a run that was disturbed; its end must be that of an undisturbed one."""
    argv = ["--resume", str(out)] if (out / "config.yaml").is_file() else ["--out", str(out)]
    said = in_child(lambda: command(root, *argv))
    if said != "unharmed":
        return said if said in OUTCOMES[3:] else f"tracebacks at resuming: {said}"
    return "unharmed" if plain(load_checkpoint(out / "checkpoints" / "last.pt")["method"]) == wanted else \
        "silently wrong"


def disturbed(kind: str, root: str, seed: int, whole: Path, seconds: float) -> Iterator[tuple[str, str]]:
    """A run killed at a random moment, or on a disk that is full beyond a random size; then finished."""
    rng = np.random.default_rng([seed, len(kind)])
    wanted = plain(load_checkpoint(whole / "checkpoints" / "last.pt")["method"])
    sizes = sorted(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    with tempfile.TemporaryDirectory() as name:
        out, said = Path(name) / "out", "unharmed"
        if kind == "kills":
            child = os.fork()
            if child == 0:
                command(root, "--out", str(out))
                os._exit(0)
            time.sleep(float(rng.uniform(0, 1.2 * seconds)))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        else:
            limit = int(rng.choice(sizes)) - int(rng.integers(1, 200))

            def full() -> str:
                resource.setrlimit(resource.RLIMIT_FSIZE, (max(limit, 1), resource.RLIM_INFINITY))
                return command(root, "--out", str(out))
            said = in_child(full)
            if list(out.rglob("*.part")):
                said = "tracebacks a part stays"
        ended = finish(root, out, wanted)
        yield said if ended == "unharmed" else ended, f"{kind}, seed {seed}"


# -- the table -------------------------------------------------------------------------------------------------------

def campaign(minutes: float, seed: int, kinds: list[str], each: int = 40,
             rounds: int | None = None) -> tuple[pd.DataFrame, list[str]]:
    """Counts by kind, and the failures.

    Args:
        minutes: to go on for, at most.
        seed: of the first round; one more in each.
        kinds: formats, ``kills`` and ``full disk``, in turn.
        each: mutations of a format's file in a round.
        rounds: to stop after; None for as many as the time allows.
    """
    if unknown := set(kinds) - set(FORMATS) - {"kills", "full disk"}:
        raise KeyError(f"no kinds of inputs: {sorted(unknown)}")
    counts: dict[str, Counter] = defaultdict(Counter)
    failures, until = [], time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as name:
        root, whole, seconds = "", Path(name) / "whole", 0.0
        if {"kills", "full disk"} & set(kinds):
            root = str(write_synthetic(Path(name) / "data", identities=(5, 4), cameras=2, images_per_camera=2,
                                       height=48, width=24, distractors=0, junk=0))
            begun = time.monotonic()
            said = in_child(lambda: command(root, "--out", str(whole)))
            assert said == "unharmed", said
            seconds = time.monotonic() - begun
        first = seed
        while rounds is None or seed < first + rounds:
            for kind in kinds:
                tried = disturbed(kind, root, seed, whole, seconds) if kind not in FORMATS else damage(kind, seed, each)
                for outcome, where in tried:
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


def main() -> int:
    """Run it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*FORMATS, "kills", "full disk"])
    options = parser.parse_args()
    table, failures = campaign(options.minutes, options.seed, options.only)
    print(table.to_string())
    print("\n".join(json.dumps(failure) for failure in failures[:200]))
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
