"""Exported files of every format, run by their runtimes on the CPU."""

from detkit.exporting.runtimes.exported_file import ExportedFile
from detkit.exporting.runtimes.opening import open_exported

__all__ = ["ExportedFile", "open_exported"]
