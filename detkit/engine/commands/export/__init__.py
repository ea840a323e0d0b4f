"""``detkit export``: a checkpoint as a file for other runtimes."""

from detkit.engine.commands.export.export_command import DESCRIPTION, export_command

__all__ = ["DESCRIPTION", "export_command"]
