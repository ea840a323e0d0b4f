"""SegNet and SegNet-Basic (Badrinarayanan 2015)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from detkit.backbones.segnet_encoder import PoolingIndicesEncoder
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.segnet import SegNetBasicHead, SegNetHead
from detkit.models.pixel.inference import SlidingWindow, Whole
from detkit.models.pixel.segmentation_model import SegmentationModel
from detkit.preprocess import Preprocess


class SegNet(SegmentationModel):
    """An encoder that keeps its max-pooling indices, and a decoder that unpools with them (Badrinarayanan 2015,
    section 3 and figure 2).

        image (3, H, W)                                               logits (K, H, W)
           v                                                             ^ 3x3 conv
        64, 64 --------> pool (64, H/2, W/2) ----- indices --> unpool -> 64
           v                                                             ^
        128, 128 ------> pool (128, H/4, W/4) ---- indices --> unpool -> 128, 64
           v                                                             ^
        256, 256, 256 -> pool (256, H/8, W/8) ---- indices --> unpool -> 256, 256, 128
           v                                                             ^
        512, 512, 512 -> pool (512, H/16, W/16) -- indices --> unpool -> 512, 512, 256
           v                                                             ^
        512, 512, 512 -> pool (512, H/32, W/32) -- indices --> unpool -> 512, 512, 512
                           |                                     ^
                           +-------------------------------------+

    Numbers are the channels of 3x3 convolutions, each with batch norm and ReLU but the last.

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
        backbone: PoolingIndicesEncoder,
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
    """SegNet with four levels of one 7x7 convolution of 64 channels each (Badrinarayanan 2015, section 3.1); its
    decoder has no ReLU.

    Arguments as of `SegNet`; the encoder is `detkit.backbones.SegNetBasicEncoder`.
    """

    make_head = SegNetBasicHead
