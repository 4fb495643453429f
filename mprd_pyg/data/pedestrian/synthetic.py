"""Synthetic pedestrians in the Market-1501 layout: a dataset without a download, the same everywhere.

Identities, poses, places and cameras come from one seed (see :mod:`mprd_pyg.data.pedestrian`). Identities
share clothing colours and cameras change every colour, so neither pixels nor colour alone finds a person.
"""

import json
from pathlib import Path

from tqdm import tqdm

from mprd_pyg.data.pedestrian.contact_sheet import contact_sheet
from mprd_pyg.data.pedestrian.market_layout import GALLERY, QUERY, TRAIN, plan_images, planned_counts
from mprd_pyg.data.pedestrian.picture import render
from mprd_pyg.data.pedestrian.wardrobe import DOMAINS
from mprd_pyg.files import new_folder

VERSION = 1  # raise it when the same parameters give other pictures
RECORD = "synthetic.json"


def write_synthetic(
    root: str | Path, domain: str = "target", identities: tuple[int, int] = (60, 60), cameras: int = 4,
    images_per_camera: int = 4, height: int = 128, width: int = 64, distractors: int = 40, junk: int = 20,
    camera_gap: float = 1.0, image_format: str = "jpg", seed: int = 0,
) -> Path:
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
    }
    _check(parameters)
    if _already_there(root, parameters):
        return root
    plan = plan_images(identities, cameras, images_per_camera, distractors, junk, image_format)
    with new_folder(root) as made:
        for folder in (TRAIN, QUERY, GALLERY):
            (made / folder).mkdir()
        for item in tqdm(plan, desc=f"drawing {root.name}", unit="image", leave=False, disable=None):
            image = render(item.person, item.camera, item.frame, kind=item.kind, domain=domain, seed=seed,
                           width=width, height=height, camera_gap=camera_gap)
            image.save(made / item.folder / item.name, quality=95, subsampling=0)
        title = f"Synthetic pedestrians: {domain} domain, seed {seed}"
        contact_sheet(made, title=title).save(made / "contact_sheet.png")
        record = {
            "generator": "mprd_pyg.data.pedestrian.synthetic", "version": VERSION, "parameters": parameters,
            "counts": planned_counts(plan),
        }
        (made / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    _already_there(root, parameters)  # another process may have been faster, and with other parameters
    return root


def _check(parameters: dict) -> None:
    """Raise ValueError for the first parameter out of its range."""
    ranges = {
        "cameras": (1, 6), "images_per_camera": (2, 99), "height": (16, 1024), "width": (8, 1024),
        "distractors": (0, 999_999), "junk": (0, 999_999), "camera_gap": (0, 1), "seed": (0, 2**63),
    }
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
                     "Remove the folder or choose another one.")
