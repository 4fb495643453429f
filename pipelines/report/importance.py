"""Which statistics of a pair decide whether it is taken for a link."""
import pandas as pd

from pipelines.report.blocks import Picture, Pictures, Section
from pipelines.report.drawing import SERIES, panel, svg
from pipelines.report.missing import Missing, NotApplicable
from pipelines.runs.run import Run

BARS = 10


def importance(run: Run) -> Section:
    """The statistics that each classifier would miss most."""
    if run.results.get("statistics") is None or not run.has("importance.parquet"):
        raise NotApplicable("no classifier of statistics was trained")
    table = run.table("importance.parquet")
    pictures = [_bars(name, of_scorer) for name, of_scorer in table.groupby("scorer", sort=False)]
    if not pictures:
        raise Missing("importance.parquet is empty")
    return Section("importance", "Which statistics decide", "AUC that is lost on the validation pairs when one "
                   "statistic is shuffled among them. Statistics that say the same stand in for each other, so each of "
                   "them alone may be missed little.", [Pictures(pictures)])


def deciding_statistics(run: Run) -> list[str]:
    """Names of the statistics, the most important for the run's result first; none where it has none."""
    if not run.has("importance.parquet"):
        return []
    table = run.table("importance.parquet")
    own = table[table["scorer"] == run.results.get("result")]
    lost = (own if len(own) else table).groupby("statistic", sort=False)["auc_lost"].mean()
    return lost.sort_values(ascending=False, kind="stable").index.to_list()


def _bars(scorer: str, table: pd.DataFrame) -> Picture:
    top = table.sort_values("auc_lost", ascending=False, kind="stable").head(BARS)[::-1]
    title = f"{scorer.capitalize()}: AUC lost, in points"
    with panel(3.6, 0.6 + 0.22 * len(top)) as axes:
        axes.barh(top["statistic"].str.replace("_", " "), 100 * top["auc_lost"], color=SERIES[0], height=0.65)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
        return Picture(svg(axes, title), title)
