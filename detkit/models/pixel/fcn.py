"""FCN (Long et al. 2015) as torchvision has it: on a dilated ResNet, without skips."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from detkit.backbones import Backbone
from detkit.heads import FCNHead
from detkit.models.pixel.inference import SlidingWindow, Whole
from detkit.models.pixel.segmentation_model import MakePixelHead, SegmentationModel
from detkit.preprocess import Preprocess


class FCN(SegmentationModel):
    """A class for each pixel from C5 at stride 8, supervised at C4 as well (torchvision's ``fcn_resnet50``).

        image (3, H, W) -> backbone -+-> C5 (2048, H/8, W/8) -> FCNHead -> logits (K, H/8, W/8)
                                     +-> C4 (1024, H/8, W/8) -> FCNHead -> logits (K, H/8, W/8), only for losses

    Channels are those of a ResNet-50 or 101. Logits are upsampled bilinearly to the size of the image. The paper's own
    nets, with skips, are `FCN32s`, `FCN16s` and `FCN8s`.

    Args:
        backbone: the backbone, or the name of a torchvision or timm net, whose stages 4 and 5 are used at stride 8.
        num_classes: classes, background included where the data has it.
        head: called with the channels and strides of the maps and the number of classes.
        auxiliary: see `SegmentationModel`; None: ``c4``, an `FCNHead` on the second coarsest map; ``{}``: none.
        preprocess: resizes, normalizes and pads; None leaves images at their size.
        loss_weights: factor of ``semantic``, and of ``auxiliary``; 1 and 0.5 where not named.
        inference: see `SegmentationModel`.
    """

    stages = (4, 5)
    output_stride = 8

    def __init__(
        self,
        backbone: Backbone | str,
        num_classes: int,
        head: MakePixelHead = FCNHead,
        auxiliary: Mapping[str, MakePixelHead] | None = None,
        preprocess: Preprocess | None = None,
        loss_weights: Mapping[str, float] | None = None,
        inference: Whole | SlidingWindow | None = None,
    ) -> None:
        auxiliary = {"c4": partial(FCNHead, level=-2)} if auxiliary is None else auxiliary
        super().__init__(backbone, num_classes, head, None, preprocess, loss_weights, inference, auxiliary)
