"""Mean average precision from camera to camera."""
import numpy as np
import pandas as pd

from pipelines.report.blocks import Picture, Pictures, Section
from pipelines.report.drawing import heatmap, panel, svg
from pipelines.report.missing import NotApplicable, latest_evaluation
from pipelines.runs.run import Run


def cameras(run: Run) -> Section:
    """The matrix before and after training."""
    latest_evaluation(run)
    if run.images["camera_id"].nunique() < 2:
        raise NotApplicable("all images are of one camera")
    tables = {when: run.evaluated("cameras", when) for when in run.evaluations}
    if all(table["mAP"].isna().all() for table in tables.values()):
        raise NotApplicable("no person is seen by two cameras")
    return Section("cameras", "From camera to camera", "mAP when the query is of the row's camera and only the "
                   "column's camera is searched. A dark row or column is a camera that differs from the others in "
                   "light, angle or image quality. The diagonal is empty: right images in the query's own camera are "
                   "not counted.", [
                       Pictures([_matrix(table, when) for when, table in tables.items()])])


def _matrix(table: pd.DataFrame, when: str) -> Picture:
    values = table.pivot(index="query_camera", columns="gallery_camera", values="mAP")
    size = len(values)
    title = f"{when.capitalize()} training, mAP in percent"
    inches = float(np.clip(0.9 + 0.36 * size, 2.6, 6))
    with panel(max(inches + 0.2, 3), inches) as axes:
        heatmap(axes, values.to_numpy(), [str(name) for name in values.index], [str(name) for name in values.columns],
                numbers=size <= 15)
        axes.set_xlabel("camera searched")
        axes.set_ylabel("camera of the query")
        axes.set_aspect("equal")
        return Picture(svg(axes, title), title, wide=size > 9)
