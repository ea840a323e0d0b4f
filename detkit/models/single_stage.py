"""Single-stage detectors: one look, and every cell answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from detkit.backbones import Backbone
from detkit.heads import DenseHead
from detkit.heads.context import Context
from detkit.models.detector import Detector
from detkit.necks import Neck
from detkit.preprocess import Batch, Preprocess
from detkit.structures import Detections


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
        preprocess: Preprocess,
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

    def features(self, batch: Batch) -> list[Tensor]:
        """The neck's maps ``(B, Ci, Hi, Wi)``, finest first."""
        return self.neck(self.backbone(batch.images))

    def heads(self, features: list[Tensor], context: Context) -> Any:
        """What the head says at every cell."""
        return self.head(features, context.batch.padded_size)

    def losses(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """The head's losses."""
        return self.head.losses(raw, context.targets, context.batch.sizes)

    def decode(self, raw: Any, context: Context | Batch) -> list[Detections]:
        """What the head finds in `raw` of a batch, in pixels of the images as given."""
        batch = context.batch if isinstance(context, Context) else context
        return self.preprocess.restore(self.head.decode(raw, batch.sizes), batch)
