"""Panoptic segmentation: a class and an instance for each pixel."""

from __future__ import annotations

from detkit.structures import PanopticMap
from detkit.tasks.task import Task


class Panoptic(Task):
    """The objects and the stuff of an image, each pixel once."""

    name = "panoptic segmentation"
    answer = PanopticMap
