"""What was run, on what data, how long; and what the figures mean."""
from typing import Any

import yaml

from pipelines.report.blocks import Details, Section, Table, Terms
from pipelines.report.missing import Missing
from pipelines.runs.run import Run

LABELS = {"auc": "AUC", "ap": "AP", "rank1": "rank-1", "rank5": "rank-5", "rank10": "rank-10", "mrr": "MRR",
          "num_valid_queries": "queries counted", "num_skipped_queries": "queries skipped", "draws": "galleries drawn"}
DEFINITIONS = {
    "mAP": "mean average precision: a query's average precision is the mean, over its right images, of the share of "
           "right ones among all images down to that rank. 100 means that all right images come first.",
    "mAP_trapz": "the same by the trapezoid rule of the Market-1501 code, a little lower as a rule.",
    "mINP": "mean inverse negative penalty: number of right images divided by the rank of the last one found. It asks "
            "how far one must look to find them all.",
    "rank1": "share of queries whose first image is right.",
    "rank5": "share of queries with a right image among the first 5.",
    "rank10": "share of queries with a right image among the first 10.",
    "num_valid_queries": "queries with a right image in the gallery; averages are over them.",
    "num_skipped_queries": "queries without one, which are left out.",
    "auc": "probability that a true link is scored above a false one; 50 is chance.",
    "ap": "average precision of the pairs ranked by their score.",
    "mrr": "mean reciprocal rank: of each true link among the false ones, 100 where it is scored above all of them.",
}
MODES = {"standard": "gallery images of the query's person and camera are not counted (the Market-1501 rule).",
         "cross": "no gallery image of the query's camera is counted.",
         "leave_one_out": "every image is a query against all others, which all count.",
         "single_shot": "one image per person and camera is drawn as the gallery; mean over the draws ± their standard "
                        "deviation."}


