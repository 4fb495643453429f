"""Loss and metric curves."""
import pandas as pd

from pipelines.report.blocks import Picture, Pictures, Section, Text
from pipelines.report.drawing import epoch_chart
from pipelines.report.groups import FIGURES
from pipelines.report.missing import Missing, NotApplicable
from pipelines.runs.run import Run

MEANING = {  # title, what to see
    "gcn/loss": ("Loss of the GCN", "Cross-entropy (MPRD Eq. 6). At 0 it may have memorised its few labelled people."),
    "gcn/eta": ("Weight of the labelled pairs", "MPRD Eq. 10; it falls as more pairs are believed."),
    "cnn/loss": ("Loss of the network", "MPRD's is on believed pairs and hard negatives (Eq. 2)."),
    "cnn/positives": ("Believed pairs per image", "None, or all neighbours: the relation does not choose."),
    "paul/loss": ("Loss", "Sum of both of PAUL's losses (Eq. 4)."),
    "paul/pedal": ("Patch loss", "PAUL Eq. 2: similar patches attract each other."),
    "paul/ipfl": ("Image loss", "PAUL Eq. 3, on an image, its surrogate and a hard negative."),
    "paul/triplets": ("Valid triplets", "Share of images for which cyclic ranking found a negative."),
    "paul/positives": ("Similar patches per patch", ""),
    "source/loss": ("Loss", "Cross-entropy over the labelled identities."),
    "source/accuracy": ("Accuracy in training", "Share of images given their own identity. Near 1, nothing is left to "
                        "learn there."),
    "links/loss": ("Loss", "Cross-entropy of the training pairs."),
    "validation/loss": ("Loss of the validation pairs", "The weights of its lowest point are the result."),
    "validation/auc": ("AUC of the validation pairs", ""),
    "validation/ap": ("Average precision of the validation pairs", ""),
    "gamma": ("Weight of the new feature", "In the memory (MPRD Eq. 1)."),
    "lr": ("Learning rate of the trunk", ""),
    "knn/capped": ("Neighbour lists cut", "Nodes with more than k_max neighbours."),
}
ELSEWHERE = ("epoch", "seconds", "pairs/", "standard/", "cross/", "leave_one_out/", "single_shot/", "memory/",
             "traffic/")
METRICS = (("mAP", "mAP"), ("rank1", "rank-1"), ("mINP", "mINP"))


def curves(run: Run) -> Section:
    """One small chart per figure of the log."""
    history = run.history.fillna({"knn/capped": 0})
    if not len(history):
        if run.finished:
            raise NotApplicable("nothing was trained in epochs")
        raise Missing("no epoch is finished yet")
    pictures = [picture for name, label in METRICS if (picture := _metric(run, name, label)) is not None]
    rest = [name for name in history if not name.startswith(ELSEWHERE) and name.rpartition("/")[2] not in FIGURES
            and pd.api.types.is_numeric_dtype(history[name])]
    constant = [name for name in rest if history[name].nunique() < 2]
    pictures += [_column(history, name) for name in rest if name not in constant]
    blocks = [Pictures(pictures)]
    if constant:
        blocks.append(Text(("In the one epoch: " if len(history) == 1 else "The same in every epoch: ") + ", ".join(
            f"{MEANING.get(name, (name,))[0].lower()} {history[name].iloc[-1]:g}" for name in constant) + "."))
    source = run.source_history
    if len(source):
        blocks += [Text("Before that, the network learned the labelled source:"), Pictures([
            _column(source, name) for name in source if not name.startswith(ELSEWHERE)])]
    return Section("curves", "How it learned", "Each chart is one figure over the epochs; losses are means over the "
                   "steps of an epoch.", blocks)


def _metric(run: Run, name: str, label: str) -> Picture | None:
    """All modes, the network before training being epoch 0."""
    series = {}
    for mode in ("standard", "cross", "leave_one_out", "single_shot"):
        if f"{mode}/{name}" in run.history:
            before = {0: run.results.get("before", {}).get(mode, {}).get(name)}
            values = run.history.set_index("epoch")[f"{mode}/{name}"]
            series[mode] = 100 * pd.concat([pd.Series(before, dtype=float), values]).dropna()
    if not series:
        return None
    return epoch_chart(f"{label} of the test images, percent", series, "Epoch 0 is the network before training." +
                       (" A curve that falls at the end learns its own mistakes." if name == "mAP" else ""))


def _column(history: pd.DataFrame, name: str) -> Picture:
    title, meaning = MEANING.get(name, (name, ""))
    return epoch_chart(title, {name: history.set_index("epoch")[name]}, f"{name}. {meaning}" if name in MEANING else "")
