"""The box branch: what is in a region, and where exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import DeltaCoder
from detkit.heads.region_branch import RegionBranch
from detkit.heads.rpn import smooth_l1
from detkit.heads.selection import select_detections
from detkit.matching import SampledRegions
from detkit.structures import Detections


class BoxOutput(NamedTuple):
    """What the branch says of ``R`` regions.

    Args:
        logits: class logits ``(R, K + 1)``, background last.
        deltas: box regressions from the region ``(R, K, 4)``, one for each class.
    """

    logits: Tensor
    deltas: Tensor


class BoxHead(RegionBranch):
    """Two fully connected layers, then softmax classes and per-class boxes (Fast R-CNN, section 2; FPN, section 4.2).

    Args:
        in_channels: channels of a region's crop.
        resolution: height and width of a crop in cells.
        num_classes: classes without background.
        hidden: width of the fully connected layers.
        layer_norm: normalise after each fully connected layer; training from random weights wants it. It is by region,
            so that it does not mind a batch with few or no regions.
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
        hidden: int = 1024,
        layer_norm: bool = False,
        delta_weights: Sequence[float] = (10.0, 10.0, 5.0, 5.0),
        score_threshold: float = 0.05,
        nms_threshold: float = 0.5,
        detections_per_image: int = 100,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.fc6 = nn.Linear(in_channels * resolution**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.norm6 = nn.LayerNorm(hidden) if layer_norm else nn.Identity()
        self.norm7 = nn.LayerNorm(hidden) if layer_norm else nn.Identity()
        self.classes = nn.Linear(hidden, num_classes + 1)
        self.deltas = nn.Linear(hidden, num_classes * 4)
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
        hidden = F.relu(self.norm6(self.fc6(region_features.flatten(1))))
        hidden = F.relu(self.norm7(self.fc7(hidden)))
        return BoxOutput(self.classes(hidden), self.deltas(hidden).unflatten(1, (self.num_classes, 4)))

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
            "box_reg": smooth_l1(raw.deltas[foreground, labels[foreground]], wanted) / count,
        }

    def decode(
        self, raw: BoxOutput, proposals: list[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Softmax scores and decoded boxes of every class, after per-class NMS."""
        scores = raw.logits.float().softmax(dim=1)[:, : self.num_classes]
        boxes = self.coder.decode(torch.cat(proposals)[:, None], raw.deltas)
        counts = [len(of_image) for of_image in proposals]
        return [
            select_detections(
                of_image, score, size, self.score_threshold, self.nms_threshold, self.detections_per_image
            )
            for of_image, score, size in zip(boxes.split(counts), scores.split(counts), image_sizes, strict=True)
        ]
