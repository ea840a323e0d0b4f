"""DeepLabv3+ (Chen et al. 2018, "Encoder-decoder with atrous separable convolution")."""

from __future__ import annotations

from collections.abc import Mapping

from detkit.backbones import Backbone
from detkit.heads import DeepLabV3PlusHead
from detkit.models.pixel.inference import SlidingWindow, Whole
from detkit.models.pixel.segmentation_model import MakePixelHead, SegmentationModel
from detkit.preprocess import Preprocess


class DeepLabV3Plus(SegmentationModel):
    """A class for each pixel from C5 at stride 16, refined with C2 at stride 4 (figure 2).

        image (3, H, W) -> backbone -> C2 (256, H/4, W/4) and C5 (2048, H/16, W/16)
        C5 -> ASPP (256, H/16, W/16) -> 4x --+
        C2 -> 1x1 conv (48, H/4, W/4) -------+-> concat (304, H/4, W/4) -> 2 3x3 convs (256) -> logits (K, H/4, W/4)

    Channels are those of a ResNet-50 or 101. Logits are upsampled bilinearly to the size of the image.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, whose stages 2 and 5 are used, the latter at
            stride 16.
        num_classes: classes, background included where the data has it.
        head: called with the channels and strides of the maps and the number of classes.
        auxiliary: see `SegmentationModel`.
        preprocess: resizes, normalizes and pads; None leaves images at their size.
        loss_weights: factor of ``semantic``, and of ``auxiliary``; 1 and 0.5 where not named.
        inference: see `SegmentationModel`.
    """

    stages = (2, 5)
    output_stride = 16

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        head: MakePixelHead = DeepLabV3PlusHead,
        auxiliary: Mapping[str, MakePixelHead] | None = None,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
        inference: Whole | SlidingWindow | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head, None, preprocess, loss_weights, inference, auxiliary)
