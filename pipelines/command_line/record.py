"""What a run keeps for its report while everything is at hand: what it is, and a look at each evaluation."""
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jsonargparse import ArgumentParser, Namespace
from torch import Tensor

from mprd_pyg.evaluation import RankingResult, camera_matrix
from mprd_pyg.manifest import refusing_damage
from pipelines.command_line.dataset import Dataset
from pipelines.runs.run_folder import Results, RunFolder, query_table

SAMPLE = 1000  # test images whose features are kept
COUNTED = 10   # counted images of an example's ranking list
JUNK = 4       # ignored images of it, at most
EXAMPLES = 3   # best, median and worst queries, of each
PER_CALL = ("config", "resume", "out", "progress", "accelerator")


class RunRecord:
    """Writes ``run.json`` and, at each evaluation, ``evaluation/before`` or ``evaluation/after``.

    Such a folder holds ``features.npz`` (a sample of test features in half precision), ``queries.parquet`` (each
    query's scores), ``examples.parquet`` (the ranking lists of the best, median and worst queries, ignored images
    included) and ``cameras.parquet`` (mAP from camera to camera).

    Args:
        folder: of the run.
        dataset: that is evaluated.
        resumed: the network before training was looked at in an earlier call.
    """

    def __init__(self, folder: RunFolder, dataset: Dataset, resumed: bool = False):
        self.folder, self.dataset = folder, dataset
        self.when = "after" if resumed else "before"

    def start(self, name: str, parser: ArgumentParser, cfg: Namespace, rows: int, **facts: Any) -> None:
        """Say what is run; ``rows`` is how many rows of ``images.parquet`` are nodes of the graph."""
        path, folder = self.folder.path / "run.json", self.folder.path.resolve()
        with refusing_damage(path, "remove it"):
            earlier = dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
        card, frame = self.dataset.card, self.dataset.frame
        root = Path(frame.attrs["root"]).resolve()
        inside = root.is_relative_to(folder)
        self.folder.write_json("run.json", {
            "pipeline": name, "started": earlier.get("started", time.strftime("%Y-%m-%d %H:%M")), "rows": rows,
            "root": os.path.relpath(root, folder) if inside else str(root),
            "generated": inside, "card": {key: getattr(card, key) for key in ("name", "title", "terms", "traps")},
            "counts": self.dataset.counts(), "junk": frame.attrs.get("junk", {}), "seed": cfg.seed,
            "protocol": card.evaluation.words, "fingerprint": self.dataset.fingerprint,
            "deviations": card.deviations(frame), "skipped_images": frame.attrs.get("skipped_unreadable", []),
            "changed": changed_options(parser, cfg), **facts})

    def __call__(self, features: Tensor, results: Results) -> None:
        """Keep what an evaluation of the test features (T, d) shows."""
        test, query, gallery = self.dataset.test
        part = f"evaluation/{self.when}"
        self.when = "after"
        distractors = self.dataset.card.distractor_ids
        path, person, camera = (test[name].to_numpy() for name in ("path", "person_id", "camera_id"))
        keep = sample_rows(person, distractors)
        self.folder.write_arrays(f"{part}/features.npz", features=features[keep].half().numpy(),
                                 path=path[keep].astype(str), person_id=person[keep], camera_id=camera[keep])
        self.folder.write_table(f"{part}/queries.parquet", query_table(test, query, results))
        evaluation = self.dataset.card.evaluation
        if evaluation.leave_one_out:
            test = test.assign(camera_id=range(len(test)))  # as if each image had a camera of its own
        self.folder.write_table(f"{part}/examples.parquet", examples(
            features, test, query, gallery, next(iter(results.values())), distractors))
        if evaluation.cross_camera_valid and not evaluation.leave_one_out:
            matrix = camera_matrix(features[query], features[gallery], person[query], person[gallery], camera[query],
                                   camera[gallery])
            row, column = np.indices(matrix.mAP.shape)
            self.folder.write_table(f"{part}/cameras.parquet", pd.DataFrame({
                "query_camera": matrix.cameras[row.flatten()], "gallery_camera": matrix.cameras[column.flatten()],
                "mAP": matrix.mAP.flatten(), "queries": matrix.num_queries.flatten()}))


