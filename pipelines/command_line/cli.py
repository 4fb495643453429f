"""Command lines: typed signatures become flags and YAML; mistakes get a one-line answer."""
import difflib
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from jsonargparse import ActionConfigFile, ArgumentParser, Namespace, set_parsing_settings

from mprd_pyg import process_group
from mprd_pyg.bounded_yaml import read_yaml
from mprd_pyg.files import NoRoomError, lacks_room
from mprd_pyg.training import Stopped
from pipelines.command_line.launch import launch
from pipelines.runs.run_folder import HELD

# A class_path imports, and importing runs code: a file, such as the config.yaml of a run folder, names our own only.
set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=["mprd_pyg", "paul"])


class Parser(ArgumentParser):
    """An argument parser that names the nearest valid key when one is unknown."""

    shipped: str | None = None  # configuration that is read where none is given
    several = False  # whether the command may run in several processes

    def error(self, message: str, ex: Exception | None = None):
        """Report and exit with status 2."""
        flag = re.search(r"--([\w.]+)", message) if "nrecognized" in message else None
        group = re.search(r"Group '([\w.]+)' does not accept option '([\w.]+)'", message)
        option = re.search(r"(?:Option|Key) '([\w.]+)' is not (?:accepted|expected)", message)
        denied = re.search(r"Importing '([\w.]+)' is not allowed", message)
        unknown = group[1] + "." + group[2] if group else flag[1] if flag else option[1] if option else None
        if denied:
            module = denied[1].rpartition(".")[0]
            message = (f"{denied[1]} is no class of this project and was not imported; if you trust its module: "
                       f"--allow_import {module}")
        elif unknown:
            known = [action.dest for action in self._actions if action.dest not in ("help", "print_config")]
            near = difflib.get_close_matches(unknown, known, n=1, cutoff=0.0)
            message = f"unknown key {unknown!r}; the nearest valid one is {near[0]!r} (--help lists all)"
        else:
            message = one_line(message)
        if process_group.speaks_first():
            sys.stderr.write(f"{self.prog}: error: {message}\n")
        sys.exit(2)


def one_line(message: object) -> str:
    """A message of an error without line breaks, cut where it repeats an endless value."""
    text = " ".join(str(message).split())
    return text if len(text) <= 1000 else f"{text[:600]} ... {text[-200:]}"


