"""Make a run's report again, from its run folder.

python -m pipelines.report runs/NAME
"""
import argparse
import logging
import sys
import time

from pipelines.report import make_report


def make_parser() -> argparse.ArgumentParser:
    """The run and where its images are."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.report", description=__doc__.splitlines()[0])
    parser.add_argument("run", help="run folder, of a finished or unfinished run")
    parser.add_argument("--image_root", default=None, help="folder of the images, when they moved")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Write ``report.html`` into the folder; 2 if it holds no run."""
    parser = make_parser()
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("matplotlib", "fontTools", "PIL"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    started = time.monotonic()
    try:
        path = make_report(options.run, options.image_root)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{parser.prog}: error: {error}\n")
        return 2
    print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB, {time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
