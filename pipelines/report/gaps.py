"""Everything that was skipped, missing or replaced."""
from pathlib import Path

from pipelines.report.blocks import Section, Table, Text
from pipelines.runs.run import Run


def gaps(run: Run, left_out: list[tuple[str, str]]) -> Section:
    """A line per thing.

    Args:
        run: the run.
        left_out: titles of the report's parts that were not made, each with the reason.
    """
    rows = [] if run.finished else [
        ["unfinished", f"{len(run.history)} epochs are done; go on with --resume {run.folder.name}"]]
    if run.record.get("generated"):
        rows.append(["replaced", "the data are pedestrians drawn by this program: figures on them say that the "
                     "program works, not how well it does on people"])
    rows += [["missing", str(line)] for line in run.fact("missing", [])]
    style = run.results.get("camera_style") or {}
    if style.get("used") == "none":
        rows.append(["missing", f"camera style: no image was seen in another camera's style ({style.get('why', '')})"])
    elif style.get("used") == "statistics":
        rows.append(["replaced", "colour statistics of the cameras stand in for CamStyle's images "
                     f"({style.get('why', '')})"])
    for option in run.record.get("changed", []):
        if option["option"].endswith("network.weights") or option["option"].endswith("init_args.weights"):
            said = {"None": "a random start of the trunk stands in for ImageNet weights"}
            rows.append(["replaced", said.get(
                option["value"], f"the trunk's weights are of {Path(option['value']).name}")])
    data = run.results.get("data", {})
    rows += [["data", str(line)] for line in run.record.get("deviations", data.get("deviations", []))]
    rows += [["skipped", f"{name}: not readable"]
             for name in run.record.get("skipped_images", data.get("skipped_images", []))[:20]]
    rows += [["skipped", f"{count:,} junk images of split {split!r}, by the data card's rule"]
             for split, count in run.record.get("junk", {}).items() if count]
    for mode, figures in (run.results.get("metrics") or {}).items():
        if isinstance(figures, dict) and figures.get("num_skipped_queries"):
            rows.append(["skipped", f"{figures['num_skipped_queries']:,} queries without a match ({mode})"])
    unknown = (run.results.get("pairs") or {}).get("unknown")
    if unknown:
        rows.append(["skipped", f"{unknown:,} believed pairs of unknown identity, which cannot be checked"])
    if "knn/capped" in run.history and run.history["knn/capped"].sum():
        rows.append(["cut", f"the neighbour lists of {run.history['knn/capped'].sum():,.0f} nodes (all epochs), at "
                     "knn.k_max"])
    rows += [["trap", str(line)] for line in run.record.get("card", {}).get("traps", [])]
    rows += [["left out", f"{title}: {why}"] for title, why in left_out]
    blocks = [Table(["", ""], rows)] if rows else [Text("Nothing was.")]
    return Section("gaps", "Skipped, missing or replaced", "Read this before you quote a figure.", blocks)
