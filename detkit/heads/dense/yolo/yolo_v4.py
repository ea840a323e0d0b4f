"""YOLOv4: boxes learn their CIoU, and objects have several anchors (Bochkovskiy et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.heads.context import Context
from detkit.heads.dense.yolo.yolo import Anchors, Assigned, YOLOHead, flattened, of_images
from detkit.heads.postprocess import NMS, Postprocess
from detkit.losses import binary_cross_entropy
from detkit.ops.iou import paired_iou

# Of COCO, in pixels at 512 x 512.
COCO_ANCHORS = (
    ((12.0, 16.0), (19.0, 36.0), (40.0, 28.0)),
    ((36.0, 75.0), (76.0, 55.0), (72.0, 146.0)),
    ((142.0, 110.0), (192.0, 243.0), (459.0, 401.0)),
)
CONFIDENT = 0.25  # a class at least so likely makes a prediction near an object no background


class YOLOv4Head(YOLOHead):
    """Predictions relative to anchors, on maps of several scales; an object goes to every anchor shaped like it.

    What is new since YOLOv3: the box as a whole learns its CIoU with the object in place of four numbers learning
    theirs; all anchors above an IoU of shapes learn an object, not the best one alone; a center can reach the edge of
    its cell; and only predictions that name a class are excused for being close to an object.

    The gradient of the box is that of ``1 - CIoU`` in the network's outputs. darknet's leaves the anchors, the stride
    and the logistic function out of the chain rule and makes up for it by ``iou_normalizer=0.07``.

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        num_classes: classes without background.
        anchors: width and height in pixels of the network's input, for each map its own, finest first.
        scale_x_y: for each map, how far beyond its cell a center reaches (section 3.4, "eliminate grid sensitivity").
        new_coords: sizes are squares of logistic outputs, at most four times the anchor (Scaled-YOLOv4).
        anchor_iou: anchors with a greater IoU of shapes than this learn an object as well as the best one.
        ignore_iou: predictions closer to an object than this are not background.
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
        outputs, boxes = flattened(raw), self.boxes(raw)
        assigned = self.pairs(raw, context)

        predicted = boxes.flatten(0, 1)[assigned.predictions]
        box = (assigned.valid * (1 - paired_iou(predicted, assigned.boxes, "ciou"))).sum()

        objectness = binary_cross_entropy(outputs[..., 4], assigned.positive.float())
        obj = ((assigned.positive | ~self.excused(boxes, outputs, context)) * objectness).sum()

        logits = outputs.flatten(0, 1)[assigned.predictions, 5:]
        classes = binary_cross_entropy(logits, assigned.class_targets(self.num_classes))
        cls = (assigned.last[:, None] * classes).sum()
        return of_images(context.truth, box, obj, cls)

    def pairs(self, raw: list[Tensor], context: Context, further_iou: float | None = None) -> Assigned:
        """As of `YOLOHead`, and to every anchor above `anchor_iou` unless another one is given."""
        return super().pairs(raw, context, self.anchor_iou if further_iou is None else further_iou)

    @torch.no_grad()
    def excused(self, boxes: Tensor, outputs: Tensor, context: Context) -> Tensor:
        """Those close to an object that name a class, and those in a crowd."""
        confident = outputs[..., 5:].amax(dim=-1).sigmoid() > CONFIDENT
        return self.ignored(boxes, context.truth, self.ignore_iou, confident)
