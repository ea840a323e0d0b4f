"""YOLOv3: three scales, and every question a logistic regression of its own (Redmon & Farhadi 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.heads.context import Context
from detkit.heads.dense.yolo.yolo import Anchors, YOLOHead, flattened, of_images
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.truth import areas_of
from detkit.losses import binary_cross_entropy

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
        """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: cross-entropies, half a squared error of sizes, per image."""
        outputs, assigned = flattened(raw), self.pairs(raw, context)
        responsible = outputs.flatten(0, 1)[assigned.predictions]
        counts = assigned.last.float()

        places = binary_cross_entropy(responsible[:, :2], assigned.places).sum(dim=1)
        wanted = torch.log(assigned.sizes() / assigned.anchors)
        stretches = (responsible[:, 2:4] - wanted).square().sum(dim=1) / 2
        small = 2 - assigned.sizes().prod(dim=1) / areas_of(
            context.batch.sizes, assigned.images
        )  # small boxes count up to twice
        box = (counts * small * (places + stretches)).sum()

        objectness = binary_cross_entropy(outputs[..., 4], assigned.positive.float())
        obj = ((assigned.positive | ~self.excused(self.boxes(raw), outputs, context)) * objectness).sum()

        classes = binary_cross_entropy(responsible[:, 5:], assigned.class_targets(self.num_classes))
        cls = (counts[:, None] * classes).sum()
        return of_images(context.truth, box, obj, cls)
