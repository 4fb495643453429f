"""Write a run's network as ONNX and as a torch.export program, checked against the original on real images.

python -m pipelines.export --checkpoint runs/NAME --out DIR [--images DIR]
"""
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jsonargparse import Namespace
from torch import Tensor, nn
from tqdm import tqdm

from mprd_pyg.data.images import read_image
from mprd_pyg.data.views import plain_view
from mprd_pyg.models import TestFeature, export_program, preprocessing, save_onnx, save_program
from mprd_pyg.retrieval.gallery_scan import list_files
from pipelines.command_line import cli
from pipelines.runs.networks import load_network
from pipelines.runs.run import Run
from pipelines.runs.run_folder import RunFolder, versions

LEAST_COSINE = 0.9999


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.export", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=str, required=True, help="a run's folder, or its checkpoints/last.pt")
    parser.add_argument("--out", type=str, required=True, help="new folder")
    parser.add_argument("--images", type=str | None, default=None,
                        help="folder of images for the check (default: those the run was trained on)")
    parser.add_argument("--count", type=int, default=64, help="images to check, evenly spread over the folder")
    parser.add_argument("--batch_sizes", type=list[int], default=[1, 2, 7, 32], help="that the check is made at")
    parser.add_argument("--onnx", type=bool, default=True, help="write ONNX; needs the extra 'export'")
    parser.add_argument("--progress", type=bool, default=True, help="show progress bars")
    return parser


def check_images_of(checkpoint: str, images: str | None, count: int) -> list[Path]:
    """Files to check on: of a folder, or of the run's own training table.

    Raises:
        FileNotFoundError, ValueError: there are none.
    """
    if images is not None:
        root = Path(images)
        paths = [root / path for path in list_files(root)[0]["path"]
                 if path.lower().endswith((".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"))]
    else:
        path = Path(checkpoint)
        try:
            run = Run(path if path.is_dir() else path.parent.parent)
            root, paths = run.image_root, [run.image(path) for path in run.images["path"]]
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; or give a folder of images for the check by --images DIR") from error
    if not paths:
        raise ValueError(f"no images in {root}: give a folder of images for the check by --images DIR")
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int))
    return [paths[i] for i in chosen]


def cosines(original: nn.Module, exported: dict[str, Callable[[Tensor], Tensor]], images: Tensor,
            batch_sizes: list[int], progress: bool = False) -> Iterator[dict[str, object]]:
    """Cosine of each image's feature by each program, at each batch size, with the original's alone.

    Args:
        original: (B, 3, H, W) -> (B, D).
        exported: name -> the same, exported.
        images: (N, 3, H, W) normalised.
        batch_sizes: images per call; a last, smaller batch is run too.
        progress: show a bar.
    """
    with torch.no_grad():
        expected = torch.cat([original(image[None]) for image in images]).double()
        for name, function in exported.items():
            for size in tqdm(batch_sizes, desc=name, leave=False, disable=None if progress else True):
                found = torch.cat([function(part) for part in images.split(size)]).double()
                cosine = torch.nn.functional.cosine_similarity(found, expected)
                for image, value in enumerate(cosine.tolist()):
                    yield {"program": name, "batch_size": size, "image": image, "cosine": value,
                           "largest_difference": float((found[image] - expected[image]).abs().max())}


def onnx_session(path: Path) -> Callable[[Tensor], Tensor]:
    """An ONNX file as a function, by onnxruntime on the CPU.

    Raises:
        ValueError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError("checking ONNX needs onnxruntime: pip install 'mprd-pyg[export]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["features"], {"images": images.numpy()})[0])


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Export, check, and keep the files only if the check is passed."""
    out = Path(cfg.out)
    if (out / "export.json").exists():
        raise ValueError(f"{out} already holds an export: give another --out")
    if cfg.count < 1 or not cfg.batch_sizes or min(cfg.batch_sizes) < 1:
        raise ValueError(f"count is {cfg.count} and batch_sizes {cfg.batch_sizes}; expected numbers of at least 1")
    network, description = load_network(cfg.checkpoint)
    size = tuple(description["size"])
    paths = check_images_of(cfg.checkpoint, cfg.images, cfg.count)
    view = plain_view()
    images = torch.stack([view(read_image(path, size)) for path in paths])
    about = {"network": description["network"], **preprocessing(size)}
    original = TestFeature(network).eval()
    with torch.no_grad():
        features = original(images)
    about["dim"] = features.shape[1]
    others = (features @ features.T).fill_diagonal_(-1).max(1).values  # what a wrong image would score

    folder = RunFolder(cfg.out, "export")
    out.mkdir(parents=True, exist_ok=True)
    program = export_program(network, size)
    files = {"torch.export": out / "unchecked.pt2"}
    save_program(files["torch.export"], program, about)
    exported = {"torch.export": torch.export.load(files["torch.export"]).module()}
    if cfg.onnx:
        files["ONNX"] = out / "unchecked.onnx"
        save_onnx(files["ONNX"], program, about)
        exported["ONNX"] = onnx_session(files["ONNX"])
    check = pd.DataFrame(cosines(original, exported, images, cfg.batch_sizes, cfg.progress))
    check["image"] = [str(paths[i]) for i in check["image"]]
    figures = check.groupby(["program", "batch_size"], sort=False).agg(
        images=("cosine", "size"), least_cosine=("cosine", "min"), largest_difference=("largest_difference", "max"))
    figures["nearest_other_image"] = float(others.median())
    folder.write_text("check.csv", check.to_csv(index=False))
    print(figures.reset_index().to_string(index=False, float_format=lambda value: f"{value:.8g}"))
    if not bool((check["cosine"] >= LEAST_COSINE).all()):
        worst = check.loc[check["cosine"].fillna(-1).idxmin()]
        raise ValueError(f"the {worst['program']} program differs from the network: cosine {worst['cosine']:.6f} on "
                         f"{worst['image']} at batch size {worst['batch_size']}; at least {LEAST_COSINE} is wanted. "
                         f"{out / 'check.csv'} has all figures; the programs keep the name 'unchecked'")
    for path in files.values():
        path.replace(path.with_stem("embedder"))
    folder.write_json("export.json", about | {"checkpoint": str(cfg.checkpoint), "versions": versions(),
                                              "check": figures.reset_index().to_dict("records")})
    print(", ".join(str(path.with_stem("embedder")) for path in files.values()))


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
