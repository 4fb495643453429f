"""Unpack a dataset's archive into checked files; it can be stopped, and goes on when called again.

python -m pipelines.extract --archive DIR/cuhk03_release/cuhk-03.mat --out DIR
"""
import sys
from collections import Counter

from jsonargparse import Namespace

from mprd_pyg.data.archives.extraction import extract
from pipelines.command_line import cli


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.extract", description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=str, required=True, help="cuhk-03.mat, a zip file or a tar file")
    parser.add_argument("--out", type=str, required=True, help="folder to write to: the data root of the card")
    parser.add_argument("--progress", type=bool, default=True, help="show progress bars")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Extract, check, and say what is there now."""
    record = extract(cfg.archive, cfg.out, cfg.progress)
    folders = Counter(path.rpartition("/")[0] or "." for path in record["files"])
    for folder, count in sorted(folders.items())[:20]:
        print(f"{count:8,} files in {folder}")
    more = f" ({len(folders)} folders)" if len(folders) > 20 else ""
    print(f"{len(record['files']):8,} files in all{more}, each read back and recorded in "
          f"{cfg.out}/{record['source']['name']}.extracted.json")


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
