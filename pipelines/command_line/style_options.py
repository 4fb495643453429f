"""Which camera style a training pipeline uses: CamStyle's images, our own colour statistics, or none."""
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from mprd_pyg.data import find_unreadable
from mprd_pyg.data.styles.camstyle import find_camstyle, style_columns, usual_folders
from mprd_pyg.data.styles.colour_statistics import CameraStatistics
from mprd_pyg.data.styles.random_style import CamStyleImages, StatisticsStyle
from mprd_pyg.data.views import StyledView
from pipelines.command_line import cli
from pipelines.command_line.dataset import Dataset, column

Kind = Literal["auto", "camstyle", "statistics", "none"]


def add_style_options(parser: cli.Parser, default: Kind) -> None:
    """``--camera_style`` and where CamStyle's images are."""
    parser.add_argument("--camera_style", type=Kind, default=default,
                        help="training images in a random camera's style: camstyle (generated images), statistics "
                             "(the cameras' own colours), none, or auto: camstyle where there are such images, else "
                             "statistics")
    parser.add_argument("--camera_style_images", type=str | None, default=None,
                        help="folder of CamStyle's images (default: bounding_box_train_camstyle below the root)")


class ChosenStyle:
    """The camera style of a run.

    Args:
        kind: as asked for.
        folder: of CamStyle's images; None looks in the usual ones.
        dataset: the data.
        table: the training images, in the memory's order.
        run: run folder; statistics that it holds already are read, not estimated anew.
        seed: of the sample they are estimated from.
    """

    FILE = "camera_style.json"

    def __init__(self, kind: Kind, folder: str | None, dataset: Dataset, table: pd.DataFrame, run: Path, seed: int):
        self.table, self.style, self.statistics = table, None, None
        folders = usual_folders(table) if folder is None else [Path(folder)]
        looked = " or ".join(str(folder) for folder in folders)
        if kind == "none":
            self.record: dict[str, Any] = {"used": "none", "why": "not asked for"}
        elif kind == "auto" and not dataset.card.evaluation.cross_camera_valid:
            self.record = {"used": "none", "why": "the card says that camera labels are meaningless"}
        elif kind != "statistics" and self._camstyle(dataset, folders):
            return
        elif kind == "camstyle":
            raise ValueError(f"no CamStyle images of the training images in {looked}: give their folder "
                             "(--camera_style_images DIR), or --camera_style statistics or none")
        elif table["camera_id"].nunique() < 2:
            self.record = {"used": "none", "why": "the training images are of one camera"}
        else:
            self._statistics(dataset, run, seed)
            self.record["why"] = "asked for" if kind == "statistics" else f"no CamStyle images in {looked}"

    def _camstyle(self, dataset: Dataset, folders: list[Path]) -> bool:
        found = (find_camstyle(self.table, folder) for folder in folders)
        table = next((table for table in found if style_columns(table)), None)
        if table is None:
            return False
        attrs = {"root": table.attrs["style_root"], "card": f"{dataset.card.name} CamStyle"}

        def open_store(paths: list[str]):
            frame = pd.DataFrame({"path": paths})
            frame.attrs = attrs
            if bad := find_unreadable(frame):
                raise ValueError(f"{len(bad)} CamStyle images below {attrs['root']} cannot be read, first: "
                                 + ", ".join(f"{path} ({reason})" for path, reason in bad[:5])
                                 + "; remove them, or use --camera_style statistics or none")
            return dataset.store(frame)

        self.table, self.style = table, CamStyleImages(table, open_store)
        without = int((self.style.count == 1).sum())
        self.record = {"used": "camstyle", "folder": attrs["root"], "images": self.style.num_made,
                       "training_images_without": without}
        return True

    def _statistics(self, dataset: Dataset, run: Path, seed: int) -> None:
        train, sample = dataset.train, 128
        self.key = {"fingerprint": dataset.fingerprint, "size": [dataset.options.height, dataset.options.width],
                    "sample": sample, "seed": seed}
        self.statistics = CameraStatistics.load(run / self.FILE, self.key) or CameraStatistics.estimate(
            dataset.store(train), column(train, "camera_id"), sample, seed, progress=True)
        self.style = StatisticsStyle(self.statistics, column(self.table, "camera_id"))
        self.record = {"used": "statistics", "sample": dict(zip(
            map(str, self.statistics.cameras.tolist()), self.statistics.images.tolist(), strict=True))}

    def view(self, view: Any) -> Any:
        """The view, of the image in the style drawn."""
        return view if self.style is None else StyledView(view, self.style)

    def write(self, run: Path) -> None:
        """Keep the statistics beside the image table."""
        if self.statistics is not None:
            self.statistics.save(run / self.FILE, self.key)
