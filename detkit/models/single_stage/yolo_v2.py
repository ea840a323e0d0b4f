"""YOLOv2 (Redmon & Farhadi 2016)."""

from __future__ import annotations

from collections.abc import Mapping

from detkit.backbones import Backbone
from detkit.heads import YOLOv2Head
from detkit.models.single_stage.single_stage_detector import MakeHead, MakeNeck, SingleStageDetector
from detkit.necks import Passthrough
from detkit.preprocess import Letterbox, Preprocess


class YOLOv2(SingleStageDetector):
    """Anchors on one map, to which a finer one is concatenated (section 2, "fine-grained features").

        image -> Letterbox -> backbone -> Passthrough -> YOLOv2Head

    Parts are given as callables, as for any `SingleStageDetector`.

    Args:
        backbone: the backbone, such as `detkit.backbones.Darknet19`.
        num_classes: classes without background.
        neck: called with the backbone's channels and strides.
        head: called with the neck's channels and strides and the number of classes.
        preprocess: resizes and pads images to a canvas; None is ``Letterbox((416, 416))``.
        loss_weights: factor of each of ``yolo_box``, ``yolo_obj``, ``yolo_cls``; 1 where not named.
    """

    stages = (4, 5)

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        neck: MakeNeck = Passthrough,
        head: MakeHead = YOLOv2Head,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, neck, head, preprocess or Letterbox((416, 416)), loss_weights)
