"""SSD and SSDlite (Liu 2016; Sandler 2018)."""

from __future__ import annotations

from collections.abc import Mapping

from detkit.backbones import Backbone
from detkit.heads import SSDHead, SSDliteHead
from detkit.models.single_stage.single_stage_detector import MakeHead, MakeNeck, SingleStageDetector
from detkit.necks import ExtraLayers, SeparableExtraLayers
from detkit.preprocess import Preprocess, Square


class SSD(SingleStageDetector):
    """Default boxes on maps of many scales (figure 2).

        image -> Square -> backbone -> ExtraLayers -> SSDHead

    ``SSD(DilatedVGG16(), num_classes)`` is SSD300, of 8732 default boxes. SSD512 has another extra map and 24564:
    ``SSD(DilatedVGG16(), num_classes, partial(ExtraLayers, layers=SSD512_LAYERS), preprocess=Square(512))``. Any other
    backbone works as well. Parts are given as callables, as for any `SingleStageDetector`.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, whose stages 4 and 5 are used; the paper's is
            `detkit.backbones.DilatedVGG16`.
        num_classes: classes without background.
        neck: called with the backbone's channels and strides.
        head: called with the neck's channels and strides and the number of classes.
        preprocess: resizes and normalizes; None is ``Square(300)``. The VGG authors' weights need ``Square(300,
            mean=(0.48235, 0.45882, 0.40784), std=[1 / 255] * 3)``.
        loss_weights: factor of ``ssd_cls`` and ``ssd_box``; 1 where not named.
    """

    stages = (4, 5)

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        neck: MakeNeck = ExtraLayers,
        head: MakeHead = SSDHead,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, neck, head, preprocess or Square(300), loss_weights)


class SSDlite(SSD):
    """SSD for mobile devices, with separable convolutions in neck and head (Sandler 2018, section 6.2).

        image -> Square -> backbone -> SeparableExtraLayers -> SSDliteHead

    Arguments as of `SSD`, but None as `preprocess` is ``Square(320)``; the paper's backbone is
    `detkit.backbones.TappedMobileNet`.
    """

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        neck: MakeNeck = SeparableExtraLayers,
        head: MakeHead = SSDliteHead,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, neck, head, preprocess or Square(320), loss_weights)
