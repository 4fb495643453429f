r"""Write training images in the other cameras' colours to disk, in CamStyle's layout, and draw a sheet of them.

python -m pipelines.camera_style --data.card market1501 --data.root DIR --out DIR/bounding_box_train_camstyle
"""
import sys
from pathlib import Path

import torch
from jsonargparse import Namespace

from mprd_pyg.data.styles.colour_statistics import CameraStatistics, StyleTransfer
from mprd_pyg.data.styles.styled_files import style_sheet, write_styles
from mprd_pyg.files import replacing
from mprd_pyg.random_streams import stream
from pipelines.command_line import cli
from pipelines.command_line.dataset import DataOptions, Dataset, column


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.camera_style", description=__doc__.splitlines()[0])
    parser.add_class_arguments(DataOptions, "data", instantiate=False)
    parser.add_argument("--out", type=str, required=True,
                        help="folder of the images; runs find it as DATA_ROOT/bounding_box_train_camstyle, or by "
                             "--camera_style_images. Also gets sheet.png and camera_style.json")
    parser.add_argument("--sample", type=int, default=128, help="images per camera that its colours are estimated from")
    parser.add_argument("--seed", type=int, default=0, help="of that sample, and of the sheet's images")
    parser.add_argument("--rows", type=int, default=12, help="images on the sheet")
    parser.add_argument("--write", type=bool, default=True, help="false: draw the sheet only")
    parser.add_argument("--progress", type=bool, default=True, help="show progress bars")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Estimate, draw, write."""
    if cfg.sample < 1 or cfg.rows < 1:
        raise ValueError(f"--sample and --rows must be at least 1, got {cfg.sample} and {cfg.rows}")
    dataset, out = Dataset(DataOptions(**cfg.data)), Path(cfg.out)
    train, root = dataset.train, Path(dataset.frame.attrs["root"])
    if root in out.absolute().parents and not out.name.endswith("_camstyle"):
        raise ValueError(f"--out {out} lies below the data root; its name must then end in _camstyle, or the next scan "
                         "would take its images for data")
    if train["camera_id"].nunique() < 2:
        raise ValueError(f"{root}: the training images are of one camera; there is no other camera's style")
    options = dataset.options
    key = {"fingerprint": dataset.fingerprint, "size": [options.height, options.width], "sample": cfg.sample,
           "seed": cfg.seed}
    record = out / "camera_style.json"
    statistics = CameraStatistics.load(record, key)
    if statistics is None and record.is_file():
        raise ValueError(f"{out} holds images made from other data or with other options ({record.name} says which): "
                         "give another --out, or remove it")
    store, camera = dataset.store(train), column(train, "camera_id")
    if statistics is None:
        statistics = CameraStatistics.estimate(store, camera, cfg.sample, cfg.seed, cfg.progress)
        statistics.save(record, key)
    transfer = StyleTransfer(statistics)
    order = torch.randperm(len(train), generator=stream(cfg.seed, 32))
    # rows from all cameras in turn: each image by how many of its camera come before it
    before = [int((camera[order[:i]] == camera[row]).sum()) for i, row in enumerate(order[:20 * cfg.rows].tolist())]
    rows = [int(order[i]) for i in sorted(range(len(before)), key=lambda i: before[i])[:cfg.rows]]
    sheet = style_sheet([store[row] for row in rows], camera[rows].tolist(), transfer,
                        f"{dataset.card.name}: cameras")
    with replacing(out / "sheet.png") as part:
        sheet.save(part, format="PNG")
    print(f"sheet: {out / 'sheet.png'} (an image's own camera is framed)")
    if cfg.write:
        written, there = write_styles(train, transfer, out, progress=cfg.progress)
        print(f"{written:,} images written to {out}, {there:,} were there")


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
