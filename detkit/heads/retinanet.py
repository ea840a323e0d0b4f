"""RetinaNet: anchors everywhere, and a loss that the many easy ones do not swamp (Lin et al. 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.anchors import AnchorGenerator
from detkit.boxes import DeltaCoder
from detkit.errors import InputError
from detkit.heads.dense_head import DenseHead
from detkit.heads.levels import (
    Candidates,
    class_losses,
    foreground_pairs,
    likeliest,
    per_place,
    rare,
    select,
    shared_channels,
    small,
    tower,
)
from detkit.matching import FOREGROUND, Matcher
from detkit.ops.iou import paired_iou
from detkit.structures import Detections, Target

BoxLoss = Literal["smooth_l1", "l1", "giou"]


class RetinaNetOutput(NamedTuple):
    """What the network says, one tensor per level; ``P = Hi * Wi * A`` in the order (y, x, anchor).

    Args:
        classes: logits ``(B, P, K)``, each class a question of its own.
        deltas: box regressions ``(B, P, 4)`` from the anchors.
        anchors: ``(P, 4)`` in pixels of the padded batch.
    """

    classes: list[Tensor]
    deltas: list[Tensor]
    anchors: list[Tensor]


class RetinaNetHead(DenseHead):
    """Two towers, shared by all levels, classify and regress nine anchors in each cell (section 4).

        level --3x3 x 4--3x3--> classes of A anchors
          `-----3x3 x 4--3x3--> deltas of A anchors

    Args:
        in_channels: channels of each level, all the same: the levels share the head.
        strides: strides of the levels, finest first.
        num_classes: classes without background.
        anchor_sizes: sizes of the anchors of each level in pixels, as many on each; nothing means ``4 * stride`` times
            1, ``2^(1/3)`` and ``2^(2/3)``.
        aspect_ratios: height / width of the anchors.
        convolutions: 3x3 convolutions of each tower.
        group_norm: normalise within the towers.
        foreground_iou: anchors at least so close to an object learn it, and so does the best one of every object.
        background_iou: anchors less close than this learn background.
        alpha: weight of what is there in the focal loss, ``1 - alpha`` that of what is not.
        gamma: how much less a right answer counts.
        box_loss: of deltas, ``smooth_l1`` (beta 1/9) or ``l1``; or of the boxes themselves, ``giou``.
        score_threshold: scores must be greater than this.
        nms_threshold: IoU above which the less likely of two boxes of a class is dropped.
        candidates: most boxes of a level that enter suppression.
        detections: most detections of an image.
        background_logit: have a last logit that learns to say no everywhere and is never detected, as torchvision's
            weights have.

    Raises:
        InputError: the levels differ in channels or in their number of anchors, `strides` or `anchor_sizes` has another
            number of levels, or `box_loss` is unknown.
    """

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
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        candidates: int = 1000,
        detections: int = 100,
        background_logit: bool = False,
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
        self.logits = num_classes + background_logit
        self.class_tower = tower(channels, convolutions, group_norm)
        self.box_tower = tower(channels, convolutions, group_norm)
        self.classes = rare(nn.Conv2d(channels, anchors * self.logits, 3, padding=1))
        self.deltas = small(nn.Conv2d(channels, anchors * 4, 3, padding=1))

        self.coder = DeltaCoder()
        self.matcher = Matcher(foreground_iou, background_iou, keep_best=True)
        self.alpha, self.gamma = alpha, gamma
        self.box_loss = box_loss
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.candidates = candidates
        self.detections = detections

    def forward(self, features: list[Tensor], padded_size: tuple[int, int]) -> RetinaNetOutput:
        """Classify and regress the anchors of every level."""
        classes = [per_place(self.classes(self.class_tower(x)), self.logits) for x in features]
        deltas = [per_place(self.deltas(self.box_tower(x)), 4) for x in features]
        anchors = self.anchor_generator([feature.shape[-2:] for feature in features], padded_size)
        return RetinaNetOutput(classes, deltas, anchors)

    def losses(
        self, raw: RetinaNetOutput, targets: list[Target], image_sizes: Sequence[tuple[int, int]]
    ) -> dict[str, Tensor]:
        """``retinanet_cls``, the focal loss of all anchors, and ``retinanet_box``, that of foreground boxes.

        Each is summed over an image, divided by the number of its foreground anchors, and averaged over images.
        """
        anchors = torch.cat(raw.anchors)
        matches = [self.matcher(anchors, target) for target in targets]
        indices, states = (torch.stack(part) for part in zip(*matches, strict=True))
        pairs = foreground_pairs(indices, states, targets)
        foreground = (states == FOREGROUND).sum(dim=1).clamp(min=1)

        classification = class_losses(torch.cat(raw.classes, dim=1), states, pairs, self.alpha, self.gamma)
        deltas = torch.cat(raw.deltas, dim=1)[pairs.image, pairs.place]
        regression = self._box_losses(anchors[pairs.place], deltas.float(), pairs.boxes)
        return {
            "retinanet_cls": (classification / foreground).mean(),
            "retinanet_box": (regression / foreground[pairs.image]).sum() / len(targets),
        }

    def _box_losses(self, anchors: Tensor, deltas: Tensor, boxes: Tensor) -> Tensor:
        """The loss ``(M,)`` of each foreground anchor."""
        if self.box_loss == "giou":
            return 1 - paired_iou(self.coder.decode(anchors, deltas), boxes, "giou")
        beta = 1 / 9 if self.box_loss == "smooth_l1" else 0.0
        wanted = self.coder.encode(anchors, boxes)
        return F.smooth_l1_loss(deltas, wanted, beta=beta, reduction="none").sum(dim=1)

    @torch.no_grad()
    def decode(self, raw: RetinaNetOutput, image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """The best boxes of each level, after suppression within each class (section 4.1, "Inference")."""
        return [
            select(
                [self._candidates(image, *level) for level in zip(*raw, strict=True)],
                size, self.num_classes, self.nms_threshold, self.detections,
            )
            for image, size in enumerate(image_sizes)
        ]  # fmt: skip

    def _candidates(self, image: int, classes: Tensor, deltas: Tensor, anchors: Tensor) -> Candidates:
        scores = classes[image].float().sigmoid()
        place, scores, labels = likeliest(scores, self.score_threshold, self.candidates)
        return Candidates(self.coder.decode(anchors[place], deltas[image, place]), scores, labels)
