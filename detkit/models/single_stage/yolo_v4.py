"""YOLOv4 (Bochkovskiy et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping

from detkit.backbones import Backbone
from detkit.heads import YOLOv4Head
from detkit.models.single_stage.single_stage_detector import MakeHead, MakeNeck, SingleStageDetector
from detkit.necks import PAN
from detkit.preprocess import Letterbox, Preprocess


class YOLOv4(SingleStageDetector):
    """CSPDarknet-53, spatial pyramid pooling, path aggregation, and anchors on three scales (section 3.4).

        image -> Letterbox -> backbone -> PAN with SPP -> YOLOv4Head

    Parts are given as callables, as for any `SingleStageDetector`.

    Args:
        backbone: the backbone, such as `detkit.backbones.CSPDarknet53`.
        num_classes: classes without background.
        neck: called with the backbone's channels and strides.
        head: called with the neck's channels and strides and the number of classes.
        preprocess: resizes and pads images to a canvas; None is ``Letterbox((608, 608))``.
        loss_weights: factor of each of ``yolo_box``, ``yolo_obj``, ``yolo_cls``; 1 where not named.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        neck: MakeNeck = PAN,
        head: MakeHead = YOLOv4Head,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, neck, head, preprocess or Letterbox((608, 608)), loss_weights)
