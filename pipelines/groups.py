"""Find which images show the same individual, and show them on one page; add images later.

python -m pipelines.groups RUN --out DIR                             # a run's training images
python -m pipelines.groups --checkpoint runs/NAME --gallery CROPS --out DIR
python -m pipelines.groups --add MORE_CROPS --out DIR
"""
import sys
from pathlib import Path

import pandas as pd
from jsonargparse import Namespace
from lightning_fabric import Fabric

from mprd_pyg.data import DataCard
from mprd_pyg.grouping import GroupFolder, GroupUpdate
from mprd_pyg.grouping.group_files import MANIFEST
from mprd_pyg.relations import Relation, read_constraints
from mprd_pyg.relations.groups import GroupFinder
from pipelines.command_line import cli
from pipelines.report.group_page import write_group_page
from pipelines.runs.networks import checkpoint_path, load_network
from pipelines.runs.run import Run
from pipelines.runs.run_folder import RunFolder


def make_parser() -> cli.Parser:
    """Flags."""
    parser = cli.Parser(prog="python -m pipelines.groups", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=str, nargs="?", default=None, help="run folder, whose training images are grouped")
    parser.add_argument("--checkpoint", type=str | None, default=None,
                        help="a run's folder, or its checkpoints/last.pt, to embed images with")
    parser.add_argument("--gallery", type=str | None, default=None, help="folder of images to group")
    parser.add_argument("--add", type=str | None, default=None,
                        help="folder of new images, which join the groups of an earlier --out or found groups")
    parser.add_argument("--out", type=str | None, default=None, help="folder of the groups (default: under runs/)")
    parser.add_argument("--index", type=str | None, default=None,
                        help="index folder of pipelines.search, whose features are taken instead of embedding again")
    parser.add_argument("--card", type=str | None, default=None,
                        help="data card that reads identities and cameras in the names, to check the groups by")
    parser.add_argument("--split", type=str | None, default=None, help="of the card: train, query or gallery only")
    parser.add_argument("--cameras", type=bool, default=True, help="false: do not read which camera saw an image")
    parser.add_subclass_arguments(Relation, "relation", required=False,
                                  help="judges pairs; null is k-reciprocal Jaccard, camera-aware with known cameras")
    parser.add_subclass_arguments(GroupFinder, "finder", required=False,
                                  help="makes groups of the pairs; null is MapEquation where igraph is installed, else "
                                       "ConnectedComponents")
    parser.add_argument("--threshold", type=float | None, default=None,
                        help="cosine with a group from which an image is taken for a member; null calibrates it")
    parser.add_argument("--constraints", type=str | None, default=None,
                        help="file of pairs said to be the same or different, as a run's constraints.csv")
    parser.add_argument("--regroup", type=bool, default=False, help="find all groups anew, without embedding anew")
    parser.add_argument("--image_root", type=str | None, default=None, help="folder of the run's images, if they moved")
    parser.add_argument("--workers", type=int, default=4, help="threads that decode images")
    parser.add_argument("--accelerator", type=str, default="auto", help="cpu, cuda, mps or auto")
    parser.add_argument("--page", type=bool, default=True, help="false: do not draw the page")
    parser.add_argument("--progress", type=bool, default=True, help="show progress bars")
    return parser


def check_arguments(cfg: Namespace) -> None:
    """Say what is missing, before anything is read."""
    if cfg.add is not None:
        if cfg.out is None or not (Path(cfg.out) / MANIFEST).is_file():
            raise ValueError(f"--add needs --out DIR, the folder of an earlier call: {cfg.out} has no {MANIFEST}; make "
                             f"groups by --checkpoint FILE --gallery DIR first")
    elif cfg.run is None and not (cfg.checkpoint and cfg.gallery):
        raise ValueError("nothing to group: give a run folder, or --checkpoint FILE and --gallery DIR_OF_IMAGES, or "
                         "--add DIR with an earlier --out")
    if cfg.run is not None and (cfg.gallery or cfg.checkpoint):
        raise ValueError("give either a run folder or --checkpoint and --gallery, not both")
    if cfg.split is not None and cfg.card is None:
        raise ValueError("--split is of a data card: give --card too")


