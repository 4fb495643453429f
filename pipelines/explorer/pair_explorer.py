"""The widget: pairs of a run to filter, walk through and name, in JupyterLab, VS Code and Colab."""
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mprd_pyg.drawing.pair_scene import pair_scene
from mprd_pyg.relations import (
    VERDICTS,
    ConnectedComponents,
    ConstrainedGroups,
    GroupFinder,
    Statement,
    append_statements,
    constraints_of,
    correct,
    informative_pairs,
    read_statements,
)
from pipelines.explorer.explored_run import SHOWN, ExploredRun
from pipelines.runs.run import Run
from pipelines.runs.run_folder import CONSTRAINTS

try:
    import anywidget
    import traitlets
except ImportError as error:
    raise ImportError("PairExplorer needs anywidget, which is not installed: pip install 'mprd-pyg[explorer]'"
                      ) from error

PAGE, QUESTIONS = 40, 60  # pairs listed; of those, questions that are worked out at a time
ORDERS = ("most informative", "most likely", "least likely")
TRUTHS = ("any", "true", "false", "unknown")
HERE = Path(__file__).parent


class PairExplorer(anywidget.AnyWidget):
    """Look through the judged pairs of a run and say of each whether it is the same, different, or unsure.

    What is said is appended to ``constraints.csv`` in the run folder at once, and is there when the explorer is opened
    again; ``--constraints`` feeds it to training. The most informative pairs come first: those whose answers
    would correct the groups of the believed pairs most (:func:`informative_pairs`), then the other pairs, the ones
    nearest to the decision first. What follows from what was said is not asked.

    Args:
        run: a :class:`Run` or its folder.
        constraints: another file to read and append to.
        finder: makes groups from the believed pairs.

    Raises:
        FileNotFoundError, ValueError: see :class:`Run` and :func:`read_constraints`.

    Example::

        PairExplorer("runs/market")     # the last line of a cell
    """

    _esm = HERE / "explorer.js"
    _css = HERE / "explorer.css"

    about = traitlets.Dict().tag(sync=True)     # what can be chosen
    filters = traitlets.Dict().tag(sync=True)   # what is chosen
    listed = traitlets.List().tag(sync=True)    # the first pairs that pass
    total = traitlets.Int().tag(sync=True)      # how many pass
    shown = traitlets.Dict().tag(sync=True)     # the pair looked at
    said = traitlets.Dict().tag(sync=True)      # how often which verdict was given
    message = traitlets.Unicode().tag(sync=True)

    def __init__(self, run: Run | str | Path, constraints: str | Path | None = None,
                 finder: GroupFinder | None = None, **options: Any):
        self.run = run if isinstance(run, Run) else Run(run)
        self.explored, self.finder = ExploredRun(self.run), finder or ConnectedComponents()
        self.file = self.run.folder / CONSTRAINTS if constraints is None else Path(constraints)
        self._row = {path: row for row, path in enumerate(self.explored.paths)}
        self._tracklet = torch.from_numpy(self.run.images["tracklet"].to_numpy(np.int64)[:self.explored.rows]) \
            if "tracklet" in self.run.images else None
        self._walked: list[tuple[int, int]] = []
        self._read()
        cameras = sorted(set(self.explored.camera.tolist()))
        pairs = [f"{a} – {b}" for number, a in enumerate(cameras) for b in cameras[number:]]
        epochs = self.run.epochs
        super().__init__(
            about={"name": self.run.name, "file": str(self.file), "epochs": epochs, "truths": list(TRUTHS),
                   "cameras": ["any", "same", "across", *pairs], "orders": list(ORDERS), "verdicts": list(VERDICTS)},
            filters={"likelihood": [0.0, 1.0], "truth": "any", "cameras": "any", "epoch": epochs[-1],
                     "order": ORDERS[0]}, **options)
        self.on_msg(self._receive)
        self._list()
        self._show_first()

    # -- what is listed ------------------------------------------------------------------------------------------

    def pairs(self) -> pd.DataFrame:
        """All pairs that pass the filters, in the order chosen; ``gain`` is that of :func:`informative_pairs`."""
        filters, explored = self.filters, self.explored
        table = explored.table(filters["epoch"]).assign(gain=np.nan)
        informative = filters["order"] == ORDERS[0]
        if informative:
            table = self._with_questions(table)
        first, second = (table.index.get_level_values(level).to_numpy() for level in (0, 1))
        low, high = filters["likelihood"]
        keep = table["likelihood"].fillna(0).between(low, high).to_numpy(copy=True)
        if filters["truth"] != "any":
            wanted = {"true": True, "false": False}.get(filters["truth"])
            keep &= (table["truth"].isna() if wanted is None else (table["truth"] == wanted).fillna(False)).to_numpy()
        one, other = explored.camera[first], explored.camera[second]
        if filters["cameras"] in ("same", "across"):
            keep &= (one == other) == (filters["cameras"] == "same")
        elif filters["cameras"] != "any":
            a, b = (int(part) for part in filters["cameras"].split(" – "))
            keep &= (np.minimum(one, other) == min(a, b)) & (np.maximum(one, other) == max(a, b))
        if informative:
            ends = torch.from_numpy(np.stack([first, second]).astype(np.int64))
            keep &= ~(self.constraints.same(ends) | self.constraints.different(ends)).numpy()
            keep &= [pair not in self._verdict for pair in zip(first.tolist(), second.tolist(), strict=True)]
            near = (table["likelihood"].fillna(0) - decision(explored.table(filters["epoch"]))).abs()
            return table.assign(near=near)[keep].sort_values(
                ["gain", "near"], ascending=[False, True], kind="stable").drop(columns="near")
        return table[keep].sort_values("likelihood", ascending=filters["order"] == ORDERS[2], kind="stable")

    def _with_questions(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with the gain of the best questions, which may be pairs that were not judged."""
        judged = correct(self.explored.as_data(self.filters["epoch"]), self.constraints,
                         torch.arange(self.explored.rows))
        group = ConstrainedGroups(self.finder, self.constraints)(judged)
        asked = informative_pairs(judged, group, self.constraints, QUESTIONS)
        ends = asked.pairs.sort(dim=0).values
        index = pd.MultiIndex.from_arrays(ends.numpy(), names=table.index.names)
        gain = pd.Series(asked.gain.numpy(), index).groupby(level=[0, 1]).max()
        table = table.reindex(table.index.union(gain.index, sort=False))
        table["gain"] = gain.reindex(table.index)
        lacking = table["likelihood"].isna()
        table.loc[lacking, "truth"] = pd.array([self.explored.truth(*pair) for pair in table.index[lacking]], "boolean")
        return table

    def _list(self) -> None:
        pairs = self.pairs()
        self.total = len(pairs)
        self.listed = [self._line(pair, line) for pair, line in zip(
            pairs.index[:PAGE].tolist(), pairs.head(PAGE).itertuples(index=False), strict=True)]

    def _line(self, pair: tuple[int, int], line: Any) -> dict[str, Any]:
        camera = self.explored.camera
        return {"pair": list(pair), "likelihood": _number(line.likelihood), "gain": _number(line.gain),
                "believed": bool(line.believed) if not pd.isna(line.believed) else False, "truth": _truth(line.truth),
                "cameras": [int(camera[row]) for row in pair], "said": self._known(pair),
                "images": [self.explored.thumbnail(row) for row in pair]}

    def _known(self, pair: tuple[int, int]) -> str:
        """What was said of a pair, or what follows, in brackets; empty for neither."""
        if pair in self._verdict:
            return self._verdict[pair]
        ends = torch.tensor(pair).reshape(2, 1)
        return "(same)" if self.constraints.same(ends) else "(different)" if self.constraints.different(ends) else ""

    # -- what is shown -------------------------------------------------------------------------------------------

    def show(self, first: int, second: int) -> None:
        """Show a pair of rows, in the chosen epoch."""
        pair, explored, epoch = tuple(sorted((first, second))), self.explored, self.filters["epoch"]
        if not 0 <= pair[0] < pair[1] < explored.rows:
            raise ValueError(f"a pair is of two different rows 0 ... {explored.rows - 1}, got {first} and {second}")
        data, values, graph = explored.subgraph(*pair, epoch)
        root = [int(data.n_id[place]) for place in data.root_index.flatten()]
        scene = pair_scene(data, explored.thumbnail, explored.aspect(root[0]))
        table = explored.table(epoch)
        line = table.loc[pair] if pair in table.index else None
        truth = explored.truth(*pair)
        typical = explored.typical(epoch)
        names = [] if values is None else [name for name in SHOWN if name in values.index]
        self.shown = {
            **scene, "pair": list(pair), "paths": [explored.paths[row] for row in root], "graph": graph, "truth": truth,
            "likelihood": None if line is None else _number(line["likelihood"]),
            "believed": False if line is None else bool(line["believed"]),
            "similarity": None if line is None else _number(line["similarity"]), "said": self._known(pair),
            "kinds": list(typical.columns), "can_go_back": bool(self._walked),
            "statistics": [[name.replace("_", " "), _number(values[name]),
                            *(_number(typical[kind].get(name)) for kind in typical)] for name in names]}

    def say(self, verdict: str, first: int | None = None, second: int | None = None) -> None:
        """Say what a pair is, the shown one by default; kept in the file before this returns.

        Raises:
            ValueError: earlier statements imply the opposite, or it is no verdict.
        """
        pair = tuple(self.shown["pair"]) if first is None else tuple(sorted((first, second)))
        if verdict not in VERDICTS:
            raise ValueError(f"one of {', '.join(VERDICTS)} can be said, got {verdict!r}")
        self._read()  # somebody else may have written meanwhile
        path, other = (self.explored.paths[row] for row in pair)
        before = [one for one in self._statements if {one.path, one.other} != {path, other}]
        new = Statement(path, other, verdict, 2 + max((one.line for one in self._statements), default=0))
        try:
            constraints_of([*before, new], self.explored.paths, self._tracklet, self.file)
        except ValueError as error:
            raise ValueError(f"not kept: {error}") from error
        taken_back = [(path, other, "unsure")] if self._verdict.get(pair, "unsure") not in ("unsure", verdict) else []
        append_statements(self.file, [*taken_back, new[:3]])
        self._read()

    def _read(self) -> None:
        """What the file says now."""
        self._statements = read_statements(self.file) if self.file.is_file() else []
        self.constraints = constraints_of(self._statements, self.explored.paths, self._tracklet, self.file)
        self._verdict = {tuple(sorted((self._row[one.path], self._row[one.other]))): one.verdict
                         for one in self._statements}
        self.said = {verdict: list(self._verdict.values()).count(verdict) for verdict in VERDICTS}

    # -- what the page asks for ----------------------------------------------------------------------------------

    @traitlets.observe("filters")
    def _filtered(self, change: dict[str, Any]) -> None:
        if self.about and change["old"]:
            self._answer(self._list)
            self._answer(self._show_first)

    def _show_first(self) -> None:
        self._walked.clear()
        if self.listed:
            self.show(*self.listed[0]["pair"])

    def _receive(self, _: Any, content: dict[str, Any], buffers: list) -> None:
        actions = {"show": self._show_listed, "walk": self._walk, "back": self._back, "say": self._say_and_go_on}
        action = actions.get(content.get("do"))
        if action is not None:
            self._answer(action, *content.get("with", []))

    def _answer(self, action: Any, *arguments: Any) -> None:
        """Do it; what is wrong is shown on the page, in one line."""
        self.message = ""
        try:
            action(*arguments)
        except (ValueError, OSError, TypeError, KeyError) as error:
            self.message = " ".join(str(error).split())

    def _show_listed(self, first: int, second: int) -> None:
        self._walked.clear()
        self.show(first, second)

    def _walk(self, first: int, second: int) -> None:
        self._walked.append(tuple(self.shown["pair"]))
        self.show(first, second)

    def _back(self) -> None:
        if self._walked:
            self.show(*self._walked.pop())

    def _say_and_go_on(self, verdict: str) -> None:
        """Keep it, then show the next of the list."""
        before = [line["pair"] for line in self.listed]
        place = before.index(self.shown["pair"]) if self.shown["pair"] in before else -1
        self.say(verdict)
        self._list()
        if self.filters["order"] == ORDERS[0] or place < 0:
            self._show_first()
        elif place + 1 < len(before):
            self.show(*before[place + 1])
        else:
            self.show(*self.shown["pair"])


def decision(table: pd.DataFrame) -> float:
    """Between the least likelihood believed and the largest not believed; the one that there is, else 0.5."""
    ends = [table["likelihood"][table["believed"]].min(), table["likelihood"][~table["believed"]].max()]
    known = [end for end in ends if not pd.isna(end)]
    return float(np.mean(known)) if known else 0.5


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _truth(value: Any) -> bool | None:
    return None if pd.isna(value) else bool(value)
