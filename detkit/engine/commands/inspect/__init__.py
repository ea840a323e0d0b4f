"""``detkit inspect``: what is in a data set, and what is wrong with it."""

from detkit.engine.commands.inspect.inspect_command import DESCRIPTION, inspect_command

__all__ = ["DESCRIPTION", "inspect_command"]
