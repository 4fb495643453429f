"""A job as a process of its own: its log, and how Ctrl-C reaches it."""
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.experiments.plan import Job


def execute(job: Job, logs: Path) -> str | None:
    """Run a job in a process of its own; its output goes to a log below ``logs``.

    The process ends when this one does, however it ends. Ctrl-C and SIGTERM are passed on, so that the run keeps its
    last step; when it has ended, ``KeyboardInterrupt`` is raised.

    Returns:
        Why it failed, or None.
    """
    logs.mkdir(parents=True, exist_ok=True)
    log = logs / f"{job.folder.parent.name}-{job.folder.name}.log"
    command = [sys.executable, "-m", "pipelines.experiments.ends_with_parent", job.pipeline, *job.command()]
    with (open(log, "ab") as file,
          subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.STDOUT,
                           start_new_session=True) as process, signals_passed_on(process)):
        status = process.wait()
    if status == 0 and job.finished:
        return None
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"status {status}: {lines[-1][:300] if lines else 'it said nothing'}\n      all of it: {log}"


@contextmanager
def signals_passed_on(process: subprocess.Popen) -> Iterator[None]:
    """Ctrl-C and SIGTERM go to the process, the second time as SIGKILL; then ``KeyboardInterrupt`` is raised."""
    received = []

    def pass_on(number: int, frame: object) -> None:
        received.append(number)
        sys.stderr.write("\nstopping the run after its step; once more stops it at once; the same command goes on\n")
        process.send_signal(signal.SIGTERM if len(received) == 1 else signal.SIGKILL)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        raise KeyboardInterrupt
