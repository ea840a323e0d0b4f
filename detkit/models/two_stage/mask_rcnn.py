"""Mask R-CNN with a feature pyramid (He 2017)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detkit.backbones import Backbone
from detkit.heads import MaskHead, RegionBranch
from detkit.models.two_stage.faster_rcnn import FasterRCNN


class MaskRCNN(FasterRCNN):
    """Faster R-CNN with a branch that predicts the mask of each detected object.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, as of `FasterRCNN`.
        num_classes: classes without background.
        mask_head: called with a crop's channels and the number of classes.
        branches: further branches, by name, as of `FasterRCNN`.
        arguments: as of `FasterRCNN`.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        mask_head: Callable[[int, int], RegionBranch] = MaskHead,
        branches: Mapping[str, Callable[[int, int], RegionBranch]] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(backbone, num_classes, branches={"mask": mask_head, **(branches or {})}, **arguments)
