"""Where each synthetic image goes in the Market-1501 layout, and what it is called."""
import re
from typing import NamedTuple

from mprd_pyg.data.pedestrian.wardrobe import DISTRACTOR, JUNK, PERSON

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
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
) -> list[PlannedImage]:
    """Return every image of a dataset, in the order of writing; arguments as of
    :func:`~mprd_pyg.data.write_synthetic`."""
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


def planned_counts(plan: list[PlannedImage]) -> dict[str, dict[str, int]]:
    """Return what a scan of the layout finds in each split, junk being dropped."""
    counts = {}
    for split, folder in (("train", TRAIN), ("query", QUERY), ("gallery", GALLERY)):
        kept = [item for item in plan if item.folder == folder and item.kind != JUNK]
        counts[split] = {
            "images": len(kept), "identities": len({item.person for item in kept if item.kind == PERSON}),
            "cameras": len({item.camera for item in kept}),
            "junk": sum(item.folder == folder and item.kind == JUNK for item in plan),
        }
    return counts