def minutes(seconds: float) -> str:
    """A duration in words."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    hours, rest = divmod(round(seconds / 60), 60)
    return f"{hours} h {rest} min" if hours else f"{seconds / 60:.1f} minutes"


def what_was_run(run: Run) -> Section:
    """The run in a table, the options that differ from the paper, and the whole configuration."""
    seconds = run.history["seconds"].sum() if "seconds" in run.history else 0
    card, epochs = run.record.get("card", {}), len(run.history)
    facts = [("Method", run.title), ("Pairs judged by", run.fact("relation")),
             ("Data", card.get("title") or run.data_name), ("Graph", _graph(run.results.get("graph"))),
             ("Pairs" if run.pipeline == "link_prediction" else "Images", _counts(run.fact("counts", {}))),
             ("Epochs", f"{epochs} of {run.record['epochs']}" if "epochs" in run.record else str(epochs or "")),
             ("Started", run.record.get("started")), ("Training epochs took", minutes(seconds) if seconds else None),
             ("The whole call took", minutes(run.results["seconds"]) if "seconds" in run.results else None),
             ("Device", run.record.get("device")), ("Memory and traffic", _traffic(run)), ("Seed", run.fact("seed")),
             ("Evaluation", run.record.get("protocol"))]
    blocks = [Table(["", ""], [[name, str(value)] for name, value in facts if value not in (None, "")])]
    if run.record.get("changed"):
        rows = [[line["option"], line["value"], line["default"]] for line in run.record["changed"]]
        blocks.append(Table(["option", "this run", "default"], rows,
                            "Options other than the defaults of the code, which are the paper's where it gives one."))
    if run.has("config.yaml"):
        blocks.append(Details("The whole configuration (config.yaml)", run.text("config.yaml")))
    if "versions" in run.results:
        blocks.append(Details("Versions", yaml.safe_dump(run.results["versions"], sort_keys=False)))
    return Section("run", "What was run", "Everything needed to run it again; the folder holds it as files.", blocks)


def metrics(run: Run) -> Section:
    """Figures before and after, with their definitions."""
    after, before = run.results.get("metrics") or last_metrics(run), run.results.get("before", {})
    if not after:
        raise Missing("no metrics were computed" + ("" if run.finished else " yet"))
    if not any(isinstance(value, dict) for value in after.values()):
        after, before = {"": after}, {"": before}
    columns = [(mode, when, figures[mode]) for mode in after
               for when, figures in (("before", before), ("after" if before else "", after)) if figures.get(mode)]
    names = list(dict.fromkeys(name for _, _, figures in columns for name in figures if not name.endswith("_sd")))
    rows = [[LABELS.get(name, name), *(_figure(name, figures) for _, _, figures in columns)]
            for name in names]
    said = "In percent, but for counts." + (" Before: the same network before the first epoch. After: the last epoch, "
                                            "never the best." if before else "")
    heads = [f"{mode} {when}".replace("_", " ").strip() for mode, when, _ in columns]
    blocks = [Table(["", *heads], rows, said, numeric=True)]
    if run.results.get("rows"):
        blocks.append(_rows(run.results["rows"], "Parts of the method alone, trained from the same start; percent."))
    if run.results.get("baselines"):
        own = run.results.get("scorers") or {run.title: after}
        chosen = f" The result is {run.results['result']}." if "result" in run.results else ""
        blocks.append(_rows(own | run.results["baselines"], f"Beside simpler scores; percent.{chosen}"))
    meanings = DEFINITIONS | {name: f"share of true links scored above the {name[5:]} best false ones."
                              for name in names if name.startswith("hits@")}
    blocks.append(Terms([(LABELS.get(name, name), meanings[name]) for name in names if name in meanings]
                        + [(mode.replace("_", " "), MODES[mode]) for mode in after if mode in MODES]))
    if not set(after) & set(MODES):
        return Section("metrics", "How good it is", "The figures of what was kept apart from training.", blocks)
    return Section("metrics", "How well it finds people", (
        "The figures of the test images, whose people were not seen in training." if "query" in run.fact("counts", {})
        else "The figures of the training images themselves, for no others were kept apart."), blocks)


def _rows(rows: dict[str, dict[str, dict[str, float]]], caption: str) -> Table:
    """One line per variant: mAP and rank-1 of people, or all figures of the test links."""
    modes = list(dict.fromkeys(mode for figures in rows.values() for mode in figures if mode != "validation"))
    shown = [(mode, name) for mode in modes
             for name in (("mAP", "rank1") if mode in MODES else next(iter(rows.values())).get(mode, ()))]
    return Table(["", *(f"{LABELS.get(name, name)}, {mode}" for mode, name in shown)],
                 [[row.replace("_", " "), *(_figure(name, figures.get(mode, {})) for mode, name in shown)]
                  for row, figures in rows.items()], caption, numeric=True)


def headline(run: Run) -> list[tuple[str, str, str]]:
    """The figures at the top: name, value after, value before."""
    after, before = run.results.get("metrics") or last_metrics(run), run.results.get("before", {})
    shown = []
    for mode in (*MODES, "test"):
        for name, label in (("mAP", "mAP"), ("rank1", "rank-1"), ("auc", "AUC"), ("ap", "AP")):
            if mode in after and after[mode].get(name) is not None:
                old = before.get(mode, {})
                shown.append((f"{label}, {mode.replace('_', ' ')}", _figure(name, after[mode]),
                              f"{_figure(name, old)} before" if old.get(name) is not None else ""))
    return shown


def last_metrics(run: Run) -> dict[str, dict[str, float]]:
    """The latest metrics in the log, for an unfinished run."""
    found: dict[str, dict[str, float]] = {}
    for column in run.history:
        mode, _, name = column.partition("/")
        values = run.history[column].dropna()
        if mode in MODES and len(values):
            found.setdefault(mode, {})[name] = float(values.iloc[-1])
    return found


def _figure(name: str, figures: dict[str, Any]) -> str:
    """A count, or a percentage with its spread where there is one."""
    value = figures.get(name)
    if value is None:
        return "–"
    if name.startswith("num_") or name == "draws":
        return f"{value:,.0f}"
    return f"{100 * value:.1f}" + (f" ± {100 * figures[f'{name}_sd']:.1f}" if figures.get(f"{name}_sd") else "")


def _traffic(run: Run) -> str:
    """The peak memory of each process and what one sends in a step of each phase."""
    parts = [f"at most {value:,.0f} MB in process {rank}"
             for rank, value in enumerate(run.results.get("peak_memory_mb", [])) if value is not None]
    for name in run.history.filter(like="traffic/"):
        parts.append(f"{run.history[name].iloc[-1] / 1e6:,.1f} MB sent in a step of "
                     f"{name.removeprefix('traffic/').removesuffix('_bytes_per_step')}")
    return "; ".join(parts)


def _graph(graph: dict[str, Any] | None) -> str | None:
    """Its size, and what reading it left out."""
    if not graph or "nodes" not in graph:
        return None
    size = f"{graph['nodes']:,} nodes, {graph['links']:,} links, {graph['features']:,} features per node"
    return "; ".join([size, *(f"{count:,} {what.replace('_', ' ')} left out"
                              for what, count in (graph.get("left_out") or {}).items() if count)])


def _counts(counts: dict[str, Any]) -> str:
    parts = []
    for split, value in counts.items():
        if isinstance(value, dict):
            parts.append(f"{split}: " + ", ".join(f"{number:,} {what}" for what, number in value.items()))
        else:
            parts.append(f"{split}: {value:,}")
    return "; ".join(parts)
