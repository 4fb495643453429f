"""Find the people of a few pictures in a folder of images, by any run's network.

python -m pipelines.search --checkpoint runs/NAME --gallery DIR --index INDEX --query IMG ...
"""
import sys
import time
from pathlib import Path

from jsonargparse import Namespace
from lightning_fabric import Fabric

from mprd_pyg import process_group, processes
from mprd_pyg.data.images import open_rgb
from mprd_pyg.files import replacing
from mprd_pyg.retrieval import GallerySearch
from pipelines.command_line import cli
from pipelines.command_line.launch import make_fabric
from pipelines.command_line.picture_sheet import picture_sheet
from pipelines.runs.networks import load_network
from pipelines.runs.run_folder import RunFolder

SHEET = 25  # queries on a sheet


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.search", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=str, required=True, help="a run's folder, or its checkpoints/last.pt")
    parser.add_argument("--index", type=str, required=True, help="folder that keeps the index; made if missing")
    parser.add_argument("--gallery", type=str | None, default=None,
                        help="folder of images: what is new in it is added to the index, what is gone leaves it")
    parser.add_argument("--query", type=str, nargs="+", default=[], help="image files to look for")
    parser.add_argument("--top", type=int, default=10, help="hits per query")
    parser.add_argument("--index_type", type=str | None, default=None,
                        help="FAISS type of a new index: SQfp16 (default), Flat, HNSW32, HNSW32_SQfp16")
    parser.add_argument("--out", type=str | None, default=None, help="folder of the results (default: under runs/)")
    parser.add_argument("--workers", type=int, default=4, help="threads that decode images")
    parser.add_argument("--accelerator", type=str, default="auto", help="cpu, cuda, mps or auto")
    cli.run_in_several(parser)
    parser.add_argument("--progress", type=bool, default=True, help="show progress bars")
    return parser


def open_search(checkpoint: str | Path, index: str | Path, gallery: str | Path | None = None,
                accelerator: str = "auto", **options) -> GallerySearch:
    """A run's network and an index folder as a :class:`GallerySearch`, brought up to date with ``gallery``.

    Example::

        from pipelines.search import open_search
        search = open_search("runs/market", "index", gallery="images")
        print(search.search(["someone.jpg"], top=10))
    """
    network, about = load_network(checkpoint)
    device = options.pop("device", None) or Fabric(accelerator=accelerator, devices=1).device
    search = GallerySearch(network, about["size"], index, about["network"], device=device, **options)
    if gallery is not None:
        search.update(gallery)
    return search


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Index, search, show."""
    if cfg.gallery is None and not cfg.query:
        raise ValueError("nothing to do: give --gallery DIR to index, --query IMG ... to search, or both")
    for query in cfg.query:
        open_rgb(query)  # a query that cannot be read stops before the gallery is embedded
    device = make_fabric(parser, cfg, lambda reason: f"{parser.prog}: error: {reason}; "
                                                     f"{cli.go_on(parser.prog, None)}").device
    search = open_search(cfg.checkpoint, cfg.index, device=device, index_type=cfg.index_type, workers=cfg.workers,
                         progress=cfg.progress)
    first = processes.is_first()
    if cfg.gallery is not None:
        update = search.update(cfg.gallery)
        if first:
            print(f"{cfg.index}: {len(search)} images of {search.root}: {update}")
            for path, reason in update.skipped:
                print(f"  skipped {path}: {reason}")
    process_group.leave()  # the first searches, alone
    if not cfg.query or not first:
        return
    started = time.perf_counter()
    hits = search.search(cfg.query, cfg.top)
    seconds = time.perf_counter() - started
    folder = RunFolder(cfg.out, "search")
    folder.write_text("hits.csv", hits.to_csv(index=False))
    for number, start in enumerate(range(0, len(cfg.query), SHEET), 1):
        part = cfg.query[start:start + SHEET]
        name = "sheet.png" if len(cfg.query) <= SHEET else f"sheet_{number:03d}.png"
        with replacing(folder.path / name) as file:
            picture_sheet(part, hits, search.root, title=f"nearest of {len(search)} images").save(file, format="PNG")
    print(f"{len(cfg.query)} queries among {len(search)} images in {1000 * seconds:.0f} ms, the network included")
    print(f"hits.csv and {name}: {folder.path}")


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
