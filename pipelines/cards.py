r"""Check a data root against its card, or make a card for a folder of crops.

python -m pipelines.cards check market1501 DIR    # status 0: as promised, 1: something differs, 2: not this card's data
python -m pipelines.cards new DIR                 # writes NAME.yaml; --person, --camera, --pattern override the guess
"""
import re
import sys
from pathlib import Path

from jsonargparse import Namespace

from mprd_pyg.data import DataCard
from mprd_pyg.data.cards.counts import FIGURES, compare_counts
from mprd_pyg.data.cards.inspection import Inspection, inspect_root
from mprd_pyg.data.cards.propose import Proposal, propose_card
from mprd_pyg.data.table import ImageTable
from mprd_pyg.files import replacing
from pipelines.command_line import cli


def make_parser() -> cli.Parser:
    """The two subcommands."""
    prog = "python -m pipelines.cards"
    parser = cli.Parser(prog=prog, description=__doc__.splitlines()[0])
    check = cli.Parser(prog=f"{prog} check", description="Found against promised; status 0: all as promised, "
                       "1: something differs, 2: the folder is not what the card describes")
    check.add_argument("card", type=str, help="a shipped card's name, or a YAML file")
    check.add_argument("root", type=str, help="the data root")
    check.add_argument("--decode", type=bool, default=True, help="read every image, and look for files that are alike")
    new = cli.Parser(prog=f"{prog} new", description="Propose a card for a folder of crops, and write it")
    new.add_argument("folder", type=str, help="holds the crops, perhaps in train/, query/ and gallery/")
    new.add_function_arguments(propose_card, skip={"folder"})
    new.add_argument("--out", type=str | None, default=None, help="YAML file to write (default: NAME.yaml here)")
    new.add_argument("--force", type=bool, nargs="?", const=True, default=False, help="overwrite an existing file")
    commands = parser.add_subcommands()
    commands.add_subcommand("check", check, help="compare a data root with its card")
    commands.add_subcommand("new", new, help="make a card for a folder of crops")
    parser.shipped = None
    return parser


def run(parser: cli.Parser, cfg: Namespace) -> int:
    """Run one of the two; returns the exit status."""
    return check(cfg.check) if cfg.subcommand == "check" else new(cfg.new)


def check(cfg: Namespace) -> int:
    """``check CARD ROOT``."""
    card = DataCard.load(cfg.card)
    result = inspect_root(card, cfg.root, cfg.decode)
    print(f"{card.name}: {card.title}\n{table(result)}")
    for path, reason in result.unreadable[:20]:
        print(f"unreadable: {path}: {reason}")
    for group in result.duplicates[:20]:
        print(f"the same file: {', '.join(group)}")
    alike = sum(map(len, result.duplicates)) - len(result.duplicates)
    print(f"unreadable files: {len(result.unreadable)}; files that repeat another byte for byte: {alike}" if cfg.decode
          else "the images were not read (--decode false)")
    for text in result.differences:
        print(f"differs: {text}")
    if not result.differences:
        print("as promised" if any(p is not None for row in result.figures.values() for _, p in row.values())
              else "nothing is amiss; the card promises no counts")
    return int(bool(result.differences))


def table(result: Inspection) -> str:
    """Found, and what is promised after a slash, per split; ``!`` marks what differs."""
    lines = [f"{'found/promised':16}" + "".join(f"{name:>18}" for name in FIGURES)]
    for split, row in result.figures.items():
        cells = [f"{found:,}" + ("" if promised is None else f"/{promised:,}") + " !" * (promised not in (None, found))
                 for found, promised in row.values()]
        lines.append(f"{split:16}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def new(cfg: Namespace) -> int:
    """``new DIR``."""
    options = {key: value for key, value in vars(cfg).items() if key not in ("folder", "out", "force", "config")}
    found = propose_card(cfg.folder, **options)
    path = Path(cfg.out or f"{found.card.name}.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise ValueError(f"--out {path}: a card's file name ends in .yaml")
    print(describe(found))
    if path.exists() and not cfg.force:
        raise ValueError(f"{path} exists already and was left as it is: give another --out, or --force true")
    with replacing(path) as part:
        found.card.to_yaml(part)
    train = found.frame[found.frame["split"] == "train"]
    known = train["person_id"][(train["person_id"] >= 0)].nunique()
    meta = min(5, known // 2) if known >= 4 else 0
    print(f"\nwrote {path}: edit it where the guess is wrong. Train on it by\n  python -m pipelines.mprd --config "
          f"mprd/folder.yaml --data.card {path} --data.root {cfg.folder}"
          + ("" if meta == 5 else f" --meta_identities {meta}"))
    return 0


def describe(found: Proposal) -> str:
    """What was found, what was decided, and ten images as the card reads them."""
    card, frame = found.card, found.frame
    lines = [f"{frame.attrs['root']}: {len(frame):,} images", "  field  values  where, first values"]
    for number, field in enumerate(found.fields, 1):
        role = {id(found.person): "  <- person", id(found.camera): "  <- camera"}.get(id(field), "")
        lines.append(f"  {number:5}  {len(field.distinct):6}  {field}: {', '.join(field.distinct[:4])}{role}")
    lines.append(f"pattern: {card.pattern}")
    groups = re.compile(card.pattern).groupindex
    if "person" not in groups:
        lines.append("no identities in the names: the training images are unlabelled, and all that needs no labels "
                     "runs (--meta_identities 0). If one of the fields is the person: --person NUMBER")
    if "camera" not in groups:
        lines.append("no cameras in the names: all images count as one camera, so nothing can be ranked across "
                     "cameras. If one of the fields is the camera: --camera NUMBER")
    lines += found.notes
    if frame.attrs["unmatched"]:
        lines.append(f"{len(frame.attrs['unmatched']):,} images do not fit the pattern and are left out, first: "
                     + ", ".join(frame.attrs["unmatched"][:3]))
    lines += [f"{split}: " + ", ".join(f"{row[figure][0]:,} {figure}" for figure in FIGURES[:3])
              for split, row in compare_counts(card, frame).items()]
    shown = min(10, len(frame))
    lines.append(f"{shown} images as the card reads them:")
    lines += [f"  {row.split:7}  person {_named(frame, 'person', row.person_id):>8}  camera "
              f"{_named(frame, 'camera', row.camera_id):>4}  {row.path}"
              for row in frame.iloc[[i * len(frame) // shown for i in range(shown)]].itertuples()]
    return "\n".join(lines)


def _named(frame: ImageTable, kind: str, number: int) -> str:
    names = {value: key for key, value in frame.attrs[f"{kind}_names"].items()}
    return "unknown" if number < 0 else f"{number} ({names[number]})" if number in names else str(number)


if __name__ == "__main__":
    sys.exit(cli.main(make_parser(), run))
