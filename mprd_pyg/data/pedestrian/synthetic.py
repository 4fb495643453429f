"""Synthetic pedestrians in the Market-1501 layout: a dataset without a download, the same everywhere.

Identities, poses, places and cameras come from one seed (see :mod:`mprd_pyg.data.pedestrian`). Identities
share clothing colours and cameras change every colour, so neither pixels nor colour alone finds a person.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from mprd_pyg.data.pedestrian import DISTRACTOR, DOMAINS, JUNK, PERSON, render
from mprd_pyg.files import new_folder

VERSION = 1  # raise it when the same parameters give other pictures
TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
RECORD = "synthetic.json"
NAME = re.compile(r"(?P<person>-1|\d{4})_c(?P<camera>\d)s\d_\d{6}_\d{2}\.(jpg|png)")


class PlannedImage(NamedTuple):
    """One image to be written: its place in the layout and the numbers it is drawn from."""

    folder: str
    name: str
    kind: int
    person: int
    camera: int
    frame: int


def plan_images(
    identities: tuple[int, int] = (60, 60), cameras: int = 4, images_per_camera: int = 4,
    distractors: int = 40, junk: int = 20, image_format: str = "jpg",
) -> list[PlannedImage]:  # fmt: skip
    """Return every image of a dataset, in the order of writing; arguments as in :func:`write_synthetic`."""
    train, test = identities
    plan = []
    for person in range(1, train + test + 1):
        for camera in range(1, cameras + 1):
            for frame in range(images_per_camera):
                folder = TRAIN if person <= train else QUERY if frame == 0 else GALLERY
                name = f"{person:04d}_c{camera}s1_{100 * person + frame:06d}_00.{image_format}"
                plan.append(PlannedImage(folder, name, PERSON, person, camera, frame))
    for prefix, kind, count in (("0000", DISTRACTOR, distractors), ("-1", JUNK, junk)):
        for number in range(count):
            camera = 1 + number % cameras
            name = f"{prefix}_c{camera}s1_{number:06d}_01.{image_format}"
            plan.append(PlannedImage(GALLERY, name, kind, number, camera, 0))
    return plan


def write_synthetic(
    root: str | Path, domain: str = "target", identities: tuple[int, int] = (60, 60), cameras: int = 4,
    images_per_camera: int = 4, height: int = 128, width: int = 64, distractors: int = 40, junk: int = 20,
    camera_gap: float = 1.0, image_format: str = "jpg", seed: int = 0,
) -> Path:  # fmt: skip
    """Write a synthetic dataset; nothing is done if the same one is there already.

    The folder appears under its name only when it is complete. It holds ``bounding_box_train``, ``query``
    (each test identity once per camera), ``bounding_box_test`` (its other images, distractors as ``0000``,
    junk as ``-1``), ``contact_sheet.png`` and ``synthetic.json`` (all parameters and counts).

    Args:
        root: Folder to create; it must be missing or empty, or hold this very dataset.
        domain: ``"source"`` or ``"target"``: other places, cameras and fashions.
        identities: Number of training and of test identities, numbered through from 1. More identities leave
            the pictures of the others as they were.
        cameras: 1 to 6.
        images_per_camera: Images of each identity under each camera, 2 to 99.
        height: Pixels; figures are drawn at 384 x 192 and resampled.
        width: Pixels.
        distractors: Images of people who are never queried.
        junk: Badly cropped images, half a person or none, ignored by the evaluation.
        camera_gap: Strength of the cameras' colour casts, contrast, blur, noise and resolution, from 0 (only
            their places differ) to 1.
        image_format: ``"jpg"``, or ``"png"`` where the exact pixels are wanted.
        seed: Seed of everything.

    Returns:
        ``root`` as a path.

    Raises:
        ValueError: If an argument is out of its range, or ``root`` holds anything else.
    """
    root = Path(root)
    identities = (int(identities[0]), int(identities[1]))
    parameters = {
        "domain": domain, "identities": list(identities), "cameras": cameras,
        "images_per_camera": images_per_camera, "height": height, "width": width, "distractors": distractors,
        "junk": junk, "camera_gap": camera_gap, "image_format": image_format, "seed": seed,
    }  # fmt: skip
    _check(parameters)
    if _already_there(root, parameters):
        return root
    plan = plan_images(identities, cameras, images_per_camera, distractors, junk, image_format)
    with new_folder(root) as made:
        for folder in (TRAIN, QUERY, GALLERY):
            (made / folder).mkdir()
        for item in tqdm(plan, desc=f"drawing {root.name}", unit="image", leave=False, disable=None):
            image = render(item.person, item.camera, item.frame, kind=item.kind, domain=domain, seed=seed,
                           width=width, height=height, camera_gap=camera_gap)  # fmt: skip
            image.save(made / item.folder / item.name, quality=95, subsampling=0)
        title = f"Synthetic pedestrians: {domain} domain, seed {seed}"
        contact_sheet(made, title=title).save(made / "contact_sheet.png")
        record = {
            "generator": "mprd_pyg.data.pedestrian.synthetic", "version": VERSION, "parameters": parameters,
            "counts": _counts(plan),
        }  # fmt: skip
        (made / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    _already_there(root, parameters)  # another process may have been faster, and with other parameters
    return root


def _counts(plan: list[PlannedImage]) -> dict[str, dict[str, int]]:
    """Return what a scan of the layout finds in each split, junk being dropped."""
    counts = {}
    for split, folder in (("train", TRAIN), ("query", QUERY), ("gallery", GALLERY)):
        kept = [item for item in plan if item.folder == folder and item.kind != JUNK]
        counts[split] = {
            "images": len(kept), "identities": len({item.person for item in kept if item.kind == PERSON}),
            "cameras": len({item.camera for item in kept}),
            "junk": sum(item.folder == folder and item.kind == JUNK for item in plan),
        }  # fmt: skip
    return counts


def _check(parameters: dict) -> None:
    """Raise ValueError for the first parameter out of its range."""
    ranges = {
        "cameras": (1, 6), "images_per_camera": (2, 99), "height": (16, 1024), "width": (8, 1024),
        "distractors": (0, 999_999), "junk": (0, 999_999), "camera_gap": (0, 1), "seed": (0, 2**63),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        if not low <= parameters[name] <= high:
            raise ValueError(f"{name}={parameters[name]!r}: expected a number from {low} to {high}")
    for name, options in (("domain", DOMAINS), ("image_format", ("jpg", "png"))):
        if parameters[name] not in options:
            raise ValueError(f"{name}={parameters[name]!r}: expected one of {', '.join(options)}")
    train, test = parameters["identities"]
    if min(train, test) < 0 or not 1 <= train + test <= 9999:
        raise ValueError(f"identities=({train}, {test}): expected two counts with a sum from 1 to 9999")


def _already_there(root: Path, parameters: dict) -> bool:
    """Return whether ``root`` holds this dataset; raise ValueError if it holds anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    found = {}
    if (root / RECORD).is_file():
        try:
            record = json.loads((root / RECORD).read_text(encoding="utf-8"))
            found = {"version": record["version"], **record["parameters"]}
        except (ValueError, KeyError, TypeError):
            found = {}
    wanted = {"version": VERSION, **parameters}
    if found == wanted:
        return True
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    other = ", ".join(f"{name} {found.get(name)!r} instead of {wanted.get(name)!r}" for name in names)
    what = f"synthetic data with {other}" if found else f"something without a readable {RECORD}"
    raise ValueError(f"{root}: expected a missing or empty folder, or the same synthetic data; found {what}. "
                     "Remove the folder or choose another one.")  # fmt: skip


