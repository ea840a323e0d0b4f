"""OverFeat: a classifier slid over the image at several scales, with a box at every position (Sermanet 2013)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detkit.backbones import Backbone, as_backbone
from detkit.backbones.image_pyramid import ImagePyramid
from detkit.heads import OverFeatHead
from detkit.models.single_stage.single_stage_detector import MakeHead, SingleStageDetector
from detkit.preprocess import Preprocess, ShortestEdge

# The shorter sides of the paper's six scales (table 5), the largest first.
SIDES = (461, 425, 389, 317, 281, 245)
SCALES = tuple(side / SIDES[0] for side in SIDES)


class OverFeat(SingleStageDetector):
    """A window around every cell of a backbone's map, at several scales of the image.

        images -> resized to each scale -> backbone -> head -> boxes of all scales, merged

    The paper's own is ``OverFeat(OverFeatAccurate(strides=[12]), num_classes)``: positions 12 pixels apart.

    Args:
        backbone: any backbone, or the name of a torchvision or timm net. Of several maps the coarsest is used, so
            choose stages that end with a fine one.
        num_classes: classes without background.
        scales: factors of the preprocessed image's size; the default is that of the paper.
        head: called with the channels and the strides of the levels, one per scale, and the number of classes.
        preprocess: resizes, normalizes and pads.
        loss_weights: factor of ``overfeat_cls`` and ``overfeat_box``; 1 where not named.
    """

    stages = (4,)

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        scales: Sequence[float] = SCALES,
        head: MakeHead = OverFeatHead,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        preprocess = preprocess or ShortestEdge(min_size=SIDES[0], max_size=2 * SIDES[0])
        pyramid = ImagePyramid(as_backbone(backbone, self.stages), scales)
        super().__init__(pyramid, num_classes, None, head, preprocess, loss_weights)
