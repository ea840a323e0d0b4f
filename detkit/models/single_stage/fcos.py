"""FCOS (Tian et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from detkit.backbones import Backbone
from detkit.heads import FCOSHead
from detkit.models.single_stage.single_stage_detector import MakeHead, MakeNeck, SingleStageDetector
from detkit.necks import FPN, StridedConvolutions
from detkit.preprocess import Preprocess


class FCOS(SingleStageDetector):
    """Boxes from locations on a pyramid, without anchors (section 3 and figure 2).

        image -> backbone -> C3 C4 C5 -> FPN -> P3 P4 P5 P6 P7 -> FCOSHead

    Parts are given as callables, as for any `SingleStageDetector`.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, whose stages 3 to 5 are used, as in the paper.
        num_classes: classes without background.
        neck: called with the backbone's channels and strides; None is an FPN with P6 and P7 by convolutions on P5.
        head: called with the neck's channels and strides and the number of classes.
        preprocess: resizes, normalizes and pads.
        loss_weights: factor of each of ``fcos_cls``, ``fcos_box``, ``fcos_centerness``; 1 where not named.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        neck: MakeNeck | None = None,
        head: MakeHead = FCOSHead,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        neck = neck or partial(FPN, extra_levels=StridedConvolutions)
        super().__init__(backbone, num_classes, neck, head, preprocess, loss_weights)
