"""The box branch: what is in a region, and where exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import DeltaCoder
from detkit.heads.region_branch import RegionBranch
from detkit.heads.region_trunk import RegionTrunk, TwoFullyConnected
from detkit.heads.rpn import smooth_l1
from detkit.heads.selection import select_detections
from detkit.matching import SampledRegions
from detkit.structures import Detections


class BoxOutput(NamedTuple):
    """What the branch says of ``R`` regions.

    Args:
        logits: class logits ``(R, K + 1)``, background last.
        deltas: box regressions from the region ``(R, K, 4)``, one for each class, or ``(R, 1, 4)``, one for all.
    """

    logits: Tensor
    deltas: Tensor


class BoxHead(RegionBranch):
    """A trunk on each crop, then softmax classes and per-class boxes (Fast R-CNN, section 2; FPN, section 4.2).

    Args:
        in_channels: channels of a region's crop.
        resolution: height and width of a crop in cells.
        num_classes: classes without background.
        trunk: called with a crop's channels and its resolution.
        class_agnostic: regress one box for all classes (R-FCN, section 3; Cascade R-CNN, section 5.1).
        delta_weights: weights of the box deltas.
        score_threshold: least score of a detection.
        nms_threshold: IoU above which the less likely of two detections of a class is dropped.
        detections_per_image: most detections.
    """

    def __init__(
        self,
        in_channels: int,
        resolution: int,
        num_classes: int,
        trunk: Callable[[int, int], RegionTrunk] = TwoFullyConnected,
        class_agnostic: bool = False,
        delta_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        detections_per_image: int = 100,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.class_agnostic = class_agnostic
        self.trunk = trunk(in_channels, resolution)
        self.classes = nn.Linear(self.trunk.out_channels, num_classes + 1)
        self.deltas = nn.Linear(self.trunk.out_channels, 4 if class_agnostic else num_classes * 4)
        # Fast R-CNN, section 2.3: Gaussians of standard deviation 0.01 and 0.001.
        nn.init.normal_(self.classes.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.classes.bias)
        nn.init.zeros_(self.deltas.bias)
        self.coder = DeltaCoder(delta_weights)
        self.score_threshold = score_threshold
        self.nms_threshold = nms_threshold
        self.detections_per_image = detections_per_image

    def forward(self, region_features: Tensor) -> BoxOutput:
        """Classify and regress the crops ``(R, C, resolution, resolution)``."""
        return self.answer(self.trunk(region_features))

    def answer(self, vectors: Tensor) -> BoxOutput:
        """Classify and regress regions by the trunk's `vectors` ``(R, D)``."""
        return BoxOutput(self.classes(vectors), self.deltas(vectors).unflatten(1, (-1, 4)))

    def losses(self, raw: BoxOutput, regions: list[SampledRegions]) -> dict[str, Tensor]:
        """``box_cls``, softmax cross-entropy, and ``box_reg``, smooth L1 of the foreground; each over all regions."""
        labels = torch.cat([sampled.labels for sampled in regions])
        is_object = labels >= 0
        classes = torch.where(is_object, labels, self.num_classes)
        count = max(len(labels), 1)
        foreground = torch.where(is_object)[0]
        boxes = torch.cat([sampled.boxes for sampled in regions])[foreground]
        matched_boxes = torch.cat([sampled.matched_boxes for sampled in regions])[foreground]
        wanted = self.coder.encode(boxes, matched_boxes)
        return {
            "box_cls": F.cross_entropy(raw.logits.float(), classes, reduction="sum") / count,
            "box_reg": smooth_l1(self._of_label(raw.deltas[foreground], labels[foreground]), wanted) / count,
        }

    def decode(
        self, raw: BoxOutput, proposals: list[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Softmax scores and decoded boxes of every class, after per-class NMS."""
        return self.select(self.scores(raw), self.boxes(raw, proposals), proposals, image_sizes)

    def scores(self, raw: BoxOutput) -> Tensor:
        """The probability of each class but background ``(R, K)``."""
        return raw.logits.float().softmax(dim=1)[:, : self.num_classes]

    def boxes(self, raw: BoxOutput, proposals: list[Tensor]) -> Tensor:
        """The regressed boxes ``(R, K, 4)``, or ``(R, 1, 4)`` if they are for all classes."""
        return self.coder.decode(torch.cat(proposals)[:, None], raw.deltas)

    def select(
        self, scores: Tensor, boxes: Tensor, proposals: list[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """The detections of each image from `scores` and `boxes` of all `proposals`, after per-class NMS."""
        boxes = boxes.expand(-1, self.num_classes, -1)
        counts = [len(of_image) for of_image in proposals]
        return [
            select_detections(
                of_image, score, size, self.score_threshold, self.nms_threshold, self.detections_per_image
            )
            for of_image, score, size in zip(boxes.split(counts), scores.split(counts), image_sizes, strict=True)
        ]

    def _of_label(self, deltas: Tensor, labels: Tensor) -> Tensor:
        """The regressions ``(R, 4)`` for `labels` ``(R,)`` out of those of every class."""
        if self.class_agnostic:
            return deltas[:, 0]
        return deltas[torch.arange(len(deltas), device=deltas.device), labels]
