"""CamStyle's generated images: found beside the training images by their published names, and named alike."""
import logging
import re
from collections import Counter, defaultdict
from pathlib import Path, PurePosixPath

import pandas as pd

from mprd_pyg.data.cards.layouts import walk_images
from mprd_pyg.data.table import ImageTable, table_root

logger = logging.getLogger(__name__)

FOLDER = "bounding_box_train_camstyle"
COLUMN = "style_"
_NAME = re.compile(r"(?P<stem>.+)_fake_(?:(?P<source>\d+)to)?(?P<target>\d+)\.\w+")


def camera_numbers(frame: ImageTable) -> pd.Series:
    """The cameras as CamStyle counts them, from 1: the camera ids, or one more where these count from 0."""
    return frame["camera_id"] + int(frame["camera_id"].min() == 0)


def inner_paths(frame: ImageTable) -> list[str]:
    """The images' paths without the folder of their split, if all have one and the same."""
    parts = [PurePosixPath(path).parts for path in frame["path"]]
    first = {part[0] for part in parts if len(part) > 1}
    same = len(first) == 1 and all(len(part) > 1 for part in parts)
    return ["/".join(part[1:] if same else part) for part in parts]


def style_name(inner: str, source: int, target: int) -> str:
    """``0002_c1s1_000451_03.jpg`` of camera 1 in camera 2's style: ``0002_c1s1_000451_03_fake_1to2.jpg``."""
    return f"{PurePosixPath(inner).with_suffix('')}_fake_{source}to{target}.jpg"


def usual_folders(frame: ImageTable) -> list[Path]:
    """Where such images are looked for: beside the training folder under its name, and under Market-1501's."""
    root = table_root(frame)
    first = {PurePosixPath(path).parts[0] for path in frame["path"] if "/" in path}
    return [root / name for name in dict.fromkeys([*(f"{name}_camstyle" for name in sorted(first)[:1]
                                                     if len(first) == 1), FOLDER])]


def find_camstyle(frame: ImageTable, folder: str | Path) -> ImageTable:
    """Add the columns ``style_1``, ``style_2``, ...: each training image in the style of that camera.

    Names are ``<stem>_fake_<source>to<target>.jpg``, or ``<stem>_fake_<target>.jpg`` (MSMT17), cameras counted from 1,
    below any folders that the training images' paths have, too.

    Args:
        frame: training table.
        folder: of the generated images.

    Returns:
        The table with those columns: posix paths below ``folder``, ``""`` where there is none (its own camera: the
        image itself). ``attrs["style_root"]`` is ``folder``.

    Raises:
        ValueError: a name says that its image was taken by another camera than the table does.
    """
    made, unmatched = defaultdict(dict), 0
    for path in walk_images(folder) if Path(folder).is_dir() else ():
        if match := _NAME.fullmatch(path):
            made[match["stem"]][int(match["target"])] = (path, match["source"])
    stems = [PurePosixPath(path).with_suffix("").parts for path in frame["path"]]
    ends = [["/".join(stem[i:]) for i in range(len(stem))] for stem in stems]      # longest first
    unique = Counter(end for row in ends for end in row)
    columns = defaultdict(lambda: [""] * len(frame))
    for row, (own, keys) in enumerate(zip(camera_numbers(frame).tolist(), ends, strict=True)):
        key = next((key for key in keys if key in made and unique[key] == 1), None)
        unmatched += key is None
        for target, (path, source) in (made.pop(key) if key is not None else {}).items():
            if source is not None and int(source) != own:
                raise ValueError(f"{Path(folder) / path}: its name says camera {source}, but {frame['path'].iloc[row]} "
                                 f"is of camera {own}")
            if target != own:
                columns[target][row] = path
    if columns and (made or unmatched):
        logger.warning("%s: %d training images have no generated images there; those of %d other names are not used",
                       folder, unmatched, len(made))
    result = frame.assign(**{f"{COLUMN}{target}": columns[target] for target in sorted(columns)})
    result.attrs = {**frame.attrs, "style_root": str(folder)}
    return result


def style_columns(frame: ImageTable) -> list[str]:
    """The table's style columns."""
    return [name for name in frame.columns if re.fullmatch(COLUMN + r"\d+", name)]
