"""YOLOv2: anchors, softmax classes, and a squared error of logistic outputs (Redmon & Farhadi 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.heads.context import Context
from detkit.heads.dense.yolo.yolo import Anchors, Assigned, YOLOHead, flattened, of_images
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.truth import areas_of
from detkit.ops.iou import paired_iou

# Of VOC, found by k-means (section 2), in pixels: darknet's yolov2-voc.cfg has them in cells of 32.
VOC_ANCHORS = (((42.3, 55.4), (102.2, 128.3), (161.8, 259.2), (303.1, 154.9), (359.6, 320.2)),)


class YOLOv2Head(YOLOHead):
    """Predictions relative to anchors from k-means, on one map.

    What is new since YOLOv1: a class for each box instead of each cell; anchors instead of free sizes, and so one
    prediction is responsible by its shape before it has learned anything; objectness, still the IoU to be expected, is
    excused where a prediction is close to an object; centers cannot leave their cell.

    Args:
        in_channels: channels of the map.
        strides: stride of the map.
        num_classes: classes without background.
        anchors: width and height in pixels of the network's input, of the one map.
        ignore_iou: predictions closer to an object than this are not background.
        object_scale: how much objectness counts where there is an object.
        background_scale: how much it counts where there is none.
        prior_images: for so many training images boxes without an object learn to be their anchors.
        postprocess: as of `YOLOHead`.

    Attributes:
        seen: how many images it was trained on, by this process; a loss whose gradient reaches the weights counts.
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
        postprocess: NMS | Postprocess | None = None,
    ) -> None:
        super().__init__(in_channels, strides, num_classes, anchors, ignore_iou, postprocess=postprocess)
        for conv in self.predict:
            nn.init.zeros_(conv.bias)  # a squared error would hardly move objectness that begins near 0
        self.object_scale = object_scale
        self.background_scale = background_scale
        self.prior_images = prior_images
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def class_scores(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=-1)

    def losses(self, raw: list[Tensor], context: Context) -> dict[str, Tensor]:
        """``yolo_box``, ``yolo_obj`` and ``yolo_cls``: half the squared errors and the cross-entropy, per image."""
        outputs, assigned = flattened(raw), self.pairs(raw, context)
        boxes = self.boxes(raw).detach()
        responsible = outputs.flatten(0, 1)[assigned.predictions]
        counts = assigned.last.float()

        places, stretches = responsible[:, :2].sigmoid(), responsible[:, 2:4]
        wanted = torch.log(assigned.sizes() / assigned.anchors)
        error = (places - assigned.places).square().sum(dim=1) + (stretches - wanted).square().sum(dim=1)
        small = 2 - assigned.sizes().prod(dim=1) / areas_of(
            context.batch.sizes, assigned.images
        )  # small boxes count up to twice
        box = (counts * small * error).sum() / 2 + self._prior_loss(outputs, assigned, context)

        objectness = outputs[..., 4].sigmoid()
        background = ~(assigned.positive | self.excused(boxes, outputs, context))
        iou = paired_iou(boxes.flatten(0, 1)[assigned.predictions], assigned.boxes)
        found = (responsible[:, 4].sigmoid() - iou).square()
        obj = self.background_scale * (background * objectness.square()).sum() / 2
        obj = obj + self.object_scale * (counts * found).sum() / 2

        cls = (counts * F.cross_entropy(responsible[:, 5:], assigned.labels, reduction="none")).sum()
        return of_images(context.truth, self._counting(box, len(outputs)), obj, cls)

    def _prior_loss(self, outputs: Tensor, assigned: Assigned, context: Context) -> Tensor:
        early = 0.01 * (self.seen < self.prior_images)
        learns = torch.tensor([target.boxes is not None for target in context.truth])
        free = ~assigned.positive & learns.to(outputs.device, non_blocking=True)[:, None]
        error = (outputs[..., :2].sigmoid() - 0.5).square() + outputs[..., 2:4].square()
        return early * (free * error.sum(dim=-1)).sum() / 2

    def _counting(self, loss: Tensor, images: int) -> Tensor:
        """`loss`, which counts `images` as seen on the way of its gradient into the weights.

        Only a step of training goes that way: no validation, whatever mode the model is in, and nothing that asks for
        the gradient of the images alone.
        """
        bias = self.predict[0].bias
        if not (torch.is_grad_enabled() and bias.requires_grad):
            return loss
        way = bias.view_as(bias)
        way.register_hook(lambda gradient: self._count(images))
        return loss + 0 * way.sum()

    def _count(self, images: int) -> None:
        self.seen += images
