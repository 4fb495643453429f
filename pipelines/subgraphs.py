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
from jsonargparse import Namespace
from tqdm import tqdm

from mprd_pyg.drawing import draw_pair
from mprd_pyg.graph import PairSubgraphDataset
from pipelines.command_line import cli
from pipelines.runs.saved_run import SavedRun

CHOICES = ("mistakes", "believed", "random", "all")


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
    parser.shipped = None
    return parser


def choose(pairs: pd.DataFrame, which: str, number: int, seed: int = 0) -> pd.DataFrame:
    """Some of a table of judged pairs.

    Args:
        pairs: of :meth:`SavedRun.pairs`.
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


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Choose, save what is not saved yet, draw, list."""
    if cfg.number < 1:
        raise ValueError(f"--number must be at least 1, got {cfg.number}")
    saved = SavedRun(cfg.run, cfg.image_root)
    epoch = saved.epochs[-1] if cfg.epoch is None else cfg.epoch
    judged = saved.pairs(epoch)
    asked = choose(judged, cfg.pairs, cfg.number, cfg.seed) if cfg.pairs in CHOICES else named_pair(saved, judged, cfg)
    if not len(asked):
        print(f"epoch {epoch} has no such pairs: none of {len(judged)} judged ones is among the {cfg.pairs}")
        return
    asked = asked.reset_index(drop=True)
    places = saved.find(asked)
    missing, graph_epoch = asked[places < 0], np.full(len(asked), epoch)
    with tempfile.TemporaryDirectory() as scratch:
        other = None
        if len(missing) and saved.memory_epoch == epoch:
            saved.build(missing, saved.writer())
            places = saved.find(asked)
        elif len(missing):
            graph_epoch[places < 0] = saved.memory_epoch
            sys.stderr.write(f"{len(missing)} of {len(asked)} pairs were not saved in epoch {epoch}: their graph is "
                             f"that of the checkpointed memory, epoch {saved.memory_epoch}, and is not saved\n")
            saved.build(missing, saved.writer(Path(scratch)))
            other = PairSubgraphDataset(scratch, image_root=saved.image_root)
            places[places < 0] = -1 - _places(missing, other.table)
        print(f"{np.sum(places >= 0)} of {len(asked)} pairs are in {saved.folder / 'subgraphs'}")
        if cfg.draw:
            dataset = saved.dataset() if (places >= 0).any() else None
            draw(saved.folder / "subgraphs", asked.assign(graph_epoch=graph_epoch),
                 [(dataset, place) if place >= 0 else (other, -1 - place) for place in places.tolist()], cfg)


def named_pair(saved: SavedRun, judged: pd.DataFrame, cfg: Namespace) -> pd.DataFrame:
    """The pair ``ANCHOR,NEIGHBOUR``, in every branch in which it was judged; in the first one if in none."""
    try:
        anchor, neighbour = (int(part) for part in cfg.pairs.split(","))
    except ValueError:
        raise ValueError(f"--pairs must be {', '.join(CHOICES)} or ANCHOR,NEIGHBOUR (two rows of images.parquet), "
                         f"got {cfg.pairs!r}") from None
    if anchor == neighbour or not 0 <= min(anchor, neighbour) <= max(anchor, neighbour) < len(saved.images):
        raise ValueError(f"--pairs {cfg.pairs}: a pair is of two different images 0 ... {len(saved.images) - 1}")
    found = judged[(judged["anchor"] == anchor) & (judged["neighbour"] == neighbour)]
    if len(found):
        return found
    epoch = judged["epoch"].iloc[0]
    sys.stderr.write(f"the pair {anchor}, {neighbour} was not judged in epoch {epoch}\n")
    return saved.describe(pd.DataFrame({"anchor": [anchor], "neighbour": [neighbour], "epoch": [epoch]}))


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
        before = pd.read_csv(path)
        there = before["picture"].map(lambda name: (folder / str(name)).is_file()) & ~before["picture"].isin(names)
        index = pd.concat([before[there], index.astype(object)], ignore_index=True)
    index.to_csv(path.with_suffix(".part"), index=False)
    os.replace(path.with_suffix(".part"), path)
    print(f"{len(names)} pictures and {path}")


def _places(pairs: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    key = ["branch", "anchor", "neighbour"]
    return pairs[key].merge(table[key].assign(place=np.arange(len(table))), on=key, how="left")["place"].to_numpy()


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
