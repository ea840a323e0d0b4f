"""``detkit anchors``: anchors of a recipe for the boxes of a data set."""

from detkit.engine.commands.anchors.anchors_command import DESCRIPTION, anchors_command

__all__ = ["DESCRIPTION", "anchors_command"]
