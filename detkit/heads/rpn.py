"""Region proposal network: class-agnostic objectness and boxes at every location of the pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.anchors import AnchorGenerator
from detkit.boxes import DeltaCoder, at_least, clip_boxes
from detkit.errors import InputError
from detkit.heads.levels import per_place, shared_channels
from detkit.matching import Matcher, sample_balanced
from detkit.ops import batched_nms
from detkit.structures import Target


class RPNOutput(NamedTuple):
    """What the network says, one tensor per level; ``P = Hi * Wi * A`` in the order (y, x, anchor).

    Args:
        objectness: logits ``(B, P)``.
        deltas: box regressions ``(B, P, 4)`` from the anchors.
        anchors: ``(P, 4)`` in pixels of the padded batch.
    """

    objectness: list[Tensor]
    deltas: list[Tensor]
    anchors: list[Tensor]


class RPN(nn.Module):
    """The dense head that proposes regions (Faster R-CNN, section 3.1; on a pyramid as in FPN, section 4.1).

    Args:
        in_channels: channels of each level, all the same: the levels share the head.
        strides: strides of the levels, finest first.
        anchor_sizes: sizes of the anchors of each level in pixels; nothing means ``8 * stride``, one per level.
        aspect_ratios: height / width of the anchors.
        foreground_iou: anchors at least so close to an object learn it, and so does the best one of every object.
        background_iou: anchors less close than this learn background.
        samples_per_image: anchors in the loss.
        foreground_fraction: largest share of foreground among them.
        nms_threshold: IoU above which the less likely of two proposals of a level is dropped.
        candidates_for_training: best anchors of each level that enter NMS, in training.
        candidates: the same for detection.
        proposals_for_training: proposals per image after NMS, in training.
        proposals: the same for detection.
        score_threshold: least objectness of a proposal.
        convolutions: 3x3 convolutions before the two outputs.
        exact_anchors: leave anchors where they are; else their corners, and the step from cell to cell of levels that
            do not divide the image, are rounded to whole pixels, as torchvision's published weights expect.

    Raises:
        InputError: the levels differ in channels, or `strides` or `anchor_sizes` has another number of levels.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        anchor_sizes: Sequence[Sequence[float]] | None = None,
        aspect_ratios: Sequence[float] = (0.5, 1.0, 2.0),
        foreground_iou: float = 0.7,
        background_iou: float = 0.3,
        samples_per_image: int = 256,
        foreground_fraction: float = 0.5,
        nms_threshold: float = 0.7,
        candidates_for_training: int = 2000,
        candidates: int = 1000,
        proposals_for_training: int = 2000,
        proposals: int = 1000,
        score_threshold: float = 0.0,
        convolutions: int = 1,
        exact_anchors: bool = False,
    ) -> None:
        super().__init__()
        channels = shared_channels("RPN", in_channels, strides)
        anchor_sizes = anchor_sizes if anchor_sizes is not None else [[8 * stride] for stride in strides]
        if len(anchor_sizes) != len(strides):
            raise InputError(f"RPN has anchor sizes {anchor_sizes} for levels with strides {list(strides)}")
        self.anchor_generator = AnchorGenerator(anchor_sizes, aspect_ratios, strides if exact_anchors else None)
        if len(set(self.anchor_generator.per_location)) != 1:
            raise InputError(f"RPN needs as many anchor sizes on every level, got {anchor_sizes}")
        anchors = self.anchor_generator.per_location[0]
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(convolutions))
        self.objectness = nn.Conv2d(channels, anchors, 1)
        self.deltas = nn.Conv2d(channels, anchors * 4, 1)
        for layer in (*self.convolutions, self.objectness, self.deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

        self.coder = DeltaCoder()
        self.matcher = Matcher(foreground_iou, background_iou, keep_best=True)
        self.samples_per_image = samples_per_image
        self.foreground_fraction = foreground_fraction
        self.nms_threshold = nms_threshold
        self.candidates_for_training = candidates_for_training
        self.candidates = candidates
        self.proposals_for_training = proposals_for_training
        self.proposals = proposals
        self.score_threshold = score_threshold

    def forward(self, features: list[Tensor], padded_size: tuple[int, int]) -> RPNOutput:
        """Score and regress the anchors of every level.

        Args:
            features: maps ``(B, C, Hi, Wi)``, finest first.
            padded_size: (height, width) of the image batch in pixels.
        """
        hidden = features
        for convolution in self.convolutions:
            hidden = [F.relu(convolution(x)) for x in hidden]
        objectness = [per_place(self.objectness(x), 1).squeeze(-1) for x in hidden]
        deltas = [per_place(self.deltas(x), 4) for x in hidden]
        anchors = self.anchor_generator([feature.shape[-2:] for feature in features], padded_size)
        return RPNOutput(objectness, deltas, anchors)

    def losses(self, raw: RPNOutput, targets: list[Target]) -> dict[str, Tensor]:
        """The losses of a random sample of anchors, each over the number of sampled anchors (Faster R-CNN, eq. 1).

        Args:
            targets: ground truth of each image in pixels of the padded batch.

        Returns:
            ``rpn_cls``, binary cross-entropy of objectness, and ``rpn_box``, smooth L1 (beta 1/9) of foreground deltas.
        """
        objectness, deltas = torch.cat(raw.objectness, dim=1), torch.cat(raw.deltas, dim=1)
        anchors = torch.cat(raw.anchors)
        matches = [self.matcher(anchors, target) for target in targets]

        classification, regression, sampled = [], [], 0
        for image, (target, (indices, states)) in enumerate(zip(targets, matches, strict=True)):
            foreground, background = sample_balanced(states, self.samples_per_image, self.foreground_fraction)
            chosen = torch.cat((foreground, background))
            sampled += len(chosen)
            classification.append(_objectness_loss(objectness[image, chosen], states[chosen]))
            wanted = self.coder.encode(anchors[foreground], target.objects().boxes[indices[foreground]])
            regression.append(smooth_l1(deltas[image, foreground], wanted))
        sampled = max(sampled, 1)
        return {"rpn_cls": sum(classification) / sampled, "rpn_box": sum(regression) / sampled}

    @torch.no_grad()
    def decode(
        self, raw: RPNOutput, image_sizes: Sequence[tuple[int, int]], for_training: bool = False
    ) -> list[Tensor]:
        """The proposals ``(R, 4)`` of each image, best first: top anchors of each level, decoded, clipped, after NMS.

        Args:
            image_sizes: (height, width) of each image without padding.
            for_training: keep the larger number of proposals that training uses.
        """
        candidates = self.candidates_for_training if for_training else self.candidates
        boxes, scores, levels = self._candidates(raw, candidates)
        count = self.proposals_for_training if for_training else self.proposals
        return [
            self._suppress(boxes[image], scores[image], levels, image_size, count)
            for image, image_size in enumerate(image_sizes)
        ]

    def _candidates(self, raw: RPNOutput, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes ``(B, P, 4)``, scores ``(B, P)`` and levels ``(P,)`` of the `count` best anchors of each level."""
        logits, deltas, anchors, levels = [], [], [], []
        for level, (of_level, deltas_of_level, anchors_of_level) in enumerate(zip(*raw, strict=True)):
            highest, best = of_level.float().topk(min(count, of_level.shape[1]), dim=1)
            logits.append(highest)
            deltas.append(deltas_of_level.gather(1, best[..., None].expand(-1, -1, 4)))
            anchors.append(anchors_of_level[best])
            levels.append(torch.full_like(best[0], level))
        # Decoded all at once: a GPU spends more time on starting small kernels than in them.
        boxes = self.coder.decode(torch.cat(anchors, dim=1), torch.cat(deltas, dim=1))
        return boxes, torch.cat(logits, dim=1).sigmoid(), torch.cat(levels)

    def _suppress(
        self, boxes: Tensor, scores: Tensor, levels: Tensor, image_size: tuple[int, int], count: int
    ) -> Tensor:
        boxes = clip_boxes(boxes, image_size)
        usable = at_least(boxes, 1e-3) & scores.isfinite() & (scores >= self.score_threshold)
        boxes, scores, levels = boxes[usable], scores[usable], levels[usable]
        return boxes[batched_nms(boxes, scores, levels, self.nms_threshold)[:count]]


def _objectness_loss(logits: Tensor, states: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), states.float(), reduction="sum")


def smooth_l1(predicted: Tensor, wanted: Tensor) -> Tensor:
    """Summed smooth L1 with beta 1/9, as published code for Faster R-CNN has it (Fast R-CNN, eq. 3, with sigma 3)."""
    return F.smooth_l1_loss(predicted.float(), wanted, beta=1 / 9, reduction="sum")
