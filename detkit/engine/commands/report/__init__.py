"""``detkit report``: a run as one HTML page."""

from detkit.engine.commands.report.report_command import DESCRIPTION, report_command

__all__ = ["DESCRIPTION", "report_command"]
