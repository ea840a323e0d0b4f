"""The RetinaNet head: dense anchors trained with the focal loss (Lin et al. 2017).

B  images     P  anchors of a level     A  anchors of a cell     K  classes     M  foreground anchors of a batch
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from detkit.anchors import AnchorGenerator
from detkit.boxes import DeltaCoder
from detkit.errors import InputError
from detkit.heads.assignment import NOT_LEARNED, assign_objects
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import DenseHead, batch_candidates
from detkit.heads.dense.pyramid_decode import best_of_levels, padded_detections
from detkit.heads.dense.pyramid_ideal import ideal_levels
from detkit.heads.dense.pyramid_layers import (
    flatten_predictions,
    init_focal_bias_,
    init_normal_,
    shared_channels,
    tower,
)
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.losses import SMOOTH_L1_BETA, focal_losses, smooth_l1_per_box
from detkit.matching import Matcher
from detkit.ops.iou import paired_iou
from detkit.precise import precise

BoxLoss = Literal["smooth_l1", "l1", "giou"]


class RetinaNetOutput(NamedTuple):
    """The outputs of the network, one tensor per level; ``P = Hi * Wi * A`` in the order (y, x, anchor).

    Args:
        classes: logits ``(B, P, K)`` of independent classes.
        deltas: box regressions ``(B, P, 4)`` from the anchors.
        anchors: ``(P, 4)`` in pixels of the padded batch.
    """

    classes: list[Tensor]
    deltas: list[Tensor]
    anchors: list[Tensor]


class RetinaNetHead(DenseHead):
    """Two towers, shared by all levels, classify and regress the anchors of each cell, nine by default (section 4).

        level --3x3 x 4--3x3--> classes of A anchors
          `-----3x3 x 4--3x3--> deltas of A anchors

    Args:
        in_channels: channels of each level, all the same: the levels share the head.
        strides: strides of the levels, finest first.
        num_classes: classes without background.
        anchor_sizes: sizes of the anchors of each level in pixels, as many on each; None is ``4 * stride`` times 1,
            ``2^(1/3)`` and ``2^(2/3)``.
        aspect_ratios: height / width of the anchors.
        convolutions: 3x3 convolutions of each tower.
        group_norm: normalize within the towers.
        foreground_iou: anchors with at least this IoU with an object learn it, and so does each object's best anchor.
        background_iou: anchors with a lower IoU than this learn background.
        alpha: weight of positives in the focal loss; that of negatives is ``1 - alpha``.
        gamma: exponent that reduces the weight of well-classified anchors in the focal loss.
        box_loss: ``smooth_l1`` (beta 1/9) or ``l1`` of the deltas, or ``giou`` of the boxes.
        background_logit: add a last logit that learns background and is never detected, as torchvision's weights have.
        postprocess: None is `NMS` with ``score_threshold=0.05``, ``iou_threshold=0.5``, ``candidates=1000`` of each
            level, and ``detections=100``.

    Raises:
        InputError: the levels differ in channels or in their number of anchors, `strides` or `anchor_sizes` has another
            number of levels, or `box_loss` is unknown.
    """

    own_values: ClassVar = {
        "postprocess": dict(
            score_threshold=0.05, iou_threshold=0.5, candidates=1000, detections=100, candidates_of="level"
        )
    }

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        anchor_sizes: Sequence[Sequence[float]] | None = None,
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        convolutions: int = 4,
        group_norm: bool = False,
        foreground_iou: float = 0.5,
        background_iou: float = 0.4,
        alpha: float = 0.25,
        gamma: float = 2.0,
        box_loss: BoxLoss = "smooth_l1",
        background_logit: bool = False,
        postprocess: NMS | Postprocess | None = None,
    ) -> None:
        super().__init__()
        channels = shared_channels("RetinaNet", in_channels, strides)
        if box_loss not in get_args(BoxLoss):
            raise InputError(f"box_loss of RetinaNet must be one of {', '.join(get_args(BoxLoss))}, got {box_loss!r}")
        sizes = anchor_sizes or [[4 * stride * 2 ** (third / 3) for third in range(3)] for stride in strides]
        self.anchor_generator = AnchorGenerator(sizes, aspect_ratios)
        if len(sizes) != len(strides) or len(set(self.anchor_generator.per_location)) != 1:
            raise InputError(
                f"RetinaNet needs as many anchor sizes on each of its levels with strides {list(strides)}, got {sizes}"
            )
        anchors = self.anchor_generator.per_location[0]
        self.num_classes = num_classes
        self.background_logit = background_logit
        self.class_tower = tower(channels, convolutions, group_norm)
        self.box_tower = tower(channels, convolutions, group_norm)
        self.classes = init_focal_bias_(nn.Conv2d(channels, anchors * self.logits, 3, padding=1))
        self.deltas = init_normal_(nn.Conv2d(channels, anchors * 4, 3, padding=1))

        self.coder = DeltaCoder()
        self.matcher = Matcher(foreground_iou, background_iou, keep_best=True)
        self.alpha, self.gamma = alpha, gamma
        self.box_loss = box_loss
        self.postprocess = postprocess

    @property
    def logits(self) -> int:
        """The number of logits of an anchor."""
        return self.num_classes + self.background_logit

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The logits of each anchor of a cell."""
        anchors = self.anchor_generator.per_location[0]
        return {"classes": ClassRows(init_focal_bias_, groups=anchors, after=int(self.background_logit))}

    def forward(self, features: list[Tensor], context: Context) -> RetinaNetOutput:
        """Classify and regress the anchors of every level."""
        classes = [flatten_predictions(self.classes(self.class_tower(x)), self.logits) for x in features]
        deltas = [flatten_predictions(self.deltas(self.box_tower(x)), 4) for x in features]
        anchors = self.anchor_generator([feature.shape[-2:] for feature in features], context.batch.padded_size)
        return RetinaNetOutput(classes, deltas, anchors)

    def losses(self, raw: RetinaNetOutput, context: Context) -> dict[str, Tensor]:
        """``retinanet_cls``, the focal loss of all anchors, and ``retinanet_box``, that of foreground boxes.

        Each is summed over an image, divided by the number of its foreground anchors, and averaged over images.
        """
        anchors, deltas = torch.cat(raw.anchors), torch.cat(raw.deltas, dim=1)
        objects, images = context.objects, context.objects.annotated_images()
        rows = self.assign(raw, context).view(deltas.shape[:2])
        image, anchor = torch.where(rows >= 0)
        matched = rows[image, anchor]
        foreground = (rows >= 0).sum(dim=1).clamp(min=1)

        classification = focal_losses(
            torch.cat(raw.classes, dim=1), image, anchor, objects.labels[matched], rows == NOT_LEARNED,
            self.alpha, self.gamma,
        )  # fmt: skip
        regression = self._box_losses(anchors[anchor], precise(deltas[image, anchor]), objects.boxes[matched])
        return {
            "retinanet_cls": (classification / foreground).sum() / images,
            "retinanet_box": (regression / foreground[image]).sum() / images,
        }

    def _box_losses(self, anchors: Tensor, deltas: Tensor, boxes: Tensor) -> Tensor:
        """The loss ``(M,)`` of each foreground anchor."""
        if self.box_loss == "giou":
            return 1 - paired_iou(self.coder.decode(anchors, deltas), boxes, "giou")
        beta = SMOOTH_L1_BETA if self.box_loss == "smooth_l1" else 0.0
        return smooth_l1_per_box(deltas, self.coder.encode(anchors, boxes), beta)

    @torch.no_grad()
    def decode_padded(self, raw: RetinaNetOutput, context: Context) -> PaddedBoxes:
        """The best boxes of each level, after suppression within each class (section 4.1, "Inference")."""
        best = best_of_levels(self.postprocess, raw.classes)
        deltas = torch.cat(raw.deltas, dim=1).gather(1, best.locations[..., None].expand(-1, -1, 4))
        boxes = self.coder.decode(torch.cat(raw.anchors)[best.locations], deltas)
        return padded_detections(best, boxes, self.postprocess, self.num_classes, context)

    def candidates(self, raw: RetinaNetOutput, context: Context) -> Candidates:
        """The boxes of all anchors; scores are sigmoids of the logits."""
        boxes = self.coder.decode(torch.cat(raw.anchors), torch.cat(raw.deltas, dim=1))
        logits = torch.cat(raw.classes, dim=1)[..., : self.num_classes]
        return batch_candidates(boxes, logits)

    @torch.no_grad()
    def assign(self, raw: RetinaNetOutput, context: Context) -> Tensor:
        """The object that each anchor is to predict ``(B * P,)``, by its IoU; see `DenseHead.assign`."""
        return assign_objects(self.matcher, torch.cat(raw.anchors), context.objects).flatten()

    @torch.no_grad()
    def ideal(self, raw: RetinaNetOutput, context: Context) -> RetinaNetOutput:
        """Exact deltas and sure classes of the anchors with an object; see `DenseHead.ideal`."""
        classes, deltas = ideal_levels(
            raw.classes, raw.deltas, raw.anchors, self.coder, self.assign(raw, context), context.objects
        )
        return RetinaNetOutput(classes, deltas, raw.anchors)
