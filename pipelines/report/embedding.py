"""t-SNE of test features, before and after training (MPRD Fig. 5)."""
import numpy as np
from matplotlib import colormaps

from pipelines.report.blocks import Picture, Pictures, Section, Table
from pipelines.report.drawing import panel, svg
from pipelines.report.missing import Missing, latest_evaluation
from pipelines.runs.run import Run

PEOPLE, IMAGES = 20, 1000  # more colours cannot be told apart; more points take too long


def embedding(run: Run) -> Section:
    """Maps by identity, and by camera where there are several, before and after."""
    latest_evaluation(run)
    pictures, rows = [], []
    cameras = len(np.unique(run.features(run.evaluations[0])["camera_id"])) > 1
    for when in run.evaluations:
        data = run.features(when)
        x = data["features"].astype(np.float32)
        x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
        person, camera = data["person_id"], data["camera_id"]
        chosen = shown_people(person)
        if len(chosen) < 5:
            raise Missing(f"only {len(chosen)} test images with known identities: too few for a map")
        place = project(x[chosen])
        pictures.append(_map(place, person[chosen], "person", when))
        pictures += [_map(place, camera[chosen], "camera", when)] if cameras else []
        nearest = nearest_row(x)
        labels = (person, camera) if cameras else (person,)
        rows.append([when, *(f"{100 * np.mean(label[nearest] == label):.1f}" for label in labels),
                     *(f"{100 * chance(label):.1f}" for label in labels)])
    names = len(np.unique(person[chosen]))
    heads = [f"{how}{what}" for how in ("same ", "by chance: ") for what in ("person", "camera")[:1 + cameras]]
    mixed = ", and all colours mixed by camera" * cameras
    telling = " Far more same cameras than by chance means that the features tell the camera rather than the " \
        "person." * cameras
    return Section("embedding", "How the features lie", f"t-SNE of {len(chosen)} test images of {names} people: near "
                   "points have similar features; distances between far groups mean nothing. Good features give one "
                   f"colour per group by person{mixed}.",
                   [Pictures(sorted(pictures, key=lambda picture: "camera" in picture.title), columns=2), Table(
                       ["nearest image has", *heads], rows, f"Percent, among {len(x):,} test images.{telling}",
                       numeric=True)])


def shown_people(person: np.ndarray) -> np.ndarray:
    """Rows of the identities with the most images."""
    names, count = np.unique(person, return_counts=True)
    return np.flatnonzero(np.isin(person, names[np.argsort(-count, kind="stable")[:PEOPLE]]))[:IMAGES]


def project(x: np.ndarray) -> np.ndarray:
    """t-SNE of unit features (n, d) -> (n, 2), on one thread, always alike."""
    from sklearn.decomposition import PCA  # slow to import
    from sklearn.manifold import TSNE

    reduced = PCA(min(50, *x.shape), random_state=0).fit_transform(x)
    perplexity = min(30.0, (len(x) - 1) / 3)
    return TSNE(init="pca", perplexity=perplexity, random_state=0, n_jobs=1).fit_transform(reduced)


def nearest_row(x: np.ndarray) -> np.ndarray:
    """For each unit feature the most similar other one; (n, n) similarities of at most a thousand images."""
    similarity = x @ x.T
    np.fill_diagonal(similarity, -np.inf)
    return similarity.argmax(1)


def chance(label: np.ndarray) -> float:
    """How often another image drawn at random has the same label."""
    count = np.unique(label, return_counts=True)[1]
    return float((count * (count - 1)).sum() / max(len(label) * (len(label) - 1), 1))


def _map(place: np.ndarray, label: np.ndarray, what: str, when: str) -> Picture:
    names, number = np.unique(label, return_inverse=True)
    colours = colormaps["tab10"].colors
    title = f"{when.capitalize()} training, coloured by {what}"
    with panel(3.6, 3.3) as axes:
        axes.grid(False)
        for i, name in enumerate(names):
            axes.scatter(*place[number == i].T, s=14, color=[colours[i % 10]], marker="o^sD*"[i // 10 % 5],
                         linewidths=0, label=f"{name}")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
        if what == "camera" and len(names) <= 10:
            axes.legend(title="camera", loc="upper center", bbox_to_anchor=(0.5, 0), ncols=min(len(names), 6),
                        handletextpad=0.1, columnspacing=1)
        return Picture(svg(axes, title), title)
