"""The YOLOv2 head: anchors, softmax classes, and squared errors of logistic outputs (Redmon & Farhadi 2016).

B  images     P  predictions of an image     K  classes     M  pairs of an object and a prediction
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.heads.context import Context
from detkit.heads.dense.yolo.assigned_pairs import Assigned
from detkit.heads.dense.yolo.yolo import Anchors, YOLOHead, mean_over_images
from detkit.heads.dense.yolo.yolo_maps import flatten_levels
from detkit.heads.postprocess import NMS, Postprocess
from detkit.ops.iou import paired_iou

# k-means of VOC's boxes (section 2), in pixels; darknet's yolov2-voc.cfg has them in cells of 32 pixels.
VOC_ANCHORS = (((42.3, 55.4), (102.2, 128.3), (161.8, 259.2), (303.1, 154.9), (359.6, 320.2)),)


class YOLOv2Head(YOLOHead):
    """Predictions relative to anchors from k-means, on one map.

    New since YOLOv1: a class for each box instead of each cell; anchors instead of free sizes, so that the responsible
    prediction is the one with the best shape; objectness, which is still the expected IoU, is not learned where a
    prediction is close to an object; centers stay within their cell.

    Args:
        in_channels: channels of the map.
        strides: stride of the map.
        num_classes: classes without background.
        anchors: width and height of the anchors of the one map, in pixels of the network's input.
        ignore_iou: predictions with a greater IoU with an object are not background.
        object_scale: weight of the objectness loss where there is an object.
        background_scale: weight of the objectness loss where there is none.
        prior_images: number of training images, at first, for which boxes without an object learn to be their anchors.
        postprocess: as of `YOLOHead`.

    Attributes:
        seen: number of images that this process trained on: those of losses whose gradient reached the weights.
    """

    seen: Tensor

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
        postprocess: NMS | Postprocess | None = None,
    ) -> None:
        super().__init__(in_channels, strides, num_classes, anchors, ignore_iou, postprocess=postprocess)
        self.object_scale = object_scale
        self.background_scale = background_scale
        self.prior_images = prior_images
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @staticmethod
    def init_predictor_(layer: nn.Conv2d, anchors: int) -> None:
        """As of `YOLOHead`, but a squared error would hardly move objectness that begins near 0."""
        YOLOHead.init_predictor_(layer, anchors)
        nn.init.zeros_(cast(Tensor, layer.bias))

    def class_scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=-1)

    def losses(self, raw: list[Tensor], context: Context) -> dict[str, Tensor]:
        """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: half the squared errors and the cross-entropy, per image."""
        outputs, assigned = flatten_levels(raw), self.pairs(raw, context)
        boxes = self.boxes(raw).detach()
        responsible = outputs.flatten(0, 1)[assigned.predictions]
        counts = assigned.is_last.float()

        xy, log_wh = responsible[:, :2].sigmoid(), responsible[:, 2:4]
        error = (xy - assigned.xy_offsets).square().sum(dim=1) + (log_wh - assigned.log_wh()).square().sum(dim=1)
        box = (counts * assigned.small_box_weights(context) * error).sum() / 2
        box = box + self._prior_loss(outputs, assigned, context)

        objectness = outputs[..., 4].sigmoid()
        background = ~(assigned.positive | self.ignore_mask(boxes, outputs, context))
        iou = paired_iou(boxes.flatten(0, 1)[assigned.predictions], assigned.boxes)
        foreground_error = (responsible[:, 4].sigmoid() - iou).square()
        obj = self.background_scale * (background * objectness.square()).sum() / 2
        obj = obj + self.object_scale * (counts * foreground_error).sum() / 2

        cls = (counts * F.cross_entropy(responsible[:, 5:], assigned.labels, reduction="none")).sum()
        return mean_over_images(context.objects, self._count_on_backward(box, len(outputs)), obj, cls)

    def _prior_loss(self, outputs: Tensor, assigned: Assigned, context: Context) -> Tensor:
        """The squared distance of boxes without an object from their anchors, at first."""
        early = 0.01 * (self.seen < self.prior_images)
        free = ~assigned.positive
        if context.objects.unannotated is not None:
            free &= ~context.objects.unannotated[:, None]
        error = (outputs[..., :2].sigmoid() - 0.5).square() + outputs[..., 2:4].square()
        return early * (free * error.sum(dim=-1)).sum() / 2

    def _count_on_backward(self, loss: Tensor, images: int) -> Tensor:
        """`loss`, whose gradient adds `images` to those seen when it reaches the weights.

        This counts training steps only, not validation in whatever mode, nor gradients of the images alone.
        """
        bias = cast(Tensor, self.predict[0].bias)
        if not (torch.is_grad_enabled() and bias.requires_grad):
            return loss
        hooked = bias.view_as(bias)
        # torch does not annotate register_hook.
        hooked.register_hook(lambda gradient: self._count(images))  # type: ignore[no-untyped-call]
        return loss + 0 * hooked.sum()

    def _count(self, images: int) -> None:
        self.seen += images
