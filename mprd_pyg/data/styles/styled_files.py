"""Images in other cameras' styles on disk, in CamStyle's layout, and a sheet of them to look at."""
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from tqdm import tqdm

from mprd_pyg.data.images import open_rgb
from mprd_pyg.data.styles.camstyle import camera_numbers, inner_paths, style_name
from mprd_pyg.data.styles.colour_statistics import StyleTransfer, positions
from mprd_pyg.data.table import ImageTable, table_root
from mprd_pyg.files import replacing


def write_styles(frame: ImageTable, transfer: StyleTransfer, out: str | Path,
                 progress: bool = True) -> tuple[int, int]:
    """Write every image in every other camera's colours, at its own size; files that are whole already stay.

    They are named as :func:`~mprd_pyg.data.styles.camstyle.style_name` says.

    Returns:
        How many files were written, and how many were there.
    """
    root, out = table_root(frame), Path(out)
    own = positions(transfer.cameras, torch.tensor(frame["camera_id"].tolist()))
    shift = int((camera_numbers(frame) - frame["camera_id"]).iloc[0])
    numbers = [int(camera) + shift for camera in transfer.cameras]

    def write(item: tuple[str, str, int]) -> tuple[int, int]:
        path, inner, source = item
        targets = {c: out / style_name(inner, numbers[source], numbers[c]) for c in range(len(numbers)) if c != source}
        image = open_rgb(root / path)
        missing = [c for c, target in targets.items() if not _whole(target, image.size)]
        if missing:
            pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).expand(len(missing), -1, -1, -1)
            styled = transfer(pixels, torch.full((len(missing),), source), torch.tensor(missing))
            for c, result in zip(missing, styled, strict=True):
                with replacing(targets[c], sync=False) as part:
                    Image.fromarray(result.permute(1, 2, 0).numpy()).save(part, "JPEG", quality=95)
        return len(missing), len(targets) - len(missing)

    items = list(zip(frame["path"], inner_paths(frame), own.tolist(), strict=True))
    with ThreadPoolExecutor(max_workers=4) as pool:
        counts = list(tqdm(pool.map(write, items), total=len(items), desc="camera styles",
                           disable=None if progress else True))
    return sum(written for written, _ in counts), sum(there for _, there in counts)


def _whole(path: Path, size: tuple[int, int]) -> bool:
    try:
        return open_rgb(path).size == size
    except (FileNotFoundError, ValueError):
        return False


def style_sheet(images: Sequence[Tensor], camera: Sequence[int], transfer: StyleTransfer,
                title: str = "camera styles") -> Image.Image:
    """A picture to look at: images, uint8 (3, H, W), as rows, cameras as columns, each image's own camera framed."""
    own, count = positions(transfer.cameras, torch.as_tensor(camera)), len(transfer.cameras)
    height, width = images[0].shape[1:]
    left, top, gap = 12, 54, 6
    sheet = Image.new("RGB", (max(300, left + count * (width + gap)), top + len(images) * (height + gap)),
                      (250, 249, 246))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    draw.text((left, 8), title, fill=(20, 20, 24), font=ImageFont.load_default(17))
    for c, number in enumerate(transfer.cameras.tolist()):
        draw.text((left + c * (width + gap), 32), f"{number}", fill=(90, 90, 96), font=font)
    for row, image in enumerate(images):
        styled = transfer(image.expand(count, -1, -1, -1), own[row].expand(count), torch.arange(count))
        for c, tile in enumerate(styled):
            x, y = left + c * (width + gap), top + row * (height + gap)
            if c == own[row]:
                draw.rectangle((x - 3, y - 3, x + width + 2, y + height + 2), fill=(214, 90, 40))
            sheet.paste(Image.fromarray(tile.permute(1, 2, 0).numpy()), (x, y))
    return sheet
