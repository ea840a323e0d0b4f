"""YOLOv1 (Redmon 2015)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from detkit.backbones import Backbone, as_backbone
from detkit.heads import YOLOv1Head
from detkit.models.single_stage.single_stage_detector import SingleStageDetector
from detkit.preprocess import Letterbox, Preprocess


class YOLOv1(SingleStageDetector):
    """A backbone and fully connected layers that predict a grid of cells (figure 2).

        image -> Letterbox -> backbone -> YOLOv1Head

    Parts are given as callables, as for any `SingleStageDetector`.

    Args:
        backbone: the backbone, such as `detkit.backbones.YOLOv1Backbone`.
        num_classes: classes without background.
        head: called with the backbone's channels and strides and the number of classes.
        preprocess: resizes and pads images to a canvas; None is a `Letterbox` of the one size that the head takes.
        loss_weights: factor of each of ``yolo_box``, ``yolo_obj``, ``yolo_cls``; 1 where not named.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        head: Callable[[list[int], list[int], int], YOLOv1Head] = YOLOv1Head,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        backbone = as_backbone(backbone, self.stages)
        grid = head(backbone.channels, backbone.strides, num_classes)
        side = grid.side * backbone.strides[-1]
        super().__init__(backbone, num_classes, None, grid, preprocess or Letterbox((side, side)), loss_weights)