def make_parser(prog: str, description: str, config: str | None = None, several: bool = False) -> Parser:
    """A parser with the options that every pipeline has.

    Args:
        prog: how it is called.
        description: one line.
        config: shipped configuration that is read first, below ``pipelines/configs``, when no ``--config`` is given.
        several: the command can be run in several processes.
    """
    parser = Parser(prog=prog, description=description)
    parser.add_argument("--config", action=ActionConfigFile,
                        help="YAML file; a name such as mprd/market1501.yaml finds the shipped one. Classes of other "
                             "modules than this project's need --allow_import MODULE on the command line")
    parser.add_argument("--out", type=str | None, default=None, help="run folder (default: a new one under runs/)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    parser.add_argument("--resume", type=str | None, default=None, help="run folder to go on with")
    parser.add_argument("--accelerator", type=str, default="auto", help="cpu, cuda, mps or auto")
    parser.add_argument("--precision", type=str, default="32-true", help="as of Lightning Fabric: bf16-mixed ...")
    parser.add_argument("--progress", type=bool, default=True, help="show progress bars")
    if several:
        run_in_several(parser)
    parser.shipped = config
    return parser


def run_in_several(parser: Parser) -> None:
    """Let the command run in several processes, which this option or torchrun starts."""
    parser.add_argument("--devices", type=int, default=1,
                        help="processes on this machine, one for each device; torchrun starts them on several")
    parser.several = True


def parse(parser: Parser, argv: list[str]) -> Namespace:
    """Parse; ``--resume DIR`` reads the run's own configuration first, no ``--config`` the shipped default.

    Raises:
        ValueError: a configuration is no YAML mapping of a bounded size.
    """
    argv = allow_imports(parser, argv)
    argv = [find_config(parser, part, argv[i - 1] if i else "") for i, part in enumerate(argv)]
    names = [part.split("=")[0] for part in argv]
    if "--resume" not in names and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":  # started again
        if not argument(argv, "--out"):
            parser.error("a run that torchrun starts again needs --out DIR to find what it has written")
        if Path(argument(argv, "--out"), "config.yaml").is_file():
            argv, names = [*argv, "--resume", argument(argv, "--out")], [*names, "--resume"]
    if "--resume" in names:
        folder = Path(argument(argv, "--resume"))
        config = folder / "config.yaml"
        if not config.is_file():
            parser.error(f"{folder} is no run folder: {config} does not exist")
        argv = ["--config", str(config), *argv, "--out", str(folder)]
    elif "--config" not in names and parser.shipped:
        argv = ["--config", str(shipped_config(parser.shipped)), *argv]
    for i, part in enumerate(argv):
        if part.startswith("--config=") or i and argv[i - 1] == "--config":
            read_yaml(part.removeprefix("--config="))  # bounded, before the parser reads it
    return parser.parse_args(argv)


def allow_imports(parser: Parser, argv: list[str]) -> list[str]:
    """Let ``class_path`` name classes of each ``--allow_import MODULE`` too; returns the other arguments.

    It is no option of the parser: a file must not be able to give it.
    """
    rest, parts = [], iter(argv)
    for part in parts:
        name, _, module = part.partition("=")
        if name != "--allow_import":
            rest.append(part)
            continue
        module = module or next(parts, "")
        if not all(word.isidentifier() for word in module.split(".")):
            parser.error(f"--allow_import expects the name of a module, got {module!r}")
        set_parsing_settings(import_path_allowlist=[module])
    return rest


def argument(argv: list[str], name: str) -> str:
    """The value of ``--name VALUE`` or ``--name=VALUE``."""
    for i, part in enumerate(argv):
        if part.startswith(name + "="):
            return part.split("=", 1)[1]
        if part == name and i + 1 < len(argv):
            return argv[i + 1]
    return ""


def shipped_config(name: str) -> Path:
    """Path of a shipped configuration."""
    return Path(__file__).parent.parent / "configs" / name


def find_config(parser: Parser, part: str, before: str) -> str:
    """Replace the name of a shipped configuration by its path, wherever the package is installed."""
    if before != "--config" and not part.startswith("--config="):
        return part
    flag, name = ("--config=", part[9:]) if part.startswith("--config=") else ("", part)
    for path in (Path(name), shipped_config(name), shipped_config(name.removeprefix("pipelines/configs/"))):
        if path.is_file():
            return flag + str(path)
    shipped = sorted(str(p.relative_to(shipped_config(""))) for p in shipped_config("").rglob("*.yaml"))
    parser.error(f"no configuration {name}; shipped ones: {', '.join(shipped)}")
    return part


def main(parser: Parser, run: Callable[[Parser, Namespace], int | None], argv: list[str] | None = None) -> int:
    """Parse, run, and turn what can go wrong for the user into one message and an exit status.

    The status is 0, or what ``run`` returns; 2 for mistakes in the input and what the system refuses, 130 when stopped.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("lightning_fabric", "lightning", "torch", "faiss", "fsspec", "matplotlib", "onnxscript", "onnx_ir"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    warnings.filterwarnings("ignore", message=".*Sparse CSR tensor support.*")
    threading.excepthook = _report_thread
    cfg = Namespace(out=None)
    argv = sys.argv[1:] if argv is None else argv
    try:
        cfg = parse(parser, argv)
        started = process_group.started_together()
        if started > 1 and not parser.several:
            raise ValueError(f"this command runs in one process, not {started}: start it without torchrun")
        if started == 1 and cfg.get("devices", 1) > 1:
            return launch(parser.prog.split()[-1], argv, cfg.devices)
        with HELD:
            status = run(parser, cfg)
        process_group.leave()
    except Stopped as stop:
        process_group.leave()
        _say(f"{stop}. Go on with: {parser.prog} --resume {cfg.out}")
        return 130
    except KeyboardInterrupt:
        _say("aborted")
        return 130
    except Exception as error:
        message = explain(error, parser.prog, cfg.get("out"))
        if message is None or logging.getLogger().isEnabledFor(logging.DEBUG):
            raise
        _say(f"{parser.prog}: error: {message}")
        return 2
    return status or 0


def _say(line: str) -> None:
    """Tell the user why a command ends: the first of its processes that knows does."""
    if process_group.speaks_first():
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def go_on(prog: str, out: str | None) -> str:
    """How to go on with a command, called ``prog``, that was ended in the run folder ``out``."""
    if out is not None and os.path.isfile(Path(out) / "checkpoints" / "last.pt"):
        return f"what was written before is whole, go on with: {prog} --resume {out}"
    return "nothing was lost, run the command again"


def explain(error: Exception, prog: str, out: str | None) -> str | None:
    """What an error means to the user and how to go on; None for one that is a mistake of the program.

    Args:
        error: that ended the run.
        prog: how the command is called.
        out: its run folder.
    """
    text = str(error)
    if "Original Traceback" in text:  # raised in a worker, whose traceback the data loader makes part of the message
        text = text.strip().splitlines()[-1].partition(": ")[2]
    remedy = go_on(prog, out)
    if isinstance(error, NoRoomError):
        path = Path(error.filename)
        needed = max(error.written, path.stat().st_size if path.is_file() else 0)
        return (f"{path} could not be written ({error.strerror}): it needs {'about' if path.is_file() else 'over'} "
                f"{needed / 1e6:,.1f} MB, {error.free / 1e6:,.1f} MB are free there; make room, then {remedy}")
    if isinstance(error, RuntimeError) and process_group.started_together() > 1 and re.search(
            "gloo|NCCL|closed by peer|reset by peer|Broken pipe|TCPStore", text):
        return f"another process of the run has ended, or cannot be reached; {remedy}"
    if isinstance(error, RuntimeError) and re.search("DataLoader worker|shared memory|</?torch_", text):
        return (f"a process that loads images died ({one_line(text)}): give less work to fewer of them by "
                f"--data.workers, 0 loads without; {remedy}")
    if isinstance(error, MemoryError):
        return f"not enough memory ({one_line(text) or 'MemoryError'}); {remedy}"
    where = str(getattr(error, "filename", None) or out or "a file").removesuffix(".part").removesuffix("/.running")
    if number := lacks_room(error):
        return f"{where} could not be written ({os.strerror(number)}): make room, then {remedy}"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
        return (f"{where}: {error.strerror}; choose a folder that can be written to (--out), or mend its permissions, "
                f"then {remedy}")
    return text if isinstance(error, ValueError | OSError | FloatingPointError) else None


def _report_thread(failed: threading.ExceptHookArgs) -> None:
    """A thread that writes logs hands an error of the system to the main thread, which explains it."""
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)
