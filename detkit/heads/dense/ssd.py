"""SSD's head: classes and offsets of default boxes at every cell, and the hardest of the background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.anchors import DefaultBoxes, default_scales
from detkit.backbones.tapped_mobilenet import NormalizedConvolution, init_ssdlite_
from detkit.boxes import DeltaCoder
from detkit.distributed import mean_count
from detkit.errors import InputError
from detkit.heads.activations import above_background, softmax_beside_background
from detkit.heads.context import Candidates, Context
from detkit.heads.dense.dense_head import DenseHead, in_turn
from detkit.heads.dense.levels import per_place
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.truth import NO_OBJECT, assigned
from detkit.losses import smooth_l1_per_box
from detkit.matching import BestForEachMatcher
from detkit.structures import Detections


class SSDOutput(NamedTuple):
    """What the head says of ``P`` default boxes: those of every level one after the other, in the order (y, x, box).

    Args:
        logits: class logits ``(B, P, K + 1)``, background last.
        deltas: box regressions ``(B, P, 4)`` from the default boxes.
        default_boxes: ``(P, 4)`` in pixels of the image batch.
    """

    logits: Tensor
    deltas: Tensor
    default_boxes: Tensor


class SSDHead(DenseHead):
    """A 3x3 convolution on each map says the classes of each default box, another its offsets (Liu 2016, section 2).

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        num_classes: classes without background.
        scales: of the boxes of each level and one more, as shares of the image; nothing means those of equation 4 from
            0.2 to 0.9, below them 0.1 for the finest level, as of SSD300 on VOC (section 3.1).
        sizes: in place of `scales`, in pixels.
        aspect_ratios: for each level those beside 1; nothing means 2 on the finest and the two coarsest levels, and 2
            and 3 on those between.
        steps: pixels between cells of each level; nothing spreads them evenly over the image.
        clip: make no default box wider or higher than the image, as torchvision does.
        foreground_iou: default boxes at least so close to an object learn it, and so does each object's best one.
        negatives_per_positive: background boxes in the loss for each one that learns an object: those of each image
            that look least like background (section 2.2, "Hard negative mining").
        postprocess: `NMS` if not given; here ``score_threshold=0.01, iou_threshold=0.45, candidates=400``, of each
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
        if sizes is None and scales is None:
            scales = default_scales(levels, finest=0.1)
        self.default_boxes = DefaultBoxes(
            sizes if scales is None else scales, aspect_ratios, steps, relative=scales is not None, clip=clip
        )
        self.num_classes = num_classes
        counts = list(zip(in_channels, self.default_boxes.per_location, strict=True))
        self.classes = nn.ModuleList(self.predictor(channels, count * (num_classes + 1)) for channels, count in counts)
        self.deltas = nn.ModuleList(self.predictor(channels, count * 4) for channels, count in counts)
        self.coder = DeltaCoder((10.0, 10.0, 5.0, 5.0))  # the authors' code divides by "variances" 0.1 and 0.2
        self.matcher = BestForEachMatcher(foreground_iou, foreground_iou)
        self.negatives_per_positive = negatives_per_positive
        self.postprocess = postprocess

    @staticmethod
    def predictor(in_channels: int, out_channels: int) -> nn.Module:
        """What predicts `out_channels` values in every cell of a map."""
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        nn.init.xavier_uniform_(conv.weight)
        nn.init.zeros_(conv.bias)
        return conv

    def forward(self, features: list[Tensor], context: Context) -> SSDOutput:
        """Classify and regress the default boxes of every level `features` ``(B, Ci, Hi, Wi)``."""
        grids = [tuple(feature.shape[-2:]) for feature in features]
        return SSDOutput(
            _per_box([layer(x) for layer, x in zip(self.classes, features, strict=True)], self.num_classes + 1),
            _per_box([layer(x) for layer, x in zip(self.deltas, features, strict=True)], 4),
            torch.cat(self.default_boxes(grids, tuple(context.batch.padded_size))),
        )

    def losses(self, raw: SSDOutput, context: Context) -> dict[str, Tensor]:
        """Equation 1, both parts over the number of default boxes that learn an object.

        Returns:
            ``ssd_cls``, cross-entropy of those boxes and of the hardest background, and ``ssd_box``, smooth L1 of the
            offsets; zero in a batch without objects.
        """
        logits, deltas = raw.logits.float(), raw.deltas.float()
        rows = self.assign(raw, context).view(logits.shape[:2])
        positive = rows >= 0
        labels, wanted = self._wanted(rows, raw.default_boxes, context)
        count = mean_count(positive.sum())
        errors = F.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
        negative = hardest(errors.detach(), rows == NO_OBJECT, self.negatives_per_positive * positive.sum(dim=1))
        distances = smooth_l1_per_box(deltas, wanted, beta=1.0)
        return {
            "ssd_cls": torch.where(positive | negative, errors, 0).sum() / count,
            "ssd_box": torch.where(positive, distances, 0).sum() / count,
        }

    @torch.no_grad()
    def decode(self, raw: SSDOutput, context: Context) -> list[Detections]:
        """The likely classes of all default boxes, moved, after suppression within each class."""
        scores = raw.logits.float().softmax(dim=2)[..., : self.num_classes]
        boxes = self.coder.decode(raw.default_boxes, raw.deltas)
        image, box, labels, scores = self.postprocess.likeliest(scores)
        found = self.postprocess.suppressed(boxes[image, box], scores, labels, image, context.batch.sizes)
        return context.batch.restore(found)

    def candidates(self, raw: SSDOutput, context: Context) -> Candidates:
        """All default boxes, moved; logits are above that of background."""
        boxes = self.coder.decode(raw.default_boxes, raw.deltas)
        return in_turn(boxes, above_background(raw.logits), activation=softmax_beside_background)

    @torch.no_grad()
    def assign(self, raw: SSDOutput, context: Context) -> Tensor:
        """Which object each default box is to find ``(B * P,)``, by its IoU; see `DenseHead.assign`.

        How much background is learned beside depends on how hard it is.
        """
        boxes = raw.default_boxes
        return assigned(context.truth, lambda target: self.matcher(boxes, target), boxes.device).flatten()

    @torch.no_grad()
    def _wanted(self, rows: Tensor, default_boxes: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """What each default box is to learn, by the `rows` of its object ``(B, P)``: a label and deltas."""
        objects = context.objects
        # One row more, for default boxes without an object: background, and a box of any positive size.
        labels = torch.cat((objects.labels, objects.labels.new_full((1,), self.num_classes)))
        boxes = torch.cat((objects.boxes, objects.boxes.new_tensor([[0.0, 0.0, 1.0, 1.0]])))
        rows = torch.where(rows >= 0, rows, len(labels) - 1)
        return labels[rows], self.coder.encode(default_boxes, boxes[rows])


class SSDliteHead(SSDHead):
    """SSD's head with separable convolutions (Sandler 2018, section 6.2): depthwise 3x3, then 1x1.

    With torchvision's numbers: six shapes on every level, scales of equation 4 from 0.2 to 0.95, and 1 after them; and
    for `postprocess` ``score_threshold=0.001, iou_threshold=0.55, candidates=300, detections=300``. Arguments as of
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
        """What predicts `out_channels` values in every cell of a map."""
        return init_ssdlite_(
            nn.Sequential(
                NormalizedConvolution(in_channels, in_channels, 3, groups=in_channels),
                nn.Conv2d(in_channels, out_channels, 1),
            )
        )


def hardest(errors: Tensor, eligible: Tensor, counts: Tensor) -> Tensor:
    """The boxes with the greatest errors of each image.

    Args:
        errors: ``(B, P)``.
        eligible: bool ``(B, P)``, of which boxes.
        counts: ``(B,)``, how many; fewer where fewer are eligible.

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
    return torch.cat([per_place(x, values) for x in maps], dim=1)
