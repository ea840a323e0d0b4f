"""A detector of someone else's package: small, fast, without random sampling."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.models import Detector
from detkit.structures import Detections, Target

SIZE = 32


class TinyDetector(Detector):
    """Says for each image one box, of the class that it finds most likely.

    The losses are means over images, so that two processes with half a batch each learn what one learns from all.

    Args:
        num_classes: classes.
        width: channels.
        weights: pretrained weights; only their name is looked at.
    """

    def __init__(self, num_classes: int, width: int = 8, weights: str | None = None) -> None:
        super().__init__(num_classes)
        self.trunk = nn.Sequential(nn.Conv2d(3, width, 3, 4, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 4, 1), nn.ReLU())
        self.norm = nn.GroupNorm(2, width)
        self.score = nn.Linear(width * 4, num_classes)
        self.box = nn.Linear(width * 4, 4)

    def forward(self, images: list[Tensor], targets: list[Target] | None = None):
        return self.detect(images) if targets is None else self.compute_losses(images, targets)

    def raw(self, images: list[Tensor]) -> tuple[Tensor, Tensor]:
        device = self.box.weight.device
        batch = torch.stack([F.interpolate(i[None].to(device).float() / 255, size=(SIZE, SIZE))[0] for i in images])
        features = self.norm(self.trunk(batch)).flatten(1)
        return self.score(features), self.box(features)

    def compute_losses(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        scores, boxes = self.raw(images)
        expected = torch.stack([F.one_hot(t.labels, self.num_classes).sum(0).clamp(max=1) for t in targets])
        sizes = [boxes.new_tensor([i.shape[2], i.shape[1]] * 2) for i in images]
        middles = torch.stack(
            [t.boxes.to(boxes.device).sum(0) / max(1, len(t)) / s for t, s in zip(targets, sizes, strict=True)]
        )
        return {
            "cls": F.binary_cross_entropy_with_logits(scores, expected.to(scores)),
            "box": 2 * F.l1_loss(boxes, middles),
        }

    def detect(self, images: list[Tensor]) -> list[Detections]:
        scores, boxes = self.raw(images)
        result = []
        for image, score, box in zip(images, scores.sigmoid().float(), boxes.float(), strict=True):
            size = box.new_tensor([image.shape[2], image.shape[1]] * 2)
            corners = torch.cat((box[:2].minimum(box[2:] - 0.01), box[2:])) * size
            best, label = score.max(0)
            result.append(Detections(corners[None], best[None], label[None]))
        return result
