"""The SSD and SSDlite heads: default boxes at every cell, trained with hard negative mining (Liu et al. 2016).

B  images     P  default boxes of an image     A  default boxes of a cell     K  classes
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.anchors import DefaultBoxes, default_scales
from detkit.backbones.tapped_mobilenet import NormalizedConvolution, init_ssdlite_
from detkit.boxes import DeltaCoder
from detkit.distributed import mean_count
from detkit.errors import InputError
from detkit.heads.activations import softmax_with_background, subtract_background
from detkit.heads.assignment import CERTAIN, NO_OBJECT, AssignedCandidates, assign_objects
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import DenseHead, batch_candidates
from detkit.heads.dense.pyramid_layers import flatten_predictions
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.losses import smooth_l1_per_box
from detkit.matching import BestForEachMatcher
from detkit.precise import precise


class SSDOutput(NamedTuple):
    """The outputs for ``P`` default boxes of all levels, finest level first, each in the order (y, x, box).

    Args:
        logits: class logits ``(B, P, K + 1)``, background last.
        deltas: box regressions ``(B, P, 4)`` from the default boxes.
        default_boxes: ``(P, 4)`` in pixels of the padded batch.
    """

    logits: Tensor
    deltas: Tensor
    default_boxes: Tensor


class SSDHead(DenseHead):
    """On each map one 3x3 convolution predicts the classes of the default boxes, another their offsets (section 2).

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        num_classes: classes without background.
        scales: of the boxes of each level and one more, as fractions of the image; None is 0.1 for the finest level and
            equation 4 from 0.2 to 0.9 for the others, as of SSD300 on VOC (section 3.1).
        sizes: the same in pixels, instead of `scales`.
        aspect_ratios: of each level, in addition to 1; None is 2 on the finest and the two coarsest levels, and 2 and 3
            on the others.
        steps: pixels between cells of each level; None spreads the cells evenly over the image.
        clip: limit the width and height of default boxes to those of the image, as torchvision does.
        foreground_iou: default boxes with at least this IoU with an object learn it, and so does the object's best one.
        negatives_per_positive: background boxes in the loss for each foreground box: those of each image with the
            greatest loss (section 2.2, "Hard negative mining").
        postprocess: None is `NMS` with ``score_threshold=0.01``, ``iou_threshold=0.45``, ``candidates=400`` of each
            class, and ``detections=200``.

    Raises:
        InputError: channels, strides, sizes, aspect ratios and steps are not for as many levels.
    """

    own_values: ClassVar = {
        "postprocess": dict(
            score_threshold=0.01, iou_threshold=0.45, candidates=400, detections=200, candidates_of="class"
        )
    }

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        scales: Sequence[float] | None = None,
        sizes: Sequence[float] | None = None,
        aspect_ratios: Sequence[Sequence[float]] | None = None,
        steps: Sequence[float] | None = None,
        clip: bool = False,
        foreground_iou: float = 0.5,
        negatives_per_positive: float = 3.0,
        postprocess: NMS | Postprocess | None = None,
    ) -> None:
        super().__init__()
        levels = len(in_channels)
        aspect_ratios = aspect_ratios if aspect_ratios is not None else _aspect_ratios(levels)
        if not levels == len(strides) == len(aspect_ratios):
            raise InputError(
                f"{type(self).__name__} got maps with channels {list(in_channels)} and strides {list(strides)}, but "
                f"aspect ratios {[list(ratios) for ratios in aspect_ratios]}"
            )
        if sizes is not None and scales is not None:
            raise InputError(f"{type(self).__name__} takes scales or sizes, not both: {list(scales)}, {list(sizes)}")
        relative = sizes is None
        if sizes is None:
            sizes = scales if scales is not None else default_scales(levels, finest=0.1)
        self.default_boxes = DefaultBoxes(sizes, aspect_ratios, steps, relative=relative, clip=clip)
        self.num_classes = num_classes
        self.per_location = self.default_boxes.per_location
        counts = list(zip(in_channels, self.per_location, strict=True))
        self.classes = nn.ModuleList(self.predictor(channels, count * (num_classes + 1)) for channels, count in counts)
        self.deltas = nn.ModuleList(self.predictor(channels, count * 4) for channels, count in counts)
        self.coder = DeltaCoder((10.0, 10.0, 5.0, 5.0))  # the authors' code divides by "variances" 0.1 and 0.2
        self.matcher = BestForEachMatcher(foreground_iou, foreground_iou)
        self.negatives_per_positive = negatives_per_positive
        self.postprocess = postprocess

    @staticmethod
    def predictor(in_channels: int, out_channels: int) -> nn.Module:
        """A layer that predicts `out_channels` values in every cell of a map."""
        return _init_xavier_(nn.Conv2d(in_channels, out_channels, 3, padding=1))

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The logits of each default box of a cell of each level, with background last."""
        return {
            f"classes.{level}": ClassRows(_init_xavier_, groups=count, after=1)
            for level, count in enumerate(self.default_boxes.per_location)
        }

    def forward(self, features: list[Tensor], context: Context) -> SSDOutput:
        """Classify and regress the default boxes of every level `features` ``(B, Ci, Hi, Wi)``."""
        grids = [tuple(feature.shape[-2:]) for feature in features]
        return SSDOutput(
            _per_box([layer(x) for layer, x in zip(self.classes, features, strict=True)], self.num_classes + 1),
            _per_box([layer(x) for layer, x in zip(self.deltas, features, strict=True)], 4),
            torch.cat(self.default_boxes(grids, tuple(context.batch.padded_size))),
        )

    def losses(self, raw: SSDOutput, context: Context) -> dict[str, Tensor]:
        """The losses of equation 1, both divided by the number of foreground boxes.

        Returns:
            ``ssd_cls``, cross-entropy of foreground boxes and the hardest background, and ``ssd_box``, smooth L1 of the
            offsets; zero in a batch without objects.
        """
        logits, deltas = precise(raw.logits), precise(raw.deltas)
        rows = self.assign(raw, context).view(logits.shape[:2])
        positive = rows >= 0
        labels, targets = self._targets(rows, raw.default_boxes, context)
        count = mean_count(positive.sum())
        errors = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        negative = select_hardest(errors.detach(), rows == NO_OBJECT, self.negatives_per_positive * positive.sum(dim=1))
        distances = smooth_l1_per_box(deltas, targets, beta=1.0)
        return {
            "ssd_cls": torch.where(positive | negative, errors, 0).sum() / count,
            "ssd_box": torch.where(positive, distances, 0).sum() / count,
        }

    @torch.no_grad()
    def decode_padded(self, raw: SSDOutput, context: Context) -> PaddedBoxes:
        """The regressed default boxes with scores above the threshold, after suppression within each class."""
        scores = raw.logits.float().softmax(dim=2)[..., : self.num_classes]
        boxes = self.coder.decode(raw.default_boxes, raw.deltas)
        image, box, labels, scores = self.postprocess.topk_candidates(scores)
        return self.postprocess.suppress_padded(boxes[image, box], scores, labels, image, context.batch.sizes)

    def candidates(self, raw: SSDOutput, context: Context) -> Candidates:
        """All regressed default boxes; logits are relative to that of background."""
        boxes = self.coder.decode(raw.default_boxes, raw.deltas)
        return batch_candidates(boxes, subtract_background(raw.logits), activation=softmax_with_background)

    @torch.no_grad()
    def assign(self, raw: SSDOutput, context: Context) -> Tensor:
        """The object that each default box is to predict ``(B * P,)``, by its IoU; see `DenseHead.assign`.

        Of background only the hardest boxes are learned.
        """
        return assign_objects(self.matcher, raw.default_boxes, context.objects).flatten()

    @torch.no_grad()
    def ideal(self, raw: SSDOutput, context: Context) -> SSDOutput:
        """Exact deltas and sure classes of the default boxes with an object; see `DenseHead.ideal`."""
        logits, deltas = raw.logits.new_full(raw.logits.shape, -CERTAIN), raw.deltas.new_zeros(raw.deltas.shape)
        own = AssignedCandidates.of(self.assign(raw, context), context.objects)
        boxes = raw.default_boxes[own.candidates % len(raw.default_boxes)]
        logits[..., -1] = CERTAIN
        logits.flatten(0, 1)[own.candidates, -1] = -CERTAIN
        logits.flatten(0, 1)[own.candidates, own.labels] = own.logits.to(logits)
        deltas.flatten(0, 1)[own.candidates] = self.coder.encode(boxes, own.boxes).to(deltas)
        return SSDOutput(logits, deltas, raw.default_boxes)

    @torch.no_grad()
    def _targets(self, rows: Tensor, default_boxes: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """The label ``(B, P)`` and the deltas ``(B, P, 4)`` of the object at `rows` ``(B, P)``."""
        objects = context.objects
        # An extra row for default boxes without an object: background, and a box of any positive size.
        labels = torch.cat((objects.labels, objects.labels.new_full((1,), self.num_classes)))
        boxes = torch.cat((objects.boxes, objects.boxes.new_tensor([[0.0, 0.0, 1.0, 1.0]])))
        rows = torch.where(rows >= 0, rows, len(labels) - 1)
        return labels[rows], self.coder.encode(default_boxes, boxes[rows])


class SSDliteHead(SSDHead):
    """The SSD head with separable convolutions: depthwise 3x3, then 1x1 (Sandler 2018, section 6.2).

    Defaults are torchvision's: six shapes on every level, scales of equation 4 from 0.2 to 0.95 followed by 1, and for
    `postprocess` ``score_threshold=0.001, iou_threshold=0.55, candidates=300, detections=300``. Arguments as of
    `SSDHead`.
    """

    own_values: ClassVar = {
        "postprocess": dict(
            score_threshold=0.001, iou_threshold=0.55, candidates=300, detections=300, candidates_of="class"
        )
    }

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        scales: Sequence[float] | None = None,
        sizes: Sequence[float] | None = None,
        aspect_ratios: Sequence[Sequence[float]] | None = None,
        clip: bool = True,
        postprocess: NMS | Postprocess | None = None,
        **options: Any,
    ) -> None:
        levels = len(in_channels)
        if scales is None and sizes is None:
            scales = [*default_scales(levels, 0.2, 0.95)[:-1], 1.0]
        super().__init__(
            in_channels, strides, num_classes, scales, sizes,
            aspect_ratios=aspect_ratios if aspect_ratios is not None else [(2.0, 3.0)] * levels,
            clip=clip,
            postprocess=postprocess,
            **options,
        )  # fmt: skip

    @staticmethod
    def predictor(in_channels: int, out_channels: int) -> nn.Module:
        """A layer that predicts `out_channels` values in every cell of a map."""
        return init_ssdlite_(
            nn.Sequential(
                NormalizedConvolution(in_channels, in_channels, 3, groups=in_channels),
                nn.Conv2d(in_channels, out_channels, 1),
            )
        )

    def class_rows(self) -> Mapping[str, ClassRows]:
        """As of `SSDHead`, of the 1x1 convolutions."""
        return {
            f"classes.{level}.1": ClassRows(init_ssdlite_, groups=count, after=1)
            for level, count in enumerate(self.default_boxes.per_location)
        }


def _init_xavier_(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def select_hardest(errors: Tensor, eligible: Tensor, counts: Tensor) -> Tensor:
    """The boxes of each image with the greatest errors.

    Args:
        errors: ``(B, P)``.
        eligible: bool ``(B, P)``, the boxes to select from.
        counts: ``(B,)``, how many to select; fewer where fewer are eligible.

    Returns:
        bool ``(B, P)``.
    """
    ranked = torch.where(eligible, errors, -torch.inf).argsort(dim=1, descending=True)
    ranks = ranked.argsort(dim=1)
    return eligible & (ranks < counts[:, None])


def _aspect_ratios(levels: int) -> list[tuple[float, ...]]:
    """Fewer shapes on the finest and the two coarsest levels (section 3.1)."""
    return [(2.0,) if level in (0, levels - 2, levels - 1) else (2.0, 3.0) for level in range(levels)]


def _per_box(maps: Sequence[Tensor], values: int) -> Tensor:
    """Maps ``(B, A * values, Hi, Wi)`` as ``(B, P, values)``."""
    return torch.cat([flatten_predictions(x, values) for x in maps], dim=1)
