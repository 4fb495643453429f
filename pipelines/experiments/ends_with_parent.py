"""Run a pipeline that ends when the process which started it does.

python -m pipelines.experiments.ends_with_parent mprd --out DIR

The parent holds the other end of standard input and writes nothing. Its end means that the parent is gone, be it by
``kill -9``. Nothing is lost: a run goes on from its last checkpoint.
"""
import os
import runpy
import sys
import threading


def exit_with_parent() -> None:
    """Wait for the end of standard input, then end this process at once."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    """Run ``pipelines.NAME`` as a script."""
    name = sys.argv.pop(1)
    if not name.isidentifier():
        raise SystemExit(f"{name!r} is no pipeline")
    threading.Thread(target=exit_with_parent, daemon=True).start()
    runpy.run_module(f"pipelines.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
