"""``detkit compare``: whether two models differ on the same images."""

from detkit.engine.commands.compare.compare_command import DESCRIPTION, compare_command

__all__ = ["DESCRIPTION", "compare_command"]
