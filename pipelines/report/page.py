"""The page: every section that can be made, and why the others cannot."""
import logging
import time
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from mprd_pyg.files import replacing
from pipelines.report.blocks import Section, Text
from pipelines.report.gaps import gaps
from pipelines.report.missing import Missing, NotApplicable
from pipelines.runs.run import Run

logger = logging.getLogger(__name__)
LIMIT = 8_000_000  # bytes


def builders(pipeline: str) -> list[tuple[str, Callable[[Run], Section]]]:
    """The parts of a pipeline's report in order; a new one is a line here."""
    # Slow to import: only what a report needs.
    from pipelines.report.cameras import cameras
    from pipelines.report.curves import curves
    from pipelines.report.embedding import embedding
    from pipelines.report.groups import groups
    from pipelines.report.importance import importance
    from pipelines.report.links import links
    from pipelines.report.pairs import pair_quality
    from pipelines.report.patches import patches
    from pipelines.report.rankings import rankings
    from pipelines.report.subgraphs import wrong_pairs
    from pipelines.report.summary import metrics, what_was_run

    if pipeline == "link_prediction":
        return [("Metrics", metrics), ("Links", links), ("Deciding statistics", importance), ("Curves", curves),
                ("Groups", groups), ("What was run", what_was_run)]
    return [("Metrics", metrics), ("Ranking lists", rankings), ("Curves", curves), ("Believed pairs", pair_quality),
            ("Groups", groups), ("Wrongly believed pairs", wrong_pairs), ("Patches", patches),
            ("Map of the features", embedding), ("From camera to camera", cameras), ("What was run", what_was_run)]


def make_report(folder: str | Path, image_root: str | Path | None = None) -> Path:
    """Write ``report.html`` into a run folder, from what is there.

    A part whose data are missing is named at the end of the page with the reason; so is one that fails, which is
    also logged as a warning.

    Args:
        folder: of a finished or unfinished run.
        image_root: folder of the images, when they have moved.

    Returns:
        The page's path; it is at most 8 MB.

    Raises:
        FileNotFoundError: it is no run folder.
        ValueError: what says what was run is damaged.
    """
    run = Run(folder, image_root)
    sections, left_out = [], []
    for title, build in builders(run.pipeline):
        try:
            sections.append(build(run))
        except (Missing, FileNotFoundError) as reason:
            left_out.append((title, str(reason)))
            if not isinstance(reason, NotApplicable):
                sections.append(_empty(title, f"Not here: {reason}."))
        except Exception as error:  # the report comes last: it must not cost the run
            logger.warning("%s of the report could not be made: %s: %s", title, type(error).__name__, error)
            logger.debug("because of", exc_info=True)
            left_out.append((title, f"an error, {type(error).__name__}: {error}"))
            sections.append(_empty(title, f"This part could not be made: {type(error).__name__}: {error}"))
    page = render(run, [*sections, gaps(run, left_out)])
    while len(page.encode()) > LIMIT:
        largest = max(sections, key=lambda section: len(str(section.blocks)))
        largest.blocks = [Text("Left out: the page would have been over 8 MB.")]
        left_out.append((largest.title, "the page would have been over 8 MB"))
        page = render(run, [*sections, gaps(run, left_out)])
    path = run.folder / "report.html"
    with replacing(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def try_report(folder: str | Path) -> Path | None:
    """:func:`make_report`, or None and a warning: a run's results are worth more than their report."""
    try:
        return make_report(folder)
    except Exception as error:
        logger.warning("the report could not be written (%s: %s); try again with: python -m pipelines.report %s",
                       type(error).__name__, error, folder)
        return None


def render(run: Run, sections: list[Section]) -> str:
    """The page as text; everything but the drawings made here is escaped."""
    from pipelines.report.summary import headline, minutes

    seconds = float(run.history["seconds"].sum()) if "seconds" in run.history else 0.0
    environment = Environment(loader=PackageLoader("pipelines.report", "."), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html").render(
        run=run, sections=sections, headline=headline(run), made=time.strftime("%Y-%m-%d %H:%M"),
        epochs=len(run.history), took=minutes(seconds) if seconds else "")


def _empty(title: str, text: str) -> Section:
    return Section(title.lower().replace(" ", "-"), title, "", [Text(text)])