def changed_options(parser: ArgumentParser, cfg: Namespace) -> list[dict[str, str]]:
    """The options that differ from the defaults of the code, which are the paper's."""
    default = vars(parser.get_defaults().as_flat())
    return [{"option": key, "value": str(value), "default": str(default.get(key))}
            for key, value in vars(cfg.as_flat()).items()
            if key.split(".")[0] not in PER_CALL and value != default.get(key)]


def sample_rows(person: np.ndarray, distractors: tuple[int, ...] = (), limit: int = SAMPLE) -> np.ndarray:
    """Rows of whole identities, drawn at random but always alike, up to ``limit`` images."""
    people, count = np.unique(person[(person >= 0) & ~np.isin(person, distractors)], return_counts=True)
    order = np.argsort(np.random.default_rng(0).permutation(len(people)))
    whole = np.searchsorted(np.cumsum(count[order]), limit, side="right")  # so many identities fit; one is always taken
    return np.flatnonzero(np.isin(person, people[order[:max(whole, 1)]]))[:limit]


def example_queries(result: RankingResult, person: np.ndarray, each: int = EXAMPLES) -> dict[str, list[int]]:
    """The queries (numbers among Q) of best, median and worst average precision, each of another person.

    Of equally good ones those with more matches count as better.
    """
    valid = np.flatnonzero(result.num_matches > 0)
    order = valid[np.lexsort((valid, -result.num_matches[valid], -result.average_precision[valid]))]
    middle = sorted(range(len(order)), key=lambda place: abs(place - len(order) // 2))
    chosen: dict[str, list[int]] = {"best": [], "median": [], "worst": []}
    turns = {"best": iter(range(len(order))), "worst": reversed(range(len(order))), "median": iter(middle)}
    used = set()
    for _ in range(each):  # in turns, so that each kind has some where people are few
        for group, places in turns.items():
            place = next((place for place in places if int(person[order[place]]) not in used), None)
            if place is not None:
                used.add(int(person[order[place]]))
                chosen[group].append(int(order[place]))
    return chosen


def examples(features: Tensor, test: pd.DataFrame, query: np.ndarray, gallery: np.ndarray, result: RankingResult,
             distractors: tuple[int, ...] = ()) -> pd.DataFrame:
    """The heads of the example queries' lists: one line per image, best first, as the first mode sees it.

    ``role`` is right, wrong, distractor (wrong as well) or junk (ignored: the query's person in the query's camera);
    ``rank`` counts without the junk, which has 0. The first right image ends the list where it comes later.
    """
    person, camera = test["person_id"].to_numpy(), test["camera_id"].to_numpy()
    path = test["path"].to_numpy()
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    bank, parts = unit[gallery], []
    for group, queries in example_queries(result, person[query]).items():
        for number in queries:
            row = query[number]
            similarity = (bank @ unit[row]).cpu().numpy()
            order = np.argsort(-similarity, kind="stable")
            order = order[gallery[order] != row]
            g = gallery[order]
            same, seen = person[g] == person[row], camera[g] == camera[row]
            role = np.where(same, "right", np.where(np.isin(person[g], distractors), "distractor", "wrong"))
            role = np.where((same & seen) | (person[g] < 0), "junk", role)
            rank = np.where(role == "junk", 0, np.cumsum(role != "junk"))
            counted, junk = np.cumsum(role != "junk"), np.cumsum(role == "junk")
            head = np.where(role == "junk", (counted < COUNTED) & (junk <= JUNK), counted <= COUNTED)
            head[np.flatnonzero(role == "right")[:1]] = True
            parts.append(pd.DataFrame({
                "group": group, "query": path[row], "average_precision": result.average_precision[number],
                "matches": result.num_matches[number], "gallery": path[g][head], "role": role[head],
                "rank": rank[head], "similarity": similarity[order][head]}))
    return pd.concat(parts, ignore_index=True)
