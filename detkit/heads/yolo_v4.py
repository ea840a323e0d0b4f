"""YOLOv4: boxes learn their CIoU, and objects have several anchors (Bochkovskiy et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from detkit.heads.yolo import Anchors, YOLOHead, flattened
from detkit.heads.yolo_v3 import cross_entropy
from detkit.ops.iou import paired_iou
from detkit.structures import Target

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
    theirs; all anchors above an IoU of shapes learn an object, not the best one alone; a centre can reach the edge of
    its cell; and only predictions that name a class are excused for being close to an object.

    The gradient of the box is that of ``1 - CIoU`` in the network's outputs. darknet's leaves the anchors, the stride
    and the logistic function out of the chain rule and makes up for it by ``iou_normalizer=0.07``.

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        num_classes: classes without background.
        anchors: width and height in pixels of the network's input, for each map its own, finest first.
        scale_x_y: for each map, how far beyond its cell a centre reaches (section 3.4, "eliminate grid sensitivity").
        new_coords: sizes are squares of logistic outputs, at most four times the anchor (Scaled-YOLOv4).
        anchor_iou: anchors with a greater IoU of shapes than this learn an object as well as the best one.
        ignore_iou: predictions closer to an object than this are not background.
        score_threshold: scores must be greater than this.
        nms_threshold: IoU above which the less likely of two boxes of a class is dropped.
        candidates: most boxes of an image that enter suppression.
        detections: most detections of an image.
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
        score_threshold: float = 0.005,
        nms_threshold: float = 0.45,
        candidates: int = 2000,
        detections: int = 100,
    ) -> None:
        super().__init__(
            in_channels, strides, num_classes, anchors, scale_x_y, new_coords,
            score_threshold, nms_threshold, candidates, detections,
        )  # fmt: skip
        self.anchor_iou = anchor_iou
        self.ignore_iou = ignore_iou

    def class_scores(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def losses(
        self, raw: list[Tensor], targets: list[Target], image_sizes: Sequence[tuple[int, int]]
    ) -> dict[str, Tensor]:
        """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: ``1 - CIoU`` of every pair and cross-entropies, per image."""
        outputs, boxes = flattened(raw), self.boxes(raw)
        assigned = self.assign(raw, targets, self.anchor_iou)

        predicted = boxes.flatten(0, 1)[assigned.predictions]
        box = (assigned.valid * (1 - paired_iou(predicted, assigned.boxes, "ciou"))).sum()

        confident = (outputs[..., 5:].detach().amax(dim=-1).sigmoid()) > CONFIDENT
        ignored = self.ignored(boxes.detach(), targets, self.ignore_iou, confident)
        objectness = cross_entropy(outputs[..., 4], assigned.positive.float())
        obj = ((assigned.positive | ~ignored) * objectness).sum()

        logits = outputs.flatten(0, 1)[assigned.predictions, 5:]
        classes = cross_entropy(logits, assigned.class_targets(self.num_classes))
        cls = (assigned.last[:, None] * classes).sum()
        return {name: loss / len(targets) for name, loss in (("yolo_box", box), ("yolo_obj", obj), ("yolo_cls", cls))}
