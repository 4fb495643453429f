r"""Check a data root against its card, or make a card for a folder or a table of crops.

python -m pipelines.cards check market1501 DIR    # status 0: as promised, 1: something differs, 2: not this card's data
python -m pipelines.cards new DIR                 # writes NAME.yaml; --person, --camera, --pattern override the guess
python -m pipelines.cards new TABLE.csv           # likewise, of a table with columns for path and identity
"""
import sys
from pathlib import Path

from jsonargparse import Namespace

from mprd_pyg.data import DataCard
from mprd_pyg.data.cards.counts import FIGURES, compare_counts
from mprd_pyg.data.cards.inspection import Inspection, inspect_root
from mprd_pyg.data.cards.propose import Proposal, propose_card
from mprd_pyg.data.cards.propose_table import propose_table
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
    new = cli.Parser(prog=f"{prog} new", description="Propose a card for a folder or table of crops, and write it")
    new.add_argument("folder", type=str, help="holds the crops, perhaps in train/, query/ and gallery/; or a CSV or "
                     "Parquet file with a row per crop, whose columns --person and --camera then name")
    new.add_function_arguments(propose_card, skip={"folder"})
    new.add_argument("--path", type=str, default="auto", help="of a table: the column of the paths")
    new.add_argument("--root", type=str | None, default=None,
                     help="of a table: the folder that its paths are relative to (default: the table's)")
    new.add_argument("--out", type=str | None, default=None, help="YAML file to write (default: NAME.yaml here)")
    new.add_argument("--force", type=bool, nargs="?", const=True, default=False, help="overwrite an existing file")
    commands = parser.add_subcommands()
    commands.add_subcommand("check", check, help="compare a data root with its card")
    commands.add_subcommand("new", new, help="make a card for a folder of crops")
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
    """``new DIR`` or ``new TABLE``."""
    of_table = Path(cfg.folder).is_file()
    options = {key: getattr(cfg, key) for key in ("name", "person", "camera", "split")}
    for key, default in {"pattern": None}.items() if of_table else {"root": None, "path": "auto"}.items():
        if getattr(cfg, key) != default:
            raise ValueError(f"--{key} does not go with a {'table' if of_table else 'folder'}, which {cfg.folder} is")
    found = propose_table(cfg.folder, cfg.root, path=cfg.path, **options) if of_table else propose_card(
        cfg.folder, pattern=cfg.pattern, **options)
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
    ranked_too = found.card.evaluation.leave_one_out and len(train) == len(found.frame)  # then no label is used
    meta = min(5, known // 2) if known >= 4 and not ranked_too else 0
    root = found.frame.attrs["root"] if of_table else cfg.folder
    print(f"\nwrote {path}: edit it where the guess is wrong. Train on it by\n  python -m pipelines.mprd --config "
          f"mprd/folder.yaml --data.card {path} --data.root {root}"
          + ("" if meta == 5 else f" --meta_identities {meta}"))
    return 0


def describe(found: Proposal) -> str:
    """What was found, what was decided, and ten images as the card reads them."""
    card, frame = found.card, found.frame
    lines = [f"{frame.attrs['root']}: {len(frame):,} images", "  field  values  where, first values"]
    for number, field in enumerate(found.fields, 1):
        role = {id(found.person): "  <- person", id(found.camera): "  <- camera"}.get(id(field), "")
        lines.append(f"  {number:5}  {len(field.distinct):6}  {field}: {', '.join(field.distinct[:4])}{role}")
    if card.table:
        where, those, which = "the table", "columns", "NAME"
    else:
        where, those, which = "the names", "fields", "NUMBER"
        lines.append(f"pattern: {card.pattern}")
    if (frame["person_id"] < 0).all():
        lines.append(f"no identities in {where}: the training images are unlabelled, and all that needs no labels "
                     f"runs (--meta_identities 0). If one of the {those} is the person: --person {which}")
    if frame["camera_id"].nunique() < 2:
        lines.append(f"no cameras in {where}: all images count as one camera, so nothing can be ranked across "
                     f"cameras. If one of the {those} is the camera: --camera {which}")
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
