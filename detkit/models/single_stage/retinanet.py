"""RetinaNet (Lin et al. 2017)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from detkit.backbones import Backbone
from detkit.heads import RetinaNetHead
from detkit.models.single_stage.single_stage_detector import MakeHead, MakeNeck, SingleStageDetector
from detkit.necks import FPN, StridedConvolutions
from detkit.preprocess import Preprocess


class RetinaNet(SingleStageDetector):
    """Dense anchors on a pyramid, trained with the focal loss (section 4 and figure 3).

        image -> backbone -> C3 C4 C5 -> FPN -> P3 P4 P5 P6 P7 -> RetinaNetHead

    Parts are given as callables, as for any `SingleStageDetector`.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, whose stages 3 to 5 are used, as in the paper.
        num_classes: classes without background.
        neck: called with the backbone's channels and strides; None is an FPN with P6 and P7 by convolutions on C5.
        head: called with the neck's channels and strides and the number of classes.
        preprocess: resizes, normalizes and pads.
        loss_weights: factor of each of ``retinanet_cls``, ``retinanet_box``; 1 where not named.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        neck: MakeNeck | None = None,
        head: MakeHead = RetinaNetHead,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        neck = neck or partial(FPN, extra_levels=partial(StridedConvolutions, from_backbone=True))
        super().__init__(backbone, num_classes, neck, head, preprocess, loss_weights)
