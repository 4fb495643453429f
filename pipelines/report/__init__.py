"""The report of a run: one page that needs nothing but a browser."""
from pipelines.report.page import make_report, try_report

__all__ = ["make_report", "try_report"]
