"""What can come of an input or a command, each tried in a process of its own with limits of time and memory."""
import io
import os
import resource
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from types import ModuleType

from pipelines.command_line import cli

SECONDS, MEMORY = 30, 16 << 30
OUTCOMES = ("unharmed", "clear errors", "tracebacks", "hangs", "crashes", "silently wrong", "executed", "lost")
GOOD = OUTCOMES[:2]


def in_child(work: Callable[[], str], seconds: float | None = None) -> str:
    """What ``work`` returns in a forked process, or how that ended."""
    return next(in_children(lambda _: work(), 1, seconds))


def in_children(work: Callable[[int], str], count: int, seconds: float | None = None) -> Iterator[str]:
    """What ``work`` returns of each number, all in one forked process; another one follows where that ends or hangs.

    Args:
        work: called with 0, 1, ...
        count: how often.
        seconds: for each, ``SECONDS`` by default; more where the machine is busy with other work.
    """
    limit = (SECONDS if seconds is None else seconds) * max(1.0, os.getloadavg()[0] / os.cpu_count())
    number = 0
    while number < count:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(reader)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
                for each in range(number, count):
                    said = "tracebacks"
                    try:
                        said = work(each)
                    except BaseException as error:
                        said = f"tracebacks {type(error).__name__}: {str(error)[:300]}"
                    os.write(writer, " ".join(said.split()).encode(errors="replace")[:3000] + b"\n")
            finally:
                os._exit(0)
        os.close(writer)
        try:
            with os.fdopen(reader, "rb", buffering=0) as pipe:
                while number < count:
                    waited = not select.select([pipe], [], [], limit)[0]
                    said = "hangs" if waited else pipe.readline().decode(errors="replace").strip() or "crashes"
                    yield said
                    number += 1
                    if said in ("hangs", "crashes"):
                        break
        finally:
            os.kill(child, signal.SIGKILL)  # it has ended, unless it hangs or nobody asks for more
            os.waitpid(child, 0)


def of_reading(read: Callable[[], object], wanted: object = None, verified: bool = False) -> str:
    """The outcome of reading one file; ``verified`` where anything but ``wanted`` must be refused."""
    stream = io.StringIO()
    try:
        with redirect_stderr(stream), redirect_stdout(io.StringIO()):
            found = read()
    except SystemExit as exit:
        clear = exit.code == 2 and stream.getvalue().count("\n") == 1
        return f"clear errors {stream.getvalue()}" if clear else f"tracebacks {stream.getvalue()[-300:]}"
    except Exception as error:
        said = cli.explain(error, "x", None)
        return f"clear errors {said}" if said and "\n" not in said else f"tracebacks {type(error).__name__}: {error}"
    return "silently wrong" if verified and found != wanted else "unharmed"


def of_command(pipeline: ModuleType, argv: list[str]) -> str:
    """The outcome of a command: status 0, one line and status 2, or anything else."""
    stream = io.StringIO()
    with redirect_stderr(stream), redirect_stdout(io.StringIO()):
        try:
            status = pipeline.main(argv) if hasattr(pipeline, "main") else \
                cli.main(pipeline.make_parser(), pipeline.run, argv)
        except SystemExit as exit:
            status = exit.code
    errors = [line for line in stream.getvalue().splitlines() if "error:" in line]
    return "unharmed" if status == 0 else f"clear errors {errors[0]}" if status == 2 and len(errors) == 1 else \
        f"tracebacks status {status} {stream.getvalue()[-300:]}"
