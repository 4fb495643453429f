"""A paper's table or sweep as a short YAML file: rows of options, and the published figures."""
import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mprd_pyg.bounded_yaml import read_yaml

PIPELINES = ("mprd", "paul", "patch_mprd")
METRICS = {"rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mAP": "mAP", "mINP": "mINP"}
CARD_TITLES = {"market1501": "Market-1501", "dukemtmc_reid": "DukeMTMC-reID", "msmt17": "MSMT17", "cuhk03": "CUHK03",
               "cuhk01": "CUHK01", "viper": "VIPeR"}
TABLE_KEYS = {"title", "pipeline", "metrics", "rows", "axis", "card_options"}
ROW_KEYS = {"name", "options", "if_known", "direct", "cited", "published"}


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        name: as the paper calls it.
        options: of the pipeline, by dotted name.
        if_known: options that are left out where the pipeline has none of that name.
        direct: the network is ranked as it starts, without training.
        cited: figures of another method, which this project does not run.
        published: card -> figures in percent, in the order of the table's metrics; None where there is none.
        value: place on the axis of a sweep.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    if_known: dict[str, Any] = field(default_factory=dict)
    direct: bool = False
    cited: bool = False
    published: dict[str, list[float | None]] = field(default_factory=dict)
    value: float | None = None

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return re.sub(r"[^\w.+()=-]+", "_", self.name.replace("#", "_sharp")).strip("_")


@dataclass(frozen=True)
class Table:
    """A table or, with ``axis``, a sweep of one option.

    Attributes:
        name: of its file.
        title: shown.
        pipeline: that trains the rows.
        metrics: the paper's columns.
        rows: in the paper's order.
        axis: label of the swept option, or None.
        card_options: card -> options of every row on it.
    """

    name: str
    title: str
    pipeline: str
    metrics: list[str]
    rows: list[Row]
    axis: str | None = None
    card_options: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def cards(self) -> list[str]:
        """Cards that figures are published on."""
        return list(dict.fromkeys(card for row in self.rows for card in row.published))


def shipped_tables() -> list[str]:
    """Names of the tables that come with the package."""
    return sorted(path.stem for path in (Path(__file__).parent.parent / "tables").glob("*.yaml"))


def load_table(name: str) -> Table:
    """A shipped table by its name, or any YAML file of the same form.

    Raises:
        ValueError: an unknown name or key, a row without a name or twice there, figures of the wrong number.
    """
    is_file = name.endswith((".yaml", ".yml"))
    path = Path(name) if is_file else Path(__file__).parent.parent / "tables" / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"no table {name!r}: give a YAML file or one of {', '.join(shipped_tables())}")
    try:
        return _table(path, read_yaml(path))
    except (TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{path}: something other than expected stands in the table ({error}); compare it with a "
                         f"shipped one") from error


def _table(path: Path, content: dict[str, Any]) -> Table:
    _check_keys(path, content, TABLE_KEYS, "the table")
    missing = [key for key in ("title", "pipeline", "metrics") if key not in content]
    if missing or ("rows" in content) == ("axis" in content):
        raise ValueError(f"{path}: a table has title, pipeline, metrics, and either rows or axis; missing: {missing}")
    if content["pipeline"] not in PIPELINES:
        raise ValueError(f"{path}: pipeline is {content['pipeline']!r}; expected one of {', '.join(PIPELINES)}")
    if unknown := [metric for metric in content["metrics"] if metric not in METRICS]:
        raise ValueError(f"{path}: unknown metrics {unknown}; expected some of {', '.join(METRICS)}")
    axis = content.get("axis")
    rows = _swept(path, axis) if axis else [_row(path, entry, len(content["metrics"])) for entry in content["rows"]]
    for names in ([row.name for row in rows], [row.slug for row in rows]):
        if len(set(names)) < len(names):
            raise ValueError(f"{path}: rows need names of their own, found {names}")
    return Table(path.stem, content["title"], content["pipeline"], content["metrics"], rows,
                 axis["label"] if axis else None, content.get("card_options") or {})


def _swept(path: Path, axis: dict[str, Any]) -> list[Row]:
    _check_keys(path, axis, {"option", "label", "values"}, "axis")
    symbol = axis["label"].split()[-1]
    return [Row(f"{symbol} = {value}", options={axis["option"]: value}, value=float(value)) for value in axis["values"]]


def _row(path: Path, entry: dict[str, Any], metrics: int) -> Row:
    _check_keys(path, entry, ROW_KEYS, f"row {entry.get('name')!r}" if isinstance(entry, dict) else "a row")
    if not isinstance(entry.get("name"), str):
        raise ValueError(f"{path}: a row without a name: {entry}")
    for card, figures in (entry.get("published") or {}).items():
        if len(figures) != metrics or any(value is not None and not 0 <= value <= 100 for value in figures):
            raise ValueError(f"{path}: row {entry['name']!r} has {figures} on {card}; expected {metrics} percentages")
    return Row(**entry)


def _check_keys(path: Path, entry: Any, known: set[str], what: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: {what} is {entry!r}; expected keys and values")
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(str(key), sorted(known), n=1, cutoff=0.0)[0]
            raise ValueError(f"{path}: {what} has an unknown key {key!r}; the nearest valid one is {near!r}")
