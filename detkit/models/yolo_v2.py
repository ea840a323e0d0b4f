"""YOLOv2 (Redmon & Farhadi 2016)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from detkit.backbones import Backbone
from detkit.heads import DenseHead, YOLOv2Head
from detkit.models.single_stage import SingleStageDetector
from detkit.necks import Neck, Passthrough
from detkit.preprocess import Letterbox, Preprocess


class YOLOv2(SingleStageDetector):
    """Anchors on one map that sees a finer one as well (section 2, "fine-grained features").

        image -> Letterbox -> trunk -> Passthrough -> YOLOv2Head

    Parts that build on others are given as callables, as for `YOLOv1`.

    Args:
        backbone: the trunk, such as `detkit.backbones.Darknet19`.
        num_classes: classes without background.
        neck: called with the trunk's channels and strides.
        head: called with the neck's channels and strides and the number of classes.
        preprocess: fits images into the canvas.
        loss_weights: factor of each of ``yolo_box``, ``yolo_obj``, ``yolo_cls``; 1 where not named.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        neck: Callable[[list[int], list[int]], Neck] = Passthrough,
        head: Callable[[list[int], list[int], int], DenseHead] = YOLOv2Head,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        maps = neck(backbone.channels, backbone.strides)
        super().__init__(
            num_classes=num_classes,
            preprocess=preprocess or Letterbox((416, 416)),
            backbone=backbone,
            neck=maps,
            head=head(maps.channels, maps.strides, num_classes),
            loss_weights=loss_weights,
        )
