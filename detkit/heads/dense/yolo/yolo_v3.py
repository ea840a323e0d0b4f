"""The YOLOv3 head: three scales and independent logistic outputs (Redmon & Farhadi 2018).

B  images     P  predictions of an image     K  classes     M  pairs of an object and a prediction
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from detkit.heads.context import Context
from detkit.heads.dense.yolo.yolo import Anchors, YOLOHead, mean_over_images
from detkit.heads.dense.yolo.yolo_maps import flatten_levels
from detkit.heads.postprocess import NMS, Postprocess
from detkit.losses import binary_cross_entropy

# k-means of COCO's boxes (section 2.3), in pixels at 416 x 416.
COCO_ANCHORS = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)


class YOLOv3Head(YOLOHead):
    """Predictions relative to anchors, on maps of several scales; an object is learned by the best anchor of all maps.

    New since YOLOv2: several scales; objectness is whether there is an object, not the expected IoU; classes are
    independent; the losses of logistic outputs are cross-entropies.

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        num_classes: classes without background.
        anchors: width and height of the anchors of each map, finest first, in pixels of the network's input.
        ignore_iou: predictions with a greater IoU with an object are not background; 0.5 in the paper, 0.7 in its
            configuration files.
        postprocess: as of `YOLOHead`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        anchors: Anchors = COCO_ANCHORS,
        ignore_iou: float = 0.7,
        postprocess: NMS | Postprocess | None = None,
    ) -> None:
        super().__init__(in_channels, strides, num_classes, anchors, ignore_iou, postprocess=postprocess)

    def class_scores(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def losses(self, raw: list[Tensor], context: Context) -> dict[str, Tensor]:
        """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: cross-entropies, half the squared error of sizes, per image."""
        outputs, assigned = flatten_levels(raw), self.pairs(raw, context)
        responsible = outputs.flatten(0, 1)[assigned.predictions]
        counts = assigned.is_last.float()

        xy = binary_cross_entropy(responsible[:, :2], assigned.xy_offsets).sum(dim=1)
        log_wh = (responsible[:, 2:4] - assigned.log_wh()).square().sum(dim=1) / 2
        box = (counts * assigned.small_box_weights(context) * (xy + log_wh)).sum()

        objectness = binary_cross_entropy(outputs[..., 4], assigned.positive.float())
        obj = ((assigned.positive | ~self.ignore_mask(self.boxes(raw), outputs, context)) * objectness).sum()

        classes = binary_cross_entropy(responsible[:, 5:], assigned.class_targets(self.num_classes))
        cls = (counts[:, None] * classes).sum()
        return mean_over_images(context.objects, box, obj, cls)
