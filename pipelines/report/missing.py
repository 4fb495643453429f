"""Why a part of the report is not there, and which evaluation the others show."""
from pipelines.runs.run import Run


class Missing(Exception):  # noqa: N818  (not an error: it is told in the report)
    """Why a part of the report cannot be made; a file that the run lacks (FileNotFoundError) is told alike."""


class NotApplicable(Missing):
    """The part is about something that this run does not have."""


def latest_evaluation(run: Run) -> str:
    """``"after"``, or ``"before"`` where a run was not evaluated since it began; raises Missing without any."""
    for line in run.fact("missing", []):
        if line.startswith("evaluation:"):
            raise NotApplicable(line.removeprefix("evaluation: "))
    if not run.evaluations:
        raise Missing("no evaluation was kept in the run folder" + ("" if run.finished else " yet"))
    return run.evaluations[-1]


def which_network(run: Run) -> str:
    """Of which network the latest evaluation is, a sentence to add; empty for a finished run."""
    if run.finished:
        return ""
    when = "before training" if latest_evaluation(run) == "before" else "at the latest evaluation"
    return f" This is the network {when}: the run is not finished."