def contact_sheet(
    root: str | Path, identities: int = 12, images_per_camera: int = 3, title: str | None = None
) -> Image.Image:
    """Return a picture to look at: identities as rows, cameras and their images as columns.

    Args:
        root: Folder in the Market-1501 layout.
        identities: Rows, spread evenly over the training and test identities.
        images_per_camera: Columns of each camera.
        title: Heading; the folder's name if None.

    Raises:
        ValueError: If no image in ``root`` has a Market-1501 name.
    """
    root = Path(root)
    rows, cameras = defaultdict(lambda: defaultdict(list)), set()
    for folder in (TRAIN, QUERY, GALLERY):
        for path in sorted((root / folder).glob("*")):
            if match := NAME.fullmatch(path.name):
                camera = int(match["camera"])
                rows[match["person"]][camera].append(path)
                cameras.add(camera)
    if not rows:
        raise ValueError(f"{root}: expected images named like 0001_c1s1_000100_00.jpg in "
                         f"{TRAIN}, {QUERY}, {GALLERY}")  # fmt: skip
    people = sorted(set(rows) - {"0000", "-1"})
    shown = sorted({people[i * len(people) // identities] for i in range(identities)}) if people else []
    shown += [person for person in ("0000", "-1") if person in rows]
    with Image.open(next(iter(next(iter(rows.values())).values()))[0]) as first:
        width, height = first.size
    left, top, gap, step = 84, 52, 10, width + 2
    block = images_per_camera * step + gap
    size = (left + len(cameras) * block, top + len(shown) * (height + 4) + 4)
    sheet = Image.new("RGB", size, (250, 249, 246))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    draw.text((10, 8), title or root.name, fill=(20, 20, 24), font=ImageFont.load_default(17))
    for column, camera in enumerate(sorted(cameras)):
        draw.text((left + column * block, 32), f"camera {camera}", fill=(90, 90, 96), font=font)
    for row, person in enumerate(shown):
        y = top + row * (height + 4)
        paths = rows[person]
        in_train = any(path.parent.name == TRAIN for images in paths.values() for path in images)
        role = {"0000": "distractors", "-1": "junk"}.get(person, "training" if in_train else "test")
        draw.text((10, y + height // 2 - 18), person, fill=(20, 20, 24), font=font)
        draw.text((10, y + height // 2), role, fill=(90, 90, 96), font=font)
        for column, camera in enumerate(sorted(cameras)):
            for place, path in enumerate(paths[camera][:images_per_camera]):
                with Image.open(path) as image:
                    tile = image.convert("RGB").resize((width, height))
                sheet.paste(tile, (left + column * block + place * step, y))
    return sheet
