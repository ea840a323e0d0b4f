"""DeepLabv3 (Chen et al. 2017, "Rethinking atrous convolution for semantic image segmentation")."""

from __future__ import annotations

from collections.abc import Mapping

from detkit.backbones import Backbone
from detkit.heads import DeepLabV3Head
from detkit.models.pixel.inference import SlidingWindow, Whole
from detkit.models.pixel.segmentation_model import MakePixelHead, SegmentationModel
from detkit.preprocess import Preprocess


class DeepLabV3(SegmentationModel):
    """A class for each pixel from C5 at stride 16, seen at several rates (figure 5).

        image (3, H, W) -> backbone -> C5 (2048, H/16, W/16) -> ASPP (256, H/16, W/16) -> logits (K, H/16, W/16)

    Channels are those of a ResNet-50 or 101. Logits are upsampled bilinearly to the size of the image.
    The paper's backbone is ``TorchvisionBackbone("resnet101", stages=[5], output_stride=16, multi_grid=[1, 2, 4])``.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, whose stages 4 and 5 are used at stride 16.
        num_classes: classes, background included where the data has it.
        head: called with the channels and strides of the maps and the number of classes.
        auxiliary: see `SegmentationModel`; torchvision has an `FCNHead` on C4, ``{"c4": partial(FCNHead, level=-2)}``.
        preprocess: resizes, normalizes and pads; None leaves images at their size.
        loss_weights: factor of ``semantic``, and of ``auxiliary``; 1 and 0.5 where not named.
        inference: see `SegmentationModel`.
    """

    stages = (4, 5)
    output_stride = 16

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        head: MakePixelHead = DeepLabV3Head,
        auxiliary: Mapping[str, MakePixelHead] | None = None,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
        inference: Whole | SlidingWindow | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, head, None, preprocess, loss_weights, inference, auxiliary)
