"""YOLOv2: anchors, softmax classes, and a squared error of logistic outputs (Redmon & Farhadi 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.heads.yolo import Anchors, Assigned, YOLOHead, flattened
from detkit.ops.iou import paired_iou
from detkit.structures import Target

# Of VOC, found by k-means (section 2), in pixels: darknet's yolov2-voc.cfg has them in cells of 32.
VOC_ANCHORS = (((42.3, 55.4), (102.2, 128.3), (161.8, 259.2), (303.1, 154.9), (359.6, 320.2)),)


class YOLOv2Head(YOLOHead):
    """Predictions relative to anchors from k-means, on one map.

    What is new since YOLOv1: a class for each box instead of each cell; anchors instead of free sizes, and so one
    prediction is responsible by its shape before it has learned anything; objectness, still the IoU to be expected, is
    excused where a prediction is close to an object; centres cannot leave their cell.

    Args:
        in_channels: channels of the map.
        strides: stride of the map.
        num_classes: classes without background.
        anchors: width and height in pixels of the network's input, of the one map.
        ignore_iou: predictions closer to an object than this are not background.
        object_scale: how much objectness counts where there is an object.
        background_scale: how much it counts where there is none.
        prior_images: for so many training images boxes without an object learn to be their anchors.
        score_threshold: scores must be greater than this.
        nms_threshold: IoU above which the less likely of two boxes of a class is dropped.
        candidates: most boxes of an image that enter suppression.
        detections: most detections of an image.

    Attributes:
        seen: how many images it was trained on, by this process.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        anchors: Anchors = VOC_ANCHORS,
        ignore_iou: float = 0.6,
        object_scale: float = 5.0,
        background_scale: float = 1.0,
        prior_images: int = 12_800,
        score_threshold: float = 0.005,
        nms_threshold: float = 0.45,
        candidates: int = 2000,
        detections: int = 100,
    ) -> None:
        super().__init__(
            in_channels, strides, num_classes, anchors, [1.0] * len(strides), False,
            score_threshold, nms_threshold, candidates, detections,
        )  # fmt: skip
        for conv in self.predict:
            nn.init.zeros_(conv.bias)  # a squared error would hardly move objectness that begins near 0
        self.ignore_iou = ignore_iou
        self.object_scale = object_scale
        self.background_scale = background_scale
        self.prior_images = prior_images
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def class_scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=-1)

    def losses(
        self, raw: list[Tensor], targets: list[Target], image_sizes: Sequence[tuple[int, int]]
    ) -> dict[str, Tensor]:
        """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: half the squared errors and the cross-entropy, per image."""
        outputs, assigned = flattened(raw), self.assign(raw, targets)
        boxes = self.boxes(raw).detach()
        responsible = outputs.flatten(0, 1)[assigned.predictions]
        counts = assigned.last.float()

        places, stretches = responsible[:, :2].sigmoid(), responsible[:, 2:4]
        wanted = torch.log(assigned.sizes() / assigned.anchors)
        error = (places - assigned.places).square().sum(dim=1) + (stretches - wanted).square().sum(dim=1)
        height, width = image_sizes[0]
        small = 2 - assigned.sizes().prod(dim=1) / (height * width)  # small boxes count up to twice
        box = (counts * small * error).sum() / 2 + self._prior_loss(outputs, assigned)

        objectness = outputs[..., 4].sigmoid()
        background = ~(assigned.positive | self.ignored(boxes, targets, self.ignore_iou))
        iou = paired_iou(boxes.flatten(0, 1)[assigned.predictions], assigned.boxes)
        found = (responsible[:, 4].sigmoid() - iou).square()
        obj = self.background_scale * (background * objectness.square()).sum() / 2
        obj = obj + self.object_scale * (counts * found).sum() / 2

        cls = (counts * F.cross_entropy(responsible[:, 5:], assigned.labels, reduction="none")).sum()
        return {name: loss / len(targets) for name, loss in (("yolo_box", box), ("yolo_obj", obj), ("yolo_cls", cls))}

    def _prior_loss(self, outputs: Tensor, assigned: Assigned) -> Tensor:
        early = 0.01 * (self.seen < self.prior_images)
        if self.training:
            self.seen += len(outputs)
        error = (outputs[..., :2].sigmoid() - 0.5).square() + outputs[..., 2:4].square()
        return early * (~assigned.positive * error.sum(dim=-1)).sum() / 2
