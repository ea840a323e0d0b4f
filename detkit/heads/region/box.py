"""The box head: classifies and regresses the regions of a two-stage detector.

R  regions of a batch     K  classes     D  length of a region's vector
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import DeltaCoder
from detkit.distributed import mean_count
from detkit.heads.activations import softmax_with_background, subtract_background
from detkit.heads.assignment import CERTAIN, NO_OBJECT, AssignedCandidates
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context, Regions
from detkit.heads.postprocess import NMS, Postprocess
from detkit.heads.postprocessed_head import PostprocessedHead
from detkit.heads.region.region_branch import Crop, RegionBranch
from detkit.heads.region.region_features import RegionFeatureExtractor, TwoFullyConnected
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.losses import smooth_l1
from detkit.ops import is_exporting
from detkit.precise import precise
from detkit.structures import Detections


class BoxOutput(NamedTuple):
    """The outputs for ``R`` regions.

    Args:
        logits: class logits ``(R, K + 1)``, background last.
        deltas: box regressions from the region ``(R, K, 4)``, one for each class, or ``(R, 1, 4)``, one for all.
    """

    logits: Tensor
    deltas: Tensor


class BoxHead(PostprocessedHead, RegionBranch):
    """A vector for each crop, then softmax classes and per-class boxes (Fast R-CNN, section 2; FPN, section 4.2).

    Args:
        in_channels: channels of a region's crop.
        resolution: height and width of a crop in cells.
        num_classes: classes without background.
        trunk: called with the channels and the resolution of a crop; makes a vector of it.
        class_agnostic: regress one box for all classes (R-FCN, section 3; Cascade R-CNN, section 5.1).
        delta_weights: weights of the box deltas x, y, w, h, see `detkit.boxes.DeltaCoder`.
        postprocess: None is `NMS` with ``score_threshold=0.05, iou_threshold=0.5, detections=100``.
    """

    own_values: ClassVar = {
        "postprocess": dict(score_threshold=0.05, iou_threshold=0.5, detections=100, least_side=1e-2)
    }

    def __init__(
        self,
        in_channels: int,
        resolution: int,
        num_classes: int,
        trunk: Callable[[int, int], RegionFeatureExtractor] = TwoFullyConnected,
        class_agnostic: bool = False,
        delta_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
        postprocess: NMS | Postprocess | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_agnostic = class_agnostic
        self.trunk = trunk(in_channels, resolution)
        self.classes = nn.Linear(self.trunk.out_channels, num_classes + 1)
        self.deltas = nn.Linear(self.trunk.out_channels, 4 if class_agnostic else num_classes * 4)
        # Fast R-CNN, section 2.3: Gaussians of standard deviation 0.01 and 0.001.
        _init_normal_(self.classes, 0.01)
        _init_normal_(self.deltas, 0.001)
        self.coder = DeltaCoder(delta_weights)
        self.postprocess = postprocess

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The logits with background last, and the deltas of each class unless one box serves all."""
        classes = {"classes": ClassRows(partial(_init_normal_, deviation=0.01), after=1)}
        if self.class_agnostic:
            return classes
        return classes | {"deltas": ClassRows(partial(_init_normal_, deviation=0.001), values=4)}

    def forward(self, crop: Crop, regions: Regions, so_far: Mapping[str, Any], context: Context) -> BoxOutput:
        """Classify and regress the regions."""
        return self.answer(self.trunk.vectors(crop, regions))

    def answer(self, vectors: Tensor) -> BoxOutput:
        """Classify and regress regions from their `vectors` ``(R, D)``."""
        return BoxOutput(self.classes(vectors), self.deltas(vectors).unflatten(1, (-1, 4)))

    def losses(
        self, raw: BoxOutput, regions: Regions, so_far: Mapping[str, Any], context: Context
    ) -> dict[str, Tensor]:
        """``box_cls``, cross-entropy, and ``box_reg``, smooth L1 of the foreground; each over the number of regions."""
        labels, _ = regions.sampled()
        classes = torch.where(labels >= 0, labels, self.num_classes)
        count = mean_count(len(labels), labels.device)
        foreground = regions.foreground()
        own_labels, matched = foreground.sampled()
        deltas = self._class_deltas(raw.deltas, regions.foreground_rows, own_labels)
        targets = self.coder.encode(foreground.boxes, context.objects.boxes[matched])
        return {
            "box_cls": F.cross_entropy(precise(raw.logits), classes, reduction="sum") / count,
            "box_reg": smooth_l1(deltas, targets) / count,
        }

    def decode(
        self,
        raw: BoxOutput,
        regions: Regions,
        so_far: Mapping[str, Any],
        detections: list[Detections] | None,
        context: Context,
    ) -> list[Detections]:
        """Softmax scores and decoded boxes of every class, after per-class NMS."""
        return context.batch.restore(self.decode_padded(raw, regions, so_far, context).detections())

    def decode_padded(
        self, raw: BoxOutput, regions: Regions, so_far: Mapping[str, Any], context: Context
    ) -> PaddedBoxes:
        """As `decode`, in the network's frame."""
        return self.select_padded(self.scores(raw), self.boxes(raw, regions), regions, context)

    def scores(self, raw: BoxOutput) -> Tensor:
        """The probability of each class but background ``(R, K)``."""
        return raw.logits.float().softmax(dim=1)[:, : self.num_classes]

    def boxes(self, raw: BoxOutput, regions: Regions) -> Tensor:
        """The regressed boxes ``(R, K, 4)``, or ``(R, 1, 4)`` if they are for all classes."""
        return self.coder.decode(regions.boxes[:, None], raw.deltas)

    def candidates(self, raw: BoxOutput, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Candidates:
        """The box of each region's top class; logits are relative to that of background."""
        logits = subtract_background(raw.logits)
        boxes = self.boxes_of_top_class(self.boxes(raw, regions), logits)
        return Candidates(boxes, logits, None, regions.image_index, softmax_with_background)

    def assign(self, raw: BoxOutput, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Tensor:
        """The object that each of the labeled `regions` is to predict ``(R,)``; see `DenseHead.assign`."""
        labels, matched = regions.sampled()
        return torch.where(labels >= 0, matched, labels)

    @torch.no_grad()
    def ideal(self, regions: Regions, so_far: Mapping[str, Any], context: Context) -> BoxOutput:
        """Exact deltas and sure classes of the regions with an object; see `DenseHead.ideal`."""
        labels, matched = regions.sampled()
        own = AssignedCandidates.of(torch.where(labels >= 0, matched, NO_OBJECT), context.objects)
        logits = regions.boxes.new_full((len(regions), self.num_classes + 1), -CERTAIN)
        logits[:, -1] = CERTAIN
        logits[own.candidates, -1] = -CERTAIN
        logits[own.candidates, own.labels] = own.logits
        deltas = regions.boxes.new_zeros(len(regions), 1 if self.class_agnostic else self.num_classes, 4)
        encoded = self.coder.encode(regions.boxes[own.candidates], own.boxes)
        deltas[own.candidates, 0 if self.class_agnostic else own.labels] = encoded
        return BoxOutput(logits, deltas)

    @staticmethod
    def boxes_of_top_class(boxes: Tensor, logits: Tensor) -> Tensor:
        """The boxes ``(R, 4)`` of the greatest of `logits` ``(R, K)``, out of ``(R, K, 4)`` or ``(R, 1, 4)``."""
        if boxes.shape[1] == 1:
            return boxes[:, 0]
        return boxes.gather(1, logits.argmax(dim=1)[:, None, None].expand(-1, -1, 4))[:, 0]

    def select_padded(self, scores: Tensor, boxes: Tensor, regions: Regions, context: Context) -> PaddedBoxes:
        """The detections of each image, in the network's frame, from `scores` and `boxes` of all `regions`."""
        boxes, sizes = boxes.expand(-1, self.num_classes, -1), context.batch.sizes
        if is_exporting():
            of_images = regions.rows_of_images(scores, torch.nan)  # which passes no threshold
            image, region, label, scores = self.postprocess.topk_candidates(of_images)
            boxes = regions.rows_of_images(boxes)[image, region, label]
            return self.postprocess.suppress_padded(boxes, scores, label, image, sizes)
        region, label = torch.where(self.postprocess.above_threshold(scores))
        image = regions.image_index[region]
        return self.postprocess.padded(boxes[region, label], scores[region, label], label, image, sizes)

    def _class_deltas(self, deltas: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
        """The regressions ``(F, 4)`` of the regions `rows` for their `labels` ``(F,)``, out of those of every class."""
        return deltas[rows, 0] if self.class_agnostic else deltas[rows, labels]


def _init_normal_(layer: nn.Linear, deviation: float) -> None:
    nn.init.normal_(layer.weight, std=deviation)
    nn.init.zeros_(layer.bias)
