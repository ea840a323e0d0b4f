"""Region proposal network: class-agnostic objectness and boxes at every location of the pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.anchors import AnchorGenerator
from detkit.boxes import DeltaCoder
from detkit.distributed import mean_count
from detkit.errors import InputError
from detkit.heads.context import Candidates, Context, Regions
from detkit.heads.dense import old_rpn_arguments
from detkit.heads.dense.levels import per_place, shared_channels
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.postprocessed import Postprocessed
from detkit.heads.truth import NO_OBJECT, assigned, of_batch
from detkit.losses import smooth_l1
from detkit.matching import FOREGROUND, Matcher, sample_balanced


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


def _own(count: int) -> dict[str, Any]:
    """Proposals of different levels leave each other alone; `count` of each level and of an image."""
    return dict(
        score_threshold=0.0, iou_threshold=0.7, candidates=count, detections=count, candidates_of="level",
        least_side=1e-3, at_threshold=True,
    )  # fmt: skip


class RPN(Postprocessed):
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
        postprocess: makes proposals of the best anchors, for detection: 1000 of each level enter suppression within it
            at an IoU of 0.7, 1000 of an image are left, of whatever objectness.
        postprocess_for_training: the same for training, with 2000 and 2000.
        convolutions: 3x3 convolutions before the two outputs.
        exact_anchors: leave anchors where they are; else their corners, and the step from cell to cell of levels that
            do not divide the image, are rounded to whole pixels, as torchvision's published weights expect.

    Raises:
        InputError: the levels differ in channels, or `strides` or `anchor_sizes` has another number of levels.
    """

    own_values: ClassVar = {"postprocess": _own(1000), "postprocess_for_training": _own(2000)}
    old_attributes = old_rpn_arguments.OLD_ATTRIBUTES
    old_keywords = staticmethod(old_rpn_arguments.moved_to_postprocess)

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
        postprocess: NMS | Postprocess | None = None,
        postprocess_for_training: NMS | Postprocess | None = None,
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
        self.postprocess = postprocess
        self.postprocess_for_training = postprocess_for_training

    def forward(self, features: list[Tensor], context: Context) -> RPNOutput:
        """Score and regress the anchors of every level of `features` ``(B, C, Hi, Wi)``, finest first."""
        hidden = features
        for convolution in self.convolutions:
            hidden = [F.relu(convolution(x)) for x in hidden]
        objectness = [per_place(self.objectness(x), 1).squeeze(-1) for x in hidden]
        deltas = [per_place(self.deltas(x), 4) for x in hidden]
        anchors = self.anchor_generator([feature.shape[-2:] for feature in features], context.batch.padded_size)
        return RPNOutput(objectness, deltas, anchors)

    def losses(self, raw: RPNOutput, context: Context) -> dict[str, Tensor]:
        """The losses of a random sample of anchors, each over the number of sampled anchors (Faster R-CNN, eq. 1).

        Returns:
            ``rpn_cls``, binary cross-entropy of objectness, and ``rpn_box``, smooth L1 (beta 1/9) of foreground deltas.
        """
        objectness, deltas = torch.cat(raw.objectness, dim=1), torch.cat(raw.deltas, dim=1)
        anchors = torch.cat(raw.anchors)

        zero, sampled = objectness.new_zeros((), dtype=torch.float32), 0
        classification, regression = zero, zero
        for image, rows in enumerate(self._rows(anchors, context)):
            states = (rows - NO_OBJECT).clamp(max=FOREGROUND)  # as a matcher tells them
            drawn = sample_balanced(states, self.samples_per_image, self.foreground_fraction, context.generator)
            foreground, chosen = drawn[0], torch.cat(drawn)
            sampled += len(chosen)
            classification = classification + _objectness_loss(objectness[image, chosen], states[chosen])
            wanted = self.coder.encode(anchors[foreground], context.objects.boxes[rows[foreground]])
            regression = regression + smooth_l1(deltas[image, foreground], wanted)
        count = mean_count(sampled, objectness.device)
        return {"rpn_cls": classification / count, "rpn_box": regression / count}

    @torch.no_grad()
    def propose(self, raw: RPNOutput, context: Context) -> Regions:
        """The proposals, of each image the best first: top anchors of each level, decoded, clipped, after suppression.

        With ``context.targets`` they are as many as training wants.
        """
        postprocess = self.postprocess if context.targets is None else self.postprocess_for_training
        assert postprocess.candidates is not None, "filled with the RPN's own"
        boxes, scores, levels = self._best(raw, postprocess.candidates)
        images, places = scores.shape
        image_index = of_batch(images, places, boxes.device)
        proposed = postprocess(
            boxes.flatten(0, 1), scores.flatten(), levels.repeat(images), image_index, context.batch.sizes
        )
        return Regions.of_images([of_image.boxes for of_image in proposed])

    def candidates(self, raw: RPNOutput, context: Context) -> Candidates:
        """The box of every anchor, and whether it is an object; of what class nobody asks."""
        deltas, logits = torch.cat(raw.deltas, dim=1), torch.cat(raw.objectness, dim=1)
        boxes = self.coder.decode(torch.cat(raw.anchors), deltas)
        images, places = logits.shape
        image_index = of_batch(images, places, logits.device)
        return Candidates(boxes.flatten(0, 1), logits.new_zeros(images * places, 0), logits.flatten(), image_index)

    @torch.no_grad()
    def assign(self, raw: RPNOutput, context: Context) -> Tensor:
        """Which object each anchor is to find ``(B * P,)``, by its IoU; see `DenseHead.assign`."""
        return self._rows(torch.cat(raw.anchors), context).flatten()

    def _rows(self, anchors: Tensor, context: Context) -> Tensor:
        return assigned(context.truth, lambda target: self.matcher(anchors, target), anchors.device)

    def _best(self, raw: RPNOutput, count: int) -> tuple[Tensor, Tensor, Tensor]:
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


def _objectness_loss(logits: Tensor, states: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits.float(), states.float(), reduction="sum")
