"""SegNet and SegNet-Basic (Badrinarayanan 2015)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from detkit.backbones.segnet_encoder import PlaceKeepingEncoder
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.segnet import SegNetBasicHead, SegNetHead
from detkit.models.pixel.inference import SlidingWindow, Whole
from detkit.models.pixel.segmentation_model import SegmentationModel
from detkit.preprocess import Preprocess


class SegNet(SegmentationModel):
    """An encoder whose poolings remember where their maxima were, and a decoder that puts values back there
    (Badrinarayanan 2015, figure 2).

        image -> 2 convs -> pool -> ... -> 3 convs -> pool -> map
                              |                         |      |
                              places                    places |
                              |                         |      |
        logits <- 2 convs <- unpool <- ... <- 3 convs <- unpool

    Args:
        backbone: the encoder, `detkit.backbones.SegNetEncoder`.
        num_classes: classes, background included where the data has it.
        criteria: the losses by name; the paper balances classes by their median frequency; see `PixelHead`.
        preprocess: resizes, normalizes and pads; None leaves images at their size.
        loss_weights: factor of each named loss; 1 where not named.
        inference: how whole images are answered; see `SegmentationModel`.
    """

    make_head: Callable[..., SegNetHead] = SegNetHead

    def __init__(
        self,
        backbone: PlaceKeepingEncoder,
        num_classes: int,
        criteria: Mapping[str, PixelCriterion] | None = None,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
        inference: Whole | SlidingWindow | None = None,
    ) -> None:
        head = partial(type(self).make_head, levels=backbone.levels, criteria=criteria)
        super().__init__(
            backbone, num_classes, head, preprocess=preprocess, loss_weights=loss_weights, inference=inference
        )


class SegNetBasic(SegNet):
    """SegNet of four levels with one 7x7 convolution each, for controlled comparisons (Badrinarayanan 2015, section
    3.1); its decoder has no ReLU.

    Arguments as of `SegNet`; the encoder is `detkit.backbones.SegNetBasicEncoder`.
    """

    make_head = SegNetBasicHead
