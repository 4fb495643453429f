"""Run a pipeline that ends when the process which started it does: python -m pipelines.experiments.child mprd --out ...

The parent holds the other end of standard input and writes nothing: the end of it means that the parent is gone, be
it by ``kill -9``. Nothing is lost: a run goes on from its last checkpoint.
"""
import os
import runpy
import sys
import threading


def watch() -> None:
    """End this process, at once, when standard input ends."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main() -> None:
    """Run ``pipelines.NAME`` as a script."""
    name = sys.argv.pop(1)
    if not name.isidentifier():
        raise SystemExit(f"{name!r} is no pipeline")
    threading.Thread(target=watch, daemon=True).start()
    runpy.run_module(f"pipelines.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
