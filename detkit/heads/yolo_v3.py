"""YOLOv3: three scales, and every question a logistic regression of its own (Redmon & Farhadi 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.heads.yolo import Anchors, YOLOHead, flattened
from detkit.structures import Target

# Of COCO, found by k-means (section 2.3), in pixels at 416 x 416.
COCO_ANCHORS = (
    ((10.0, 13.0), (16.0, 30.0), (33.0, 23.0)),
    ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
    ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0)),
)


class YOLOv3Head(YOLOHead):
    """Predictions relative to anchors, on maps of several scales; an object goes to the best anchor of all of them.

    What is new since YOLOv2: the scales; objectness is whether there is an object and no longer the IoU to be
    expected; classes do not exclude each other; errors of logistic outputs are cross-entropies.

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        num_classes: classes without background.
        anchors: width and height in pixels of the network's input, for each map its own, finest first.
        ignore_iou: predictions closer to an object than this are not background; 0.5 in the paper, 0.7 in its files.
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
        ignore_iou: float = 0.7,
        score_threshold: float = 0.005,
        nms_threshold: float = 0.45,
        candidates: int = 2000,
        detections: int = 100,
    ) -> None:
        super().__init__(
            in_channels, strides, num_classes, anchors, [1.0] * len(strides), False,
            score_threshold, nms_threshold, candidates, detections,
        )  # fmt: skip
        self.ignore_iou = ignore_iou

    def class_scores(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def losses(
        self, raw: list[Tensor], targets: list[Target], image_sizes: Sequence[tuple[int, int]]
    ) -> dict[str, Tensor]:
        """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: cross-entropies, half a squared error of sizes, per image."""
        outputs, assigned = flattened(raw), self.assign(raw, targets)
        responsible = outputs.flatten(0, 1)[assigned.predictions]
        counts = assigned.last.float()

        places = cross_entropy(responsible[:, :2], assigned.places).sum(dim=1)
        wanted = torch.log(assigned.sizes() / assigned.anchors)
        stretches = (responsible[:, 2:4] - wanted).square().sum(dim=1) / 2
        height, width = image_sizes[0]
        small = 2 - assigned.sizes().prod(dim=1) / (height * width)  # small boxes count up to twice
        box = (counts * small * (places + stretches)).sum()

        ignored = self.ignored(self.boxes(raw), targets, self.ignore_iou)
        objectness = cross_entropy(outputs[..., 4], assigned.positive.float())
        obj = ((assigned.positive | ~ignored) * objectness).sum()

        classes = cross_entropy(responsible[:, 5:], assigned.class_targets(self.num_classes))
        cls = (counts[:, None] * classes).sum()
        return {name: loss / len(targets) for name, loss in (("yolo_box", box), ("yolo_obj", obj), ("yolo_cls", cls))}


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy of each logit."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
