"""A picture of a dataset in the Market-1501 layout: identities as rows, cameras and their images as columns."""
from collections import defaultdict
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from mprd_pyg.data.pedestrian.market_layout import GALLERY, NAME, QUERY, TRAIN


def contact_sheet(root: str | Path, identities: int = 12, images_per_camera: int = 3,
                  title: str | None = None) -> Image.Image:
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
                         f"{TRAIN}, {QUERY}, {GALLERY}")
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
