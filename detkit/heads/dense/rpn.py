"""Region proposal network: class-agnostic objectness and boxes at every location of the pyramid (Ren et al. 2015).

B  images     P  anchors of a level     A  anchors of a cell
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.anchors import AnchorGenerator
from detkit.boxes import DeltaCoder
from detkit.distributed import mean_count
from detkit.errors import InputError
from detkit.heads.assignment import assign_objects, image_indices, states_of
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context, Regions
from detkit.heads.dense import old_rpn_arguments
from detkit.heads.dense.dense_head import UNASSIGNED
from detkit.heads.dense.pyramid_ideal import ideal_levels
from detkit.heads.dense.pyramid_layers import flatten_predictions, shared_channels
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.postprocessed_head import PostprocessedHead
from detkit.heads.scored_boxes import topk_of_rows
from detkit.losses import smooth_l1
from detkit.matching import BalancedSample, Matcher, draw_balanced
from detkit.ops import is_exporting
from detkit.precise import precise


class RPNOutput(NamedTuple):
    """The outputs of the network, one tensor per level; ``P = Hi * Wi * A`` in the order (y, x, anchor).

    Args:
        objectness: logits ``(B, P)``.
        deltas: box regressions ``(B, P, 4)`` from the anchors.
        anchors: ``(P, 4)`` in pixels of the padded batch.
    """

    objectness: list[Tensor]
    deltas: list[Tensor]
    anchors: list[Tensor]


def _own(count: int) -> dict[str, Any]:
    """Suppression within each level, of `count` anchors of each level, with `count` proposals of an image."""
    return dict(
        score_threshold=0.0, iou_threshold=0.7, candidates=count, detections=count, candidates_of="level",
        least_side=1e-3, at_threshold=True,
    )  # fmt: skip


class RPN(PostprocessedHead):
    """The region proposal network (Faster R-CNN, section 3.1; on a pyramid as in FPN, section 4.1).

    Args:
        in_channels: channels of each level, all the same: the levels share the head.
        strides: strides of the levels, finest first.
        anchor_sizes: sizes of the anchors of each level in pixels; None is ``8 * stride``, one per level.
        aspect_ratios: height / width of the anchors.
        foreground_iou: anchors with at least this IoU with an object learn it, and so does each object's best anchor.
        background_iou: anchors with a lower IoU than this learn background.
        samples_per_image: anchors in the loss.
        foreground_fraction: largest share of foreground among them.
        postprocess: turns anchors into proposals at inference; None is `NMS` within each level with
            ``iou_threshold=0.7``, ``candidates=1000`` of each level, ``detections=1000`` and no score threshold.
        postprocess_for_training: the same in training; None has 2000 and 2000.
        convolutions: 3x3 convolutions before the two outputs.
        exact_anchors: do not round anchors to whole pixels. By default their corners are rounded, and the step between
            cells of levels that do not divide the image, as torchvision's published weights expect.
        least_background_iou: anchors with a lower IoU than this with every object learn nothing.

    Raises:
        InputError: the levels differ in channels, or `strides` or `anchor_sizes` has another number of levels.
    """

    if TYPE_CHECKING:
        postprocess_for_training: PostprocessedHead.Filled

    unassigned_because = UNASSIGNED
    own_values: ClassVar = {"postprocess": _own(1000), "postprocess_for_training": _own(2000)}
    old_attributes = old_rpn_arguments.OLD_ATTRIBUTES
    old_keywords = staticmethod(old_rpn_arguments.move_to_postprocess)

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
        least_background_iou: float = 0.0,
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
        self.matcher = Matcher(
            foreground_iou, background_iou, keep_best=True, least_background_iou=least_background_iou
        )
        self.samples_per_image = samples_per_image
        self.foreground_fraction = foreground_fraction
        self.postprocess = postprocess
        self.postprocess_for_training = postprocess_for_training

    def class_rows(self) -> Mapping[str, ClassRows]:
        """None: an object of any class is proposed."""
        return {}

    def forward(self, features: list[Tensor], context: Context) -> RPNOutput:
        """Score and regress the anchors of every level of `features` ``(B, C, Hi, Wi)``, finest first."""
        hidden = features
        for convolution in self.convolutions:
            hidden = [F.relu(convolution(x), inplace=True) for x in hidden]
        objectness = [flatten_predictions(self.objectness(x), 1).squeeze(-1) for x in hidden]
        deltas = [flatten_predictions(self.deltas(x), 4) for x in hidden]
        anchors = self.anchor_generator([feature.shape[-2:] for feature in features], context.batch.padded_size)
        return RPNOutput(objectness, deltas, anchors)

    def losses(self, raw: RPNOutput, context: Context) -> dict[str, Tensor]:
        """The losses of a random sample of anchors, each divided by the number of sampled anchors (eq. 1).

        Returns:
            ``rpn_cls``, binary cross-entropy of objectness, and ``rpn_box``, smooth L1 (beta 1/9) of foreground deltas.
        """
        objectness, deltas = torch.cat(raw.objectness, dim=1), torch.cat(raw.deltas, dim=1)
        anchors = torch.cat(raw.anchors)
        rows = self._rows(anchors, context)
        sample = draw_balanced(states_of(rows), self.samples_per_image, self.foreground_fraction, context.generator)
        count = mean_count(sample.is_drawn.sum())
        foreground = sample.indices[:, : sample.most_foreground]
        regression = self._regression(deltas, anchors, foreground, rows.gather(1, foreground), context.objects.boxes)
        return {"rpn_cls": _objectness_loss(objectness, sample) / count, "rpn_box": regression / count}

    @torch.no_grad()
    def propose(self, raw: RPNOutput, context: Context) -> Regions:
        """The proposals of each image, best first: top anchors of each level, decoded, clipped, after suppression.

        With ``context.targets`` these are the proposals for training, see `postprocess_for_training`.
        """
        postprocess = self.postprocess if context.targets is None else self.postprocess_for_training
        assert postprocess.candidates is not None, "filled in from own_values"
        boxes, scores, levels = self._topk_anchors(raw, postprocess.candidates)
        images, anchors = scores.shape
        image_index = image_indices(images, anchors, boxes.device)
        proposals = postprocess.padded(
            boxes.flatten(0, 1), scores.flatten(), levels.repeat(images), image_index, context.batch.sizes
        )
        if is_exporting():
            return replace(Regions.of_padded(proposals), labels=None)
        return Regions.of_images([per_image.boxes for per_image in proposals.detections()])

    def candidates(self, raw: RPNOutput, context: Context) -> Candidates:
        """The box and the objectness of every anchor; there are no classes."""
        deltas, logits = torch.cat(raw.deltas, dim=1), torch.cat(raw.objectness, dim=1)
        boxes = self.coder.decode(torch.cat(raw.anchors), deltas)
        images, anchors = logits.shape
        image_index = image_indices(images, anchors, logits.device)
        return Candidates(boxes.flatten(0, 1), logits.new_zeros(images * anchors, 0), logits.flatten(), image_index)

    @torch.no_grad()
    def assign(self, raw: RPNOutput, context: Context) -> Tensor:
        """The object that each anchor is to predict ``(B * P,)``, by its IoU; see `DenseHead.assign`."""
        return self._rows(torch.cat(raw.anchors), context).flatten()

    @torch.no_grad()
    def ideal(self, raw: RPNOutput, context: Context) -> RPNOutput:
        """Exact deltas and sure objectness of the anchors with an object; see `DenseHead.ideal`."""
        logits = [level[..., None] for level in raw.objectness]
        objectness, deltas = ideal_levels(
            logits, raw.deltas, raw.anchors, self.coder, self.assign(raw, context), context.objects
        )
        return RPNOutput([level[..., 0] for level in objectness], deltas, raw.anchors)

    def _regression(self, deltas: Tensor, anchors: Tensor, foreground: Tensor, rows: Tensor, objects: Tensor) -> Tensor:
        """Smooth L1 of the anchors `foreground` ``(B, F)``, of each of which `rows` names the object, if it has one."""
        predicted = precise(deltas.gather(1, foreground[..., None].expand(-1, -1, 4)))
        is_learned = (rows >= 0)[..., None]
        references = anchors[foreground]
        # Where there is no object, the target is what is predicted.
        boxes = torch.where(is_learned, objects[rows.clamp(min=0)], references) if len(objects) else references
        targets = self.coder.encode(references, boxes)
        return smooth_l1(torch.where(is_learned, predicted, targets), targets)

    def _rows(self, anchors: Tensor, context: Context) -> Tensor:
        return assign_objects(self.matcher, anchors, context.objects)

    def _topk_anchors(self, raw: RPNOutput, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes ``(B, P, 4)``, scores ``(B, P)`` and levels ``(P,)`` of the `count` best anchors of each level."""
        logits, deltas, anchors, levels = [], [], [], []
        for level, (level_logits, level_deltas, level_anchors) in enumerate(zip(*raw, strict=True)):
            highest, best = topk_of_rows(precise(level_logits), count)
            # What fills up a level with fewer anchors has no score, and passes no threshold.
            logits.append(highest.masked_fill(highest == -torch.inf, torch.nan) if is_exporting() else highest)
            deltas.append(level_deltas.gather(1, best[..., None].expand(-1, -1, 4)))
            anchors.append(level_anchors[best])
            levels.append(torch.full_like(best[0], level))
        # Decoded all at once: on a GPU launching small kernels takes longer than running them.
        boxes = self.coder.decode(torch.cat(anchors, dim=1), torch.cat(deltas, dim=1))
        return boxes, torch.cat(logits, dim=1).sigmoid(), torch.cat(levels)


def _objectness_loss(objectness: Tensor, sample: BalancedSample) -> Tensor:
    """Binary cross-entropy of the drawn anchors, of the objectness ``(B, P)`` of all."""
    logits = precise(objectness.gather(1, sample.indices))
    columns = torch.arange(logits.shape[1], device=logits.device)
    is_object = (columns < sample.most_foreground).to(logits.dtype).expand_as(logits)
    drawn = sample.is_drawn.float()
    return F.binary_cross_entropy_with_logits(logits, is_object, drawn, reduction="sum")
