"""LR-ASPP (Howard et al. 2019, section 6.4)."""

from __future__ import annotations

from collections.abc import Mapping

from detkit.backbones import Backbone
from detkit.heads import LRASPPHead
from detkit.models.pixel.inference import SlidingWindow, Whole
from detkit.models.pixel.segmentation_model import MakePixelHead, SegmentationModel
from detkit.preprocess import Preprocess


class LRASPP(SegmentationModel):
    """A class for each pixel from a MobileNetV3 at stride 16, refined with its map of stride 8 (figure 10).

        image (3, H, W) -> backbone -> C3 (40, H/8, W/8) and C5 (960, H/16, W/16)
        C5 -> gated by its mean (128, H/16, W/16) -> 2x -> 1x1 conv --+
        C3 -> 1x1 conv -----------------------------------------------+-> sum: logits (K, H/8, W/8)

    Channels are those of ``mobilenet_v3_large``. Logits are upsampled bilinearly to the size of the image.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net such as ``mobilenet_v3_large``, whose stages 3
            and 5 are used, the latter at stride 16.
        num_classes: classes, background included where the data has it.
        head: called with the channels and strides of the maps and the number of classes.
        auxiliary: see `SegmentationModel`.
        preprocess: resizes, normalizes and pads; None leaves images at their size.
        loss_weights: factor of ``semantic``, and of ``auxiliary``; 1 and 0.5 where not named.
        inference: see `SegmentationModel`.
    """

    stages = (3, 5)
    output_stride = 16

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        head: MakePixelHead = LRASPPHead,
        auxiliary: Mapping[str, MakePixelHead] | None = None,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
        inference: Whole | SlidingWindow | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head, None, preprocess, loss_weights, inference, auxiliary)
