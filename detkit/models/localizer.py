"""Single-object localization: a class and a box for each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from detkit.backbones import Backbone
from detkit.heads import LocalizationHead
from detkit.heads.localization import LocalizationOutput
from detkit.models.detector import Detector
from detkit.models.loss_weights import weighted
from detkit.models.preprocess import IMAGENET_MEAN, IMAGENET_STD, ShortestEdge, Stretch
from detkit.structures import Detections, Target


class Localizer(Detector):
    """The class of each image and the box of its object.

        images -> backbone -> head on its coarsest map -> a box for each of the likeliest classes

    Called with targets it wants each one's ``image_label``. The first box of an answer is the answer; the others are
    what ILSVRC's localization error may judge too.

    Args:
        backbone: any trunk; of several maps the coarsest is taken.
        num_classes: classes.
        head: called with the channels of the coarsest map and the number of classes.
        preprocess: resizes and normalises; nothing stretches images to 224 x 224 pixels.
        loss_weights: factor of ``localization_cls`` and ``localization_box``; 1 where not named.
    """

    task = "detkit.tasks.Localization"

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        head: Callable[[int, int], LocalizationHead] = LocalizationHead,
        preprocess: ShortestEdge | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.learns_from = frozenset({"image_label"})
        self.preprocess = preprocess or Stretch((224, 224), IMAGENET_MEAN, IMAGENET_STD)
        self.backbone = backbone
        self.head = head(backbone.channels[-1], num_classes)
        self.loss_weights = dict(loss_weights or {})

    def raw(self, images: Tensor) -> LocalizationOutput:
        """Trunk and head alone: class logits ``(B, K)`` and box edges of `images` ``(B, 3, H, W)``, preprocessed."""
        return self.head(self.backbone(images)[-1])

    def compute_losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """The head's losses."""
        batch = self.preprocess(images)
        targets = self.preprocess.targets(targets, batch)
        return weighted(self.head.losses(self.raw(batch.images), targets, batch.sizes), self.loss_weights)

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """The boxes of the likeliest classes, best first, in pixels of the images as given."""
        batch = self.preprocess(images)
        return self.preprocess.restore(self.head.decode(self.raw(batch.images), batch.sizes), batch)
