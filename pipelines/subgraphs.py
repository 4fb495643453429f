"""Save and draw the neighbourhoods on which a run judged its pairs.

python -m pipelines.subgraphs RUN                                    # the 12 most confident mistakes of the last epoch
python -m pipelines.subgraphs RUN --pairs believed --number 40 --epoch 3 --format svg
python -m pipelines.subgraphs RUN --pairs 17,204
"""
import os
import sys
import tempfile
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jsonargparse import Namespace
from tqdm import tqdm

from mprd_pyg.drawing import draw_pair
from mprd_pyg.files import replacing
from mprd_pyg.graph import NeighbourLists, PairStatistics, PairSubgraphDataset, PairSubgraphWriter
from mprd_pyg.manifest import refusing_damage
from pipelines.command_line import cli
from pipelines.runs.run import Run, find_pairs
from pipelines.runs.subgraph_samples import sample_statistics, with_similarity

CHOICES = ("mistakes", "believed", "random", "all")
CHUNK = 10_000  # pairs that are cut out at a time


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.subgraphs", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=str, help="run folder")
    parser.add_argument("--pairs", type=str, default="mistakes",
                        help="mistakes or believed (the most confident first), random, all, or ANCHOR,NEIGHBOUR: rows "
                             "of images.parquet")
    parser.add_argument("--number", type=int, default=12, help="pairs, at most")
    parser.add_argument("--epoch", type=int | None, default=None, help="the last one by default")
    parser.add_argument("--draw", type=bool, default=True, help="false: only save, for PairSubgraphDataset")
    parser.add_argument("--format", type=Literal["png", "svg"], default="png", help="of the pictures")
    parser.add_argument("--nodes", type=int, default=40, help="nodes shown in a picture; the others are counted")
    parser.add_argument("--image_root", type=str | None, default=None, help="folder of the images, when they moved")
    parser.add_argument("--seed", type=int, default=0, help="of the random choice")
    parser.add_argument("--progress", type=bool, default=True, help="show progress bars")
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Choose, save what is not saved yet, draw, list."""
    if cfg.number < 1:
        raise ValueError(f"--number must be at least 1, got {cfg.number}")
    opened = Run(cfg.run, cfg.image_root)
    epoch = opened.epochs[-1] if cfg.epoch is None else cfg.epoch
    judged, folder = opened.pairs(epoch), opened.folder / "subgraphs"
    asked = named_pair(opened, judged, cfg.pairs) if cfg.pairs not in CHOICES else \
        choose_pairs(judged, cfg.pairs, cfg.number, cfg.seed)
    if not len(asked):
        print(f"epoch {epoch} has no such pairs: none of {len(judged)} judged ones is among the {cfg.pairs}")
        return
    asked = asked.reset_index(drop=True)
    places = opened.find_subgraphs(asked)
    missing = asked[places < 0]
    with tempfile.TemporaryDirectory() as scratch:
        if len(missing) and opened.memory_epoch != epoch:
            sys.stderr.write(f"{len(missing)} of {len(asked)} pairs were not saved in epoch {epoch}: their graph is "
                             f"that of the checkpointed memory, epoch {opened.memory_epoch}, and is not saved\n")
            save_subgraphs(opened, missing, Path(scratch))
        elif len(missing):
            save_subgraphs(opened, missing, folder)
            places = opened.find_subgraphs(asked)
        print(f"{np.sum(places >= 0)} of {len(asked)} pairs are in {folder}")
        if cfg.draw:
            stores = {path: PairSubgraphDataset(path, image_root=opened.image_root)
                      for path, used in ((folder, places >= 0), (Path(scratch), places < 0)) if used.any()}
            where = [folder if place >= 0 else Path(scratch) for place in places]
            if (places < 0).any():
                places[places < 0] = find_pairs(missing, stores[Path(scratch)].table)
            draw(folder, asked.assign(graph_epoch=[epoch if path == folder else opened.memory_epoch for path in where]),
                 [(stores[path], int(place)) for path, place in zip(where, places, strict=True)], cfg)


def choose_pairs(pairs: pd.DataFrame, which: str, number: int, seed: int = 0) -> pd.DataFrame:
    """Some of a table of judged pairs.

    Args:
        pairs: of :meth:`Run.pairs`.
        which: one of ``mistakes``, ``believed``, ``random``, ``all``.
        number: how many at most; not read for ``all``.
        seed: of ``random``.

    Raises:
        ValueError: mistakes were asked for, and no identities are known.
    """
    if which == "all":
        return pairs
    if which == "random":
        return pairs.sample(min(number, len(pairs)), random_state=seed)
    believed = pairs["believed"].astype(bool)
    if which == "mistakes" and pairs["truth"].isna().all():
        raise ValueError("the identities of the run's images are unknown, so nobody can tell mistakes: "
                         "use --pairs believed or --pairs random")
    kept = pairs[believed if which == "believed" else (pairs["truth"] != believed).fillna(False).astype(bool)]
    confidence = np.where(kept["believed"], kept["likelihood"], 1 - kept["likelihood"])
    order = kept.assign(confidence=confidence).sort_values(["confidence", "similarity"], ascending=False, kind="stable")
    return order.head(number).drop(columns="confidence")


def named_pair(opened: Run, judged: pd.DataFrame, pair: str) -> pd.DataFrame:
    """The pair ``ANCHOR,NEIGHBOUR``, in every branch in which it was judged; in the first one if in none."""
    try:
        anchor, neighbour = (int(part) for part in pair.split(","))
    except ValueError:
        raise ValueError(f"--pairs must be {', '.join(CHOICES)} or ANCHOR,NEIGHBOUR (two rows of images.parquet), "
                         f"got {pair!r}") from None
    if anchor == neighbour or not 0 <= min(anchor, neighbour) <= max(anchor, neighbour) < len(opened.images):
        raise ValueError(f"--pairs {pair}: a pair is of two different images 0 ... {len(opened.images) - 1}")
    found = judged[(judged["anchor"] == anchor) & (judged["neighbour"] == neighbour)]
    if len(found):
        return found
    epoch = judged["epoch"].iloc[0]
    sys.stderr.write(f"the pair {anchor}, {neighbour} was not judged in epoch {epoch}\n")
    return opened.describe_pairs(pd.DataFrame({"anchor": [anchor], "neighbour": [neighbour], "epoch": [epoch]}))


def save_subgraphs(opened: Run, pairs: pd.DataFrame, folder: Path) -> None:
    """Cut the pairs' subgraphs out of the graph of the checkpointed memory and append them to a store."""
    images = opened.images.assign(path=opened.images["path"].astype(str))
    cut_out, metric = opened.pair_subgraphs(), opened.options["knn"].get("metric", "cosine")
    last = int(pairs[["anchor", "neighbour"]].to_numpy().max())
    if last >= opened.rows:
        raise ValueError(f"image {last} is not in the graph: it has the images 0 ... {opened.rows - 1}")
    writer = PairSubgraphWriter(folder, images, opened.image_root, {"subgraphs": repr(cut_out)})
    for branch, frame in pairs.groupby("branch", sort=True):
        graph = opened.memory_graph(int(branch))
        graph.camera_id = torch.tensor(images["camera_id"].to_numpy(np.int64)[:opened.rows])
        lists, statistics = NeighbourLists.from_graph(graph), PairStatistics(sample_statistics(opened.rows))
        for start in range(0, len(frame), CHUNK):
            part = frame.iloc[start:start + CHUNK]
            asked = torch.tensor(part[["anchor", "neighbour"]].to_numpy(np.int64))
            batch = cut_out(lists, asked)
            columns = {name: torch.tensor(part[name].to_numpy(kind)) for name, kind in (
                ("similarity", "float32"), ("likelihood", "float32"), ("believed", "bool"), ("epoch", "int64"))}
            writer.append(with_similarity(batch, graph.x, metric), branch=int(branch), **columns,
                          statistics=statistics(graph, asked), statistic_names=statistics.columns(graph))


