"""Single-stage detectors: one look, and every cell answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from detkit.backbones import Backbone
from detkit.boxes import at_least, clip_boxes
from detkit.heads import DenseHead
from detkit.models.detector import Detector
from detkit.models.loss_weights import weighted
from detkit.models.preprocess import Batch, Letterbox, ShortestEdge
from detkit.necks import Neck
from detkit.structures import Detections, Target


class SingleStageDetector(Detector):
    """A trunk, perhaps a neck, and one head that answers at every cell.

        images -> backbone -> neck -> head -> detections

    Args:
        num_classes: classes without background.
        preprocess: resizes, normalises and pads.
        backbone: the trunk.
        neck: feature maps to feature maps; nothing passes the trunk's on.
        head: classes and boxes at every cell.
        loss_weights: factor of each named loss; those not named count once.
    """

    def __init__(
        self,
        num_classes: int,
        preprocess: ShortestEdge,
        backbone: Backbone,
        neck: Neck | None,
        head: DenseHead,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.preprocess = preprocess
        self.backbone = backbone
        self.neck = neck if neck is not None else nn.Identity()
        self.head = head
        self.loss_weights = dict(loss_weights or {})

    def raw(self, images: Tensor) -> Any:
        """Trunk, neck and head alone: tensors in, tensors out, no NMS.

        Args:
            images: ``(B, 3, H, W)``, preprocessed.
        """
        return self.head(self.neck(self.backbone(images)), images.shape[-2:])

    def compute_losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """The head's losses."""
        batch = self.preprocess(images)
        targets = self.preprocess.targets(targets, batch)
        return weighted(self.head.losses(self.raw(batch.images), targets, batch.sizes), self.loss_weights)

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """What the head finds, in pixels of the images as given."""
        batch = self.preprocess(images)
        return self.decode(self.raw(batch.images), batch)

    def decode(self, raw: Any, batch: Batch) -> list[Detections]:
        """What the head finds in `raw` of `batch`, in pixels of the images as given."""
        found = self.preprocess.restore(self.head.decode(raw, batch.sizes), batch)
        found = [
            replace(of_image, boxes=clip_boxes(of_image.boxes, size))
            for of_image, size in zip(found, batch.given_sizes, strict=True)
        ]
        if isinstance(self.preprocess, Letterbox):  # in whose border is nothing to find
            found = [of_image[at_least(of_image.boxes, 1e-2)] for of_image in found]
        return found
