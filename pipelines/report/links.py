"""How test links and pairs without a link are told apart, and where the model was sure and wrong."""
import pandas as pd
from sklearn.metrics import roc_curve

from pipelines.report.beside_typical import beside_typical
from pipelines.report.blocks import Picture, Pictures, Section, Table
from pipelines.report.drawing import INK, SERIES, panel, svg
from pipelines.report.importance import deciding_statistics
from pipelines.report.missing import Missing
from pipelines.runs.run import Run

WORST, COLUMNS = 8, 7  # pairs in each list of mistakes, and what is shown of them


def links(run: Run) -> Section:
    """Likelihoods of both kinds of pairs, ROC curves, calibration, and the clearest mistakes with their statistics."""
    table = run.table("predictions.parquet")
    names = deciding_statistics(run)[:COLUMNS] or list(run.results.get("baselines", {}))
    values = run.table("pair_statistics.parquet", names) if run.has("pair_statistics.parquet") else table
    test = table["part"] == "test"
    table, values = table[test], values.loc[test, names]
    if table["label"].nunique() < 2:
        raise Missing("the test has only one kind of pairs")
    pictures = [_likelihoods(table), _roc(run, table)]
    if run.has("calibration.parquet"):
        pictures.append(_calibration(run.table("calibration.parquet")))
    return Section("links", "How it decides", "The test pairs: links that were hidden, and as many pairs without one.",
                   [Pictures(pictures), *(_mistakes(table, values, linked) for linked in (True, False))])


def _likelihoods(test: pd.DataFrame) -> Picture:
    title = "Likelihood of the test pairs"
    with panel() as axes:
        groups = [test.loc[test["label"] == linked, "likelihood"] for linked in (1, 0)]
        axes.hist(groups, bins=20, range=(0, 1), color=SERIES[:2], label=["links", "pairs without a link"])
        axes.set(xlabel="likelihood", ylabel="pairs")
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=2, borderaxespad=0)
        return Picture(svg(axes, title), title, "Two heaps at the ends: it is sure, and right. What lies in the wrong "
                       "heap is listed below.")


def _roc(run: Run, test: pd.DataFrame) -> Picture:
    title = "True against false links (ROC)"
    with panel() as axes:
        for name, colour in zip(("likelihood", *run.results.get("baselines", {})), SERIES, strict=False):
            false, true, _ = roc_curve(test["label"], test[name])
            result = name == "likelihood"
            axes.plot(100 * false, 100 * true, color=colour, lw=2.2 if result else 1.2, zorder=3 if result else 2,
                      label=run.results.get("result", run.title) if result else name.replace("_", " "))
        axes.set(xlabel="pairs without a link accepted, %", ylabel="links accepted, %")
        axes.legend(loc="lower right")
        return Picture(svg(axes, title), title, "The higher on the left, the better; the area below is the AUC.")


def _calibration(table: pd.DataFrame) -> Picture:
    title = "Likelihood against frequency"
    table = table[table["part"] == "test"]
    with panel() as axes:
        axes.plot([0, 100], [0, 100], color=INK, lw=1, ls=(0, (3, 3)))
        for (name, line), colour in zip(table.groupby("scorer", sort=False), SERIES, strict=False):
            line = line.sort_values("bin")
            axes.plot(100 * line["likelihood"], 100 * line["frequency"], color=colour, lw=1.2, label=name)
            axes.scatter(100 * line["likelihood"], 100 * line["frequency"], color=colour, lw=0,
                         s=5 + 60 * line["pairs"] / table["pairs"].max())
        axes.set(xlabel="mean likelihood of the pairs in a bin, %", ylabel="links among them, %")
        axes.legend(loc="upper left")
        return Picture(svg(axes, title), title, "On the broken line a likelihood is what it says. Small dots are "
                       "of few pairs: they stray from it by chance.")


def _mistakes(test: pd.DataFrame, values: pd.DataFrame, linked: bool) -> Table:
    rows = test[test["label"] == linked].sort_values("likelihood", ascending=linked).head(WORST)
    labels = [[str(row.source), str(row.target), f"{row.likelihood:.3f}"] for row in rows.itertuples()]
    return beside_typical(["from", "to", "likelihood"], labels, values.loc[rows.index], values, test["label"] == 1,
                          ("median link", "median non-link"),
                          "Links that it believed least." if linked else "Pairs without a link that it believed most.")
