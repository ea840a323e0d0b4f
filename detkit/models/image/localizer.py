"""Single-object localization: a class and a box for each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from detkit.backbones import Backbone, as_backbone
from detkit.heads import LocalizationHead
from detkit.heads.context import Context
from detkit.heads.image.localization import LocalizationOutput
from detkit.models.detector import Detector
from detkit.models.single_head import SingleHeadModel
from detkit.preprocess import IMAGENET_MEAN, IMAGENET_STD, Batch, Preprocess, Stretch


class Localizer(SingleHeadModel, Detector):
    """The class of each image and the box of its object.

        images -> backbone -> head on its coarsest map -> a box for each of the top classes

    Targets need an ``image_label``. The first box of an image is the prediction; the others are for ILSVRC's top-5
    localization error.

    Args:
        backbone: any backbone, whose coarsest map is used; or the name of a torchvision or timm net.
        num_classes: number of classes.
        head: called with the channels of the coarsest map and the number of classes.
        preprocess: resizes and normalizes; None stretches images to 224 x 224 pixels.
        loss_weights: factor of ``localization_cls`` and ``localization_box``; 1 where not named.
    """

    task = "detkit.tasks.Localization"

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        head: Callable[[int, int], LocalizationHead] = LocalizationHead,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.learns_from = frozenset({"image_label"})
        self.preprocess = preprocess or Stretch((224, 224), IMAGENET_MEAN, IMAGENET_STD)
        self.backbone = as_backbone(backbone, stages=[5])
        self.head = head(self.backbone.channels[-1], num_classes)
        self.loss_weights = dict(loss_weights or {})

    def features(self, batch: Batch) -> list[Tensor]:
        """The backbone's maps, finest first."""
        maps: list[Tensor] = self.backbone(batch.images)
        return maps

    def heads(self, features: list[Tensor], context: Context) -> LocalizationOutput:
        """Class logits ``(B, K)`` and box edges of the coarsest map."""
        raw: LocalizationOutput = self.head(features[-1], context)
        return raw
