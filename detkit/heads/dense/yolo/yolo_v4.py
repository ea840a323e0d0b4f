"""The YOLOv4 head: CIoU loss and several anchors for each object (Bochkovskiy et al. 2020).

B  images     P  predictions of an image     K  classes     M  pairs of an object and a prediction
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.heads.context import Context
from detkit.heads.dense.yolo.assigned_pairs import Assigned
from detkit.heads.dense.yolo.yolo import Anchors, YOLOHead, mean_over_images
from detkit.heads.dense.yolo.yolo_maps import flatten_levels
from detkit.heads.postprocess import NMS, Postprocess
from detkit.losses import binary_cross_entropy
from detkit.ops.iou import paired_iou

# Of COCO, in pixels at 512 x 512.
COCO_ANCHORS = (
    ((12.0, 16.0), (19.0, 36.0), (40.0, 28.0)),
    ((36.0, 75.0), (76.0, 55.0), (72.0, 146.0)),
    ((142.0, 110.0), (192.0, 243.0), (459.0, 401.0)),
)
CONFIDENT = 0.25  # a prediction near an object is not background if a class is more likely than this


class YOLOv4Head(YOLOHead):
    """Predictions relative to anchors, on maps of several scales; an object is learned by every anchor shaped like it.

    New since YOLOv3: boxes learn the CIoU with their object instead of four separate coordinates; all anchors above an
    IoU of shapes learn an object, not only the best one; centers can reach the edge of their cell; of predictions close
    to an object, only those that are confident of a class are not background.

    The gradient is that of ``1 - CIoU`` with respect to the network's outputs. darknet's leaves the anchors, the stride
    and the logistic function out of the chain rule, and compensates by ``iou_normalizer=0.07``.

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        num_classes: classes without background.
        anchors: width and height of the anchors of each map, finest first, in pixels of the network's input.
        scale_x_y: for each map, how far a center reaches beyond its cell (section 3.4, "eliminate grid sensitivity").
        new_coords: sizes are squares of logistic outputs, at most four times the anchor (Scaled-YOLOv4).
        anchor_iou: anchors with a greater IoU of shapes than this learn an object, in addition to the best one.
        ignore_iou: predictions with a greater IoU with an object are not background.
        postprocess: as of `YOLOHead`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        anchors: Anchors = COCO_ANCHORS,
        scale_x_y: Sequence[float] = (1.2, 1.1, 1.05),
        new_coords: bool = False,
        anchor_iou: float = 0.213,
        ignore_iou: float = 0.7,
        postprocess: NMS | Postprocess | None = None,
    ) -> None:
        super().__init__(
            in_channels, strides, num_classes, anchors, ignore_iou, scale_x_y, new_coords, postprocess
        )  # fmt: skip
        self.anchor_iou = anchor_iou

    def class_scores(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def losses(self, raw: list[Tensor], context: Context) -> dict[str, Tensor]:
        """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: ``1 - CIoU`` of every pair and cross-entropies, per image."""
        outputs, boxes = flatten_levels(raw), self.boxes(raw)
        assigned = self.pairs(raw, context)

        predicted = boxes.flatten(0, 1)[assigned.predictions]
        box = (assigned.valid * (1 - paired_iou(predicted, assigned.boxes, "ciou"))).sum()

        objectness = binary_cross_entropy(outputs[..., 4], assigned.positive.float())
        obj = ((assigned.positive | ~self.ignore_mask(boxes, outputs, context)) * objectness).sum()

        logits = outputs.flatten(0, 1)[assigned.predictions, 5:]
        classes = binary_cross_entropy(logits, assigned.class_targets(self.num_classes))
        cls = (assigned.is_last[:, None] * classes).sum()
        return mean_over_images(context.objects, box, obj, cls)

    def pairs(self, raw: list[Tensor], context: Context, extra_anchor_iou: float | None = None) -> Assigned:
        """As of `YOLOHead`; `extra_anchor_iou` is the head's `anchor_iou` by default."""
        return super().pairs(raw, context, self.anchor_iou if extra_anchor_iou is None else extra_anchor_iou)

    @torch.no_grad()
    def ignore_mask(self, boxes: Tensor, outputs: Tensor, context: Context) -> Tensor:
        """Predictions close to an object that are confident of a class, and those in a crowd."""
        confident = outputs[..., 5:].amax(dim=-1).sigmoid() > CONFIDENT
        return self._ignored(boxes, context.objects, self.ignore_iou, confident)
