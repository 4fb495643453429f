"""PAUL's patches on images, and the nearest patches of a query in each branch (PAUL Fig. 6)."""
import numpy as np
import torch
from PIL import Image

from mprd_pyg.data.images import read_image
from mprd_pyg.data.views import plain_view
from paul import PatchNet, patch_boxes
from pipelines.report.blocks import Section, Strip, Strips, Tile
from pipelines.report.drawing import data_uri, photo
from pipelines.report.missing import Missing, NotApplicable, latest_evaluation, which_network
from pipelines.runs.run import Run

EXAMPLES, NEAREST, PATCH_WIDTH = 8, 5, 60


def patches(run: Run) -> Section:
    """Boxes on images of different people, then per branch the nearest patches of one query."""
    network, size = run.network()
    if not isinstance(network, PatchNet):
        raise NotApplicable("the network has one feature per image, and no patches")
    data = run.features(latest_evaluation(run))
    person, camera, path = data["person_id"], data["camera_id"], data["path"]
    first = np.unique(person, return_index=True)[1]
    shown = first[np.linspace(0, len(first) - 1, min(EXAMPLES, len(first))).astype(int)]
    boxes = boxes_of(run, network, size, [str(path[row]) for row in shown])
    strip = Strip("Patches on test images", [
        Tile(data_uri(photo(run.image(str(path[row])), 160, dict(enumerate(corners)))), title=str(path[row]))
        for row, corners in zip(shown, boxes, strict=True)], "one colour per branch")
    query = int(shown[len(shown) // 2])
    near = nearest_patches(data["features"], person, camera, query, network.branches)
    if not near.size:
        raise Missing("too few test images were kept to compare patches")
    rows, place = np.unique(np.append(near, query), return_inverse=True)
    corners = boxes_of(run, network, size, [str(path[row]) for row in rows])
    strips = []
    for branch in range(network.branches):
        tiles = []
        for row, at in zip([query, *near[branch]], place[[-1, *range(branch * NEAREST, (branch + 1) * NEAREST)]],
                           strict=True):
            tiles.append(_tile(run, str(path[row]), corners[at, branch], branch,
                               "query" if row == query else "right" if person[row] == person[query] else "wrong"))
        strips.append(Strip(f"Branch {branch + 1}", tiles))
    none = "" if (person[near] == person[query]).any() else " None of those shown is of the query's person."
    return Section("patches", "Patches", "Where each branch of the network looks, and which patches it finds alike. "
                   "A box runs through the outermost points that the branch reads; each point knows its surroundings "
                   "too. Below each whole image is the patch. Alike patches of different people (same trousers, same "
                   f"wall) show what a branch goes by.{none}{which_network(run)}",
                   [Strips([strip]), Strips(strips, [("query", "the query's patch"), ("right", "the same person"),
                                                     ("wrong", "another person with a similar patch")], short=True)])


def boxes_of(run: Run, network: PatchNet, size: tuple[int, int], paths: list[str]) -> np.ndarray:
    """(R, M, 4, 2) corners of the patches of some images."""
    view = plain_view()
    images = torch.stack([view(read_image(run.image(path), size)) for path in paths])
    return torch.cat([patch_boxes(network, part) for part in images.split(16)]).numpy()


def nearest_patches(features: np.ndarray, person: np.ndarray, camera: np.ndarray, query: int,
                    branches: int) -> np.ndarray:
    """(M, NEAREST) rows of the most similar patches, by Euclidean distance, among other images.

    Images of the query's person in its camera are left out, as in the ranking; (M, 0) where too few are left.
    """
    x = features.astype(np.float32).reshape(len(features), branches, -1)
    others = np.flatnonzero((person != person[query]) | (camera != camera[query]))
    if len(others) < NEAREST:
        return np.zeros((branches, 0), np.int64)
    distance = np.linalg.norm(x[others] - x[query], axis=2)                                # (n, M)
    return others[np.argsort(distance, axis=0, kind="stable")[:NEAREST].T]


def _tile(run: Run, path: str, corners: np.ndarray, branch: int, frame: str) -> Tile:
    """The whole image with the branch's box, and the patch itself."""
    image = photo(run.image(path), 120, {branch: corners})
    return Tile(data_uri(image), frame, title=path, extra=data_uri(cut(run, path, corners)))


def cut(run: Run, path: str, corners: np.ndarray) -> Image.Image:
    """The patch as the network samples it: its corners pulled into a rectangle."""
    image = photo(run.image(path), 240)
    points = corners * (image.width, image.height)
    wide, high = (np.linalg.norm(points[a] - points[b]) for a, b in ((1, 0), (3, 0)))
    height = int(np.clip(round(PATCH_WIDTH * high / max(wide, 1)), 12, 2 * PATCH_WIDTH))
    corners_in_turn = points[[0, 3, 2, 1]]  # upper left, lower left, lower right, upper right
    return image.transform((PATCH_WIDTH, height), Image.Transform.QUAD, tuple(corners_in_turn.flatten()),
                           Image.Resampling.BILINEAR)