def choose_images(cfg: Namespace) -> tuple[Path, pd.DataFrame | None]:
    """The folder of images, and the table of them where a run or a card knows one."""
    if cfg.run is not None and cfg.add is None:
        opened = Run(cfg.run, cfg.image_root)
        return opened.image_root, opened.images
    root = Path(cfg.add or cfg.gallery)
    if cfg.card is None:
        return root, None
    frame = DataCard.load(cfg.card).scan(root)
    if cfg.split is not None:
        frame = frame[frame["split"] == cfg.split]
        if not len(frame):
            raise ValueError(f"{root} has no images of the split {cfg.split!r} by the card {cfg.card!r}")
    return root, frame


def open_groups(out: str | Path, checkpoint: str | Path | None = None, accelerator: str = "auto",
                **options) -> GroupFolder:
    """A run's network and a groups folder as a :class:`GroupFolder`; the folder remembers the checkpoint."""
    if checkpoint is None:
        checkpoint = GroupFolder(out).about["checkpoint"]
    network, about = load_network(checkpoint)
    device = Fabric(accelerator=accelerator, devices=1).device
    folder = GroupFolder(out, network, about["size"], about["network"], device=device, **options)
    folder.about["checkpoint"] = str(checkpoint_path(checkpoint).resolve())
    return folder


def write_tables(folder: RunFolder, groups: GroupFolder) -> None:
    """``groups.parquet``, ``groups.csv``, ``near_duplicates.csv`` and ``results.json``."""
    images, found = groups.images, groups.groups
    folder.write_table("groups.parquet", images)
    folder.write_text("groups.csv", images.to_csv(index=False, float_format="%.4f"))
    pairs = pd.DataFrame(found.duplicates.numpy(), columns=["group", "other"])
    folder.write_text("near_duplicates.csv", pairs.assign(
        similarity=found.duplicate_similarity.numpy()).to_csv(index=False, float_format="%.4f"))
    folder.write_results({"pipeline": "groups", **groups.metrics()})


def say(groups: GroupFolder, update: GroupUpdate) -> None:
    """What happened, in lines."""
    figures = groups.metrics()
    for path, reason in update.skipped[:20]:
        print(f"  skipped {path}: {reason}")
    if len(update.skipped) > 20:
        print(f"  ... {len(update.skipped)} files skipped")
    if update.altered:
        print(f"  {len(update.altered)} images changed since they were embedded, and keep their old features, first: "
              f"{update.altered[0]}")
    for change in update.changes:
        print(f"  {change}")
    print(f"{update.added} images added, {update.joined} of them to groups that were there; {figures['images']} images "
          f"in all: {figures['groups']} groups, {figures['member']} members, {figures['single']} single, "
          f"{figures['new']} new, {figures['uncertain']} uncertain")
    print(f"estimated individuals: {figures['estimated_individuals']}" + (
        f", known: {figures['identities']}; pairwise F {figures['pair_f']:.3f}, B-cubed F {figures['bcubed_f']:.3f}, "
        f"adjusted Rand {figures['adjusted_rand']:.3f}" if "pair_f" in figures else ""))


def run(parser: cli.Parser, cfg: Namespace) -> None:
    """Embed, group, show."""
    check_arguments(cfg)
    root, images = choose_images(cfg)
    parts = parser.instantiate(cfg)
    folder = RunFolder(cfg.out, "groups")
    groups = open_groups(folder.path, cfg.run or cfg.checkpoint, cfg.accelerator, workers=cfg.workers,
                         progress=cfg.progress)
    skipped, altered = groups.embed(root, images, cfg.index)
    paths = groups.files.table["path"].tolist()
    said = None if cfg.constraints is None else read_constraints(cfg.constraints, paths)
    update = groups.group(said, relation=parts.relation, finder=parts.finder, threshold=cfg.threshold,
                          use_cameras=cfg.cameras, regroup=cfg.regroup, skipped=skipped, altered=altered)
    write_tables(folder, groups)
    say(groups, update)
    if cfg.page:
        print(f"page: {write_group_page(groups, update)}")


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
