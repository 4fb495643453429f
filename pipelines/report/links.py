"""How test links and pairs without a link are told apart, and where the model was sure and wrong."""
import pandas as pd
from sklearn.metrics import roc_curve

from pipelines.report.blocks import Picture, Pictures, Section, Table
from pipelines.report.drawing import SERIES, panel, svg
from pipelines.report.missing import Missing, NotApplicable
from pipelines.runs.run import Run

WORST = 8  # pairs in each list of mistakes


def links(run: Run) -> Section:
    """Likelihoods of both kinds of pairs, ROC curves beside the simple scores, and the clearest mistakes."""
    if run.pipeline != "link_prediction":
        raise NotApplicable
    table = run.table("predictions.parquet")
    test = table[table["part"] == "test"]
    if test["label"].nunique() < 2:
        raise Missing("the test has only one kind of pairs")
    blocks = [Pictures([_likelihoods(test), _roc(run, test)]),
              *(_mistakes(test, linked) for linked in (1, 0))]
    return Section("links", "How it decides", "The test pairs: links that were hidden, and as many pairs without one.",
                   blocks)


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
            axes.plot(100 * false, 100 * true, color=colour,
                      label=run.title if name == "likelihood" else name.replace("_", " "))
        axes.set(xlabel="pairs without a link accepted, %", ylabel="links accepted, %")
        axes.legend(loc="lower right")
        return Picture(svg(axes, title), title, "The higher on the left, the better; the area below is the AUC.")


def _mistakes(test: pd.DataFrame, linked: int) -> Table:
    rows = test[test["label"] == linked].sort_values("likelihood", ascending=bool(linked)).head(WORST)
    scores = [name for name in ("common_neighbours", "adamic_adar", "katz") if name in rows]
    return Table(["from", "to", "likelihood", *(name.replace("_", " ") for name in scores)],
                 [[str(row["source"]), str(row["target"]), f"{row['likelihood']:.3f}",
                   *(f"{row[name]:.3g}" for name in scores)] for _, row in rows.iterrows()],
                 "Links that it believed least." if linked else "Pairs without a link that it believed most.",
                 numeric=True)