def draw(folder: Path, asked: pd.DataFrame, places: list[tuple[PairSubgraphDataset, int]], cfg: Namespace) -> None:
    """Draw the pairs and list them in ``index.csv``, with those that were drawn before."""
    names, shared = [], []
    folder.mkdir(exist_ok=True)
    for row, (dataset, place) in tqdm(zip(asked.itertuples(), places, strict=True), total=len(asked), desc="drawing",
                                      leave=False, disable=None if cfg.progress else True):
        data = dataset[place]
        branch = f"_branch_{row.branch}" if asked["branch"].max() else ""
        names.append(f"epoch_{row.epoch:03d}{branch}_{row.anchor:06d}_{row.neighbour:06d}.{cfg.format}")
        shared.append(int((data.z == 2).sum()))
        part = folder / f".{names[-1]}"
        draw_pair(data, cfg.nodes).save(part)
        os.replace(part, folder / names[-1])
    index = asked.assign(shared=shared)
    index.insert(0, "picture", names)
    path = folder / "index.csv"
    if path.is_file():
        with refusing_damage(path, "remove it"):
            before = pd.read_csv(path).astype({"picture": str})
        there = before["picture"].map(lambda name: (folder / str(name)).is_file()) & ~before["picture"].isin(names)
        index = pd.concat([before[there], index.astype(object)], ignore_index=True)
    with replacing(path) as part:
        index.to_csv(part, index=False)
    print(f"{len(names)} pictures and {path}")


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
